// The part of tvm-ffi's C interface that this adapter uses, written out so that nothing of tvm-ffi is needed to build or to load.
// Source of the facts: tvm/ffi/c_api.h and tvm/ffi/extra/c_env_api.h of apache-tvm-ffi 0.1.15, the subset that its authors call stable;
// adapters/tvm_ffi/tests/layout_test.cpp compares every line with the package's own headers.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "abi/lamina_abi.h"

namespace lamina::tvm_ffi {

enum TypeIndex : int32_t {
  type_none = 0,
  type_int = 1,
  type_bool = 2,
  type_float = 3,
  type_tensor_pointer = 7,  // DLTensor *
  type_raw_string = 8,      // const char *
  type_small_string = 11,   // up to 7 bytes inside the value
  type_string = 65,         // an object; ByteArray behind its header
  type_tensor = 70,         // an object; DLTensor behind its header
};

struct Object {  // the header of every reference-counted object
  uint64_t combined_ref_count;
  int32_t type_index;
  uint32_t padding;
  void (*deleter)(void *self, int flags);
};

struct ByteArray {
  const char *data;
  size_t size;
};

struct Any {
  int32_t type_index;
  uint32_t small_length;  // of a small string, else 0
  union {
    int64_t int64;
    double float64;
    void *pointer;
    Object *object;
    char bytes[8];
  };
};

struct ManagedTensor {  // DLPack's DLManagedTensor
  lamina_tensor tensor;
  void *context;
  void (*deleter)(ManagedTensor *self);
};

static_assert(sizeof(Object) == 24 && sizeof(Any) == 16, "as tvm-ffi lays them out");

// tvm-ffi's functions in this process; all of them or none.
struct Runtime {
  void (*raise)(const char *kind, const char *message);
  void *(*current_stream)(int32_t device_type, int32_t device_id);
  // NULL where nobody has set an allocator; tvm-ffi sets torch's for the time of a call that has a torch tensor among its arguments.
  void *(*allocator)();
  // Of `prototype`, device, dtype, ndim and shape count.  *out is a tensor object.  0 on success, else an error is raised.
  int (*allocate)(lamina_tensor *prototype, void **out);
  int (*tensor_from_dlpack)(ManagedTensor *from, int32_t require_alignment, int32_t require_contiguous, void **out);
  int (*release)(void *object);
};

// NULL where this process has no tvm-ffi.  [thread-safe]
const Runtime *runtime();

}  // namespace lamina::tvm_ffi
