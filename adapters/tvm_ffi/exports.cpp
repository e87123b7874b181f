// The symbols that tvm-ffi looks up, one for each op.  tvm_ffi_ops.h is made from the layer's contract: LAMINA_OP(forward) LAMINA_OP(pack) ...
#include "function.h"

#define LAMINA_OP(op)                                                                                                             \
  static constinit lamina::tvm_ffi::Function op##_function{#op};                                                                  \
  extern "C" __attribute__((visibility("default"))) int __tvm_ffi_##op(void *, const lamina::tvm_ffi::Any *values, int32_t count, \
                                                                       lamina::tvm_ffi::Any *result) {                            \
    return op##_function.call(values, count, result);                                                                             \
  }
#include "tvm_ffi_ops.h"
