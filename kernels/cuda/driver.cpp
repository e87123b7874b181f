#include "driver.h"

#include <dlfcn.h>
#include <pthread.h>

namespace lamina::cuda {
namespace {

// One row a member of Driver, in its order.  `version` is the CUDA release whose variant of the symbol has the member's signature.
struct Symbol {
  const char *name;
  int version;
};
constexpr Symbol symbols[] = {
    {"cuInit", 2000},
    {"cuDriverGetVersion", 2020},
    {"cuGetErrorName", 6000},
    {"cuGetErrorString", 6000},
    {"cuDeviceGetCount", 2000},
    {"cuDeviceGet", 2000},
    {"cuDeviceGetAttribute", 2000},
    {"cuDevicePrimaryCtxRetain", 7000},
    {"cuDevicePrimaryCtxRelease", 11000},
    {"cuCtxGetCurrent", 4000},
    {"cuCtxGetDevice", 2000},
    {"cuCtxPushCurrent", 4000},
    {"cuCtxPopCurrent", 4000},
    {"cuLibraryLoadData", 12000},
    {"cuLibraryUnload", 12000},
    {"cuLibraryGetKernel", 12000},
    {"cuKernelGetFunction", 12000},
    {"cuKernelSetAttribute", 12000},
    {"cuStreamGetCtx", 9020},
    {"cuThreadExchangeStreamCaptureMode", 10010},
    {"cuLaunchKernelEx", 11060},
    {"cuTensorMapEncodeTiled", 12000},
};
constexpr size_t symbol_count = sizeof symbols / sizeof *symbols;
static_assert(sizeof(Driver) == symbol_count * sizeof(void *), "one row a member");

using GetProcAddress = CUresult (*)(const char *, void **, int, cuuint64_t, CUdriverProcAddressQueryResult *);

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
Driver functions;
bool ready = false;

Status open_locked(Failure &failure) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) return fail(failure, Status::unsupported, "this machine has no CUDA driver: %s", dlerror());
  const auto get = reinterpret_cast<GetProcAddress>(dlsym(library, "cuGetProcAddress_v2"));
  if (!get) return fail(failure, Status::unsupported, "libcuda.so.1 has no cuGetProcAddress_v2; this build needs driver 580 or newer");
  void **slots = reinterpret_cast<void **>(&functions);
  for (size_t i = 0; i < symbol_count; ++i) {
    CUdriverProcAddressQueryResult found{};
    if (get(symbols[i].name, &slots[i], symbols[i].version, CU_GET_PROC_ADDRESS_DEFAULT, &found) != CUDA_SUCCESS || !slots[i])
      return fail(failure, Status::unsupported, "the CUDA driver has no %s; this build needs driver 580 or newer", symbols[i].name);
  }
  if (const CUresult code = functions.init(0); code != CUDA_SUCCESS) {
    failure.native_code = code;
    return fail(failure, Status::unsupported, "this machine's CUDA driver finds no usable GPU: cuInit gives error %d", code);
  }
  int version = 0;
  if (functions.driver_version(&version) != CUDA_SUCCESS || version < oldest_driver)
    return fail(failure, Status::unsupported, "the CUDA driver supports CUDA %d.%d; this build needs 13.0 (driver 580) or newer",
                version / 1000, version % 1000 / 10);
  ready = true;
  return Status::ok;
}

}  // namespace

Status open_driver(const Driver *&driver, Failure &failure) {
  pthread_mutex_lock(&lock);
  const Status status = ready ? Status::ok : open_locked(failure);
  pthread_mutex_unlock(&lock);
  driver = &functions;
  return status;
}

Status driver_failed(const Driver &driver, CUresult code, const char *function, Failure &failure) {
  const char *name = nullptr, *text = nullptr;
  driver.error_name(code, &name), driver.error_string(code, &text);
  failure.native_code = code;
  return fail(failure, code == CUDA_ERROR_OUT_OF_MEMORY ? Status::no_memory : Status::device_error, "%s: %s (%d): %s", function,
              name ? name : "unknown error", code, text ? text : "the driver gives no text");
}

}  // namespace lamina::cuda
