// From tvm-ffi's values to a call: tensors by position, then pairs of a name and a value.
//
//   forward(pair, mask, None, ..., out)                         by position, in the order of the argument table
//   forward(pair, "out", out, "direction", "incoming")          from the first string on: names of arguments and attributes
//
// A third kind of name is "workspace": a uint8 tensor in place of the environment's allocator.
#pragma once
#include "adapters/common/plans.h"
#include "runtime.h"

namespace lamina::tvm_ffi {

using adapters::fail;
using adapters::Failure;
using adapters::max_arguments;
using adapters::Mistake;

struct Arguments {
  const lamina_tensor *tensors[max_arguments] = {};
  adapters::Attributes attributes;
  const lamina_tensor *workspace = nullptr;
  lamina_device device = {LAMINA_CPU, 0};  // of the first tensor given

  // What `values` say, checked against the op's tables as far as names and kinds go; the plug-in checks the rest.  Pointers into
  // `values` are kept.
  bool read(const lamina_op &op, const Any *values, int32_t count, Failure &failure);

 private:
  bool set_tensor(const char *op, const char *name, const Any &value, const lamina_tensor *&place, Failure &failure);
  bool set_attribute(const lamina_op &op, uint32_t index, const Any &value, Failure &failure);
  bool set_named(const lamina_op &op, const Any &name, const Any &value, Failure &failure);
};

}  // namespace lamina::tvm_ffi
