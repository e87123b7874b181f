// The HIP runtime's functions, found by dlopen at first use, so that a build loads and shows its contract on a machine without one.
//
// Only functions that every libamdhip64 from ROCm 5 on exports with one signature; no struct of the runtime's (hipDeviceProp_t changed its
// layout).  The types are our own names for what AMD's headers declare; tests/headers_test.cpp holds the two against each other.
#pragma once
#include "kernels/common/status.h"

namespace lamina::hip {

using Error = int;  // hipError_t
using Stream = struct ihipStream_t *;
using Module = struct ihipModule_t *;
using Function = struct ihipModuleSymbol_t *;

constexpr Error success = 0, out_of_memory = 2, no_device = 100, invalid_device = 101, invalid_image = 200, no_binary_for_gpu = 209,
                invalid_kernel_file = 218, shared_object_failed = 303;
constexpr int capture_relaxed = 2;  // hipStreamCaptureModeRelaxed

// Every runtime function that a plug-in calls.
struct Runtime {
  Error (*runtime_version)(int *version);
  Error (*device_count)(int *count);
  Error (*get_device)(int *device);
  Error (*set_device)(int device);
  Error (*module_load)(Module *, const void *image);
  Error (*module_unload)(Module);
  Error (*module_function)(Function *, Module, const char *name);
  Error (*launch)(Function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
                  unsigned shared_bytes, Stream, void **parameters, void **extra);
  Error (*exchange_capture_mode)(int *mode);
  const char *(*error_name)(Error);
  const char *(*error_string)(Error);
  Error (*stream_device)(Stream, int *device);  // null in runtimes older than ROCm 5.5
};

// The functions, or unsupported with the reason: no runtime, no GPU.  A runtime that this process has already mapped is taken before any
// other, since two in one process break each other; LAMINA_HIP_RUNTIME names a file that is taken before both.  [thread-safe]
Status open_runtime(const Runtime *&runtime, Failure &failure);

// device_error with the runtime's own words: `return runtime_failed(runtime, code, "hipModuleLaunchKernel", failure);`
Status runtime_failed(const Runtime &runtime, Error code, const char *function, Failure &failure);

}  // namespace lamina::hip
