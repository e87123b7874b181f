// Checks a call against an op's argument table.  Knows no layer: everything comes from the table.
#pragma once
#include "op.h"

namespace lamina::plugin {

enum class Memory { ignore, check };  // plan_need and infer look at descriptors alone; run also at pointers

// Fills `bound`.  With Memory::ignore, written arguments and PACKED may be absent and every data pointer may be NULL.
Status bind(const lamina_plan &plan, const lamina_call *call, Memory memory, BoundCall &bound, Failure &failure);

// The caller wrote this argument for the op to read, or the op writes it?
bool is_written(const lamina_op &op, const lamina_arg &argument);

// Attribute `gradient_dtype` of an op of kind BACKWARD: whether it asks for float32 where the table leaves the choice between the
// parameter's dtype and float32.
bool wants_float32_gradients(const lamina_plan &plan);

bool dtype_from(lamina_dtype, DType &);
lamina_dtype dtype_to(DType);

}  // namespace lamina::plugin
