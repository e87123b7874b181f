// The CUDA driver's functions, found by dlopen at first use, so that a build loads and shows its contract on a machine without one.
#pragma once
#include <cuda.h>

#include "kernels/common/status.h"

namespace lamina::cuda {

// Every driver function that a plug-in calls; each at the version whose signature the member has.
struct Driver {
  CUresult (*init)(unsigned flags);
  CUresult (*driver_version)(int *version);
  CUresult (*error_name)(CUresult, const char **name);
  CUresult (*error_string)(CUresult, const char **text);
  CUresult (*device_count)(int *count);
  CUresult (*device_get)(CUdevice *, int ordinal);
  CUresult (*device_attribute)(int *value, CUdevice_attribute, CUdevice);
  CUresult (*primary_retain)(CUcontext *, CUdevice);
  CUresult (*primary_release)(CUdevice);
  CUresult (*context_current)(CUcontext *);
  CUresult (*context_device)(CUdevice *);
  CUresult (*context_push)(CUcontext);
  CUresult (*context_pop)(CUcontext *);
  CUresult (*library_load)(CUlibrary *, const void *code, CUjit_option *, void **, unsigned, CUlibraryOption *, void **, unsigned);
  CUresult (*library_unload)(CUlibrary);
  CUresult (*library_kernel)(CUkernel *, CUlibrary, const char *name);
  CUresult (*kernel_function)(CUfunction *, CUkernel);
  CUresult (*kernel_set_attribute)(CUfunction_attribute, int value, CUkernel, CUdevice);
  CUresult (*stream_context)(CUstream, CUcontext *);
  CUresult (*exchange_capture_mode)(CUstreamCaptureMode *);
  CUresult (*launch)(const CUlaunchConfig *, CUfunction, void **parameters, void **extra);
  CUresult (*tensor_map)(CUtensorMap *, CUtensorMapDataType, cuuint32_t rank, void *address, const cuuint64_t *extents,
                         const cuuint64_t *byte_strides, const cuuint32_t *box, const cuuint32_t *element_strides, CUtensorMapInterleave,
                         CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
};

constexpr int oldest_driver = 13000;  // CUDA 13.0, driver 580: what the device code's format needs

// The functions, or unsupported with the reason: no driver, an old one, no GPU.  [thread-safe]
Status open_driver(const Driver *&driver, Failure &failure);

// device_error with the driver's own words: `return driver_failed(driver, code, "cuLaunchKernelEx", failure);`
Status driver_failed(const Driver &driver, CUresult code, const char *function, Failure &failure);

}  // namespace lamina::cuda
