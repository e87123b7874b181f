// One op of the plug-in that is linked beside this adapter, as tvm-ffi calls it.
#pragma once
#include "arguments.h"

namespace lamina::tvm_ffi {

class Function {
 public:
  explicit constexpr Function(const char *op_name) : name_(op_name) {}

  // tvm-ffi's calling convention: 0 on success, -1 with an error raised.  *result is None, or the one output that was left out of the
  // arguments, allocated here.  [thread-safe]
  int call(const Any *values, int32_t count, Any *result);

 private:
  bool try_call(const Any *values, int32_t count, Any *result, Failure &failure);

  const char *name_;
  adapters::PlanCache plans_;
};

}  // namespace lamina::tvm_ffi
