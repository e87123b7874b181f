// Driver, devices, contexts, and where each function is found.
#include <cstring>

#include "conformance/fake_cuda/model.h"

namespace lamina::fake_cuda {
namespace {

bool is_device(CUdevice device) { return device >= 0 && device < model().machine.devices; }
CUcontext handle(Context *context) { return reinterpret_cast<CUcontext>(context); }

Context *context_of(CUcontext given) {
  for (const auto &known : model().contexts)
    if (known->alive && handle(known.get()) == given) return known.get();
  for (const auto &[device, known] : model().primary)
    if (known.first && known.second > 0 && handle(known.first.get()) == given) return known.first.get();
  return nullptr;
}

}  // namespace

extern "C" {

CUresult cuInit(unsigned flags) {
  LAMINA_ENTRY(cuInit);
  Model &m = model();
  if (flags) return CUDA_ERROR_INVALID_VALUE;
  if (m.machine.init_code) return static_cast<CUresult>(m.machine.init_code);
  if (m.machine.devices == 0) return CUDA_ERROR_NO_DEVICE;
  m.initialised = true;
  return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int *version) {
  LAMINA_ENTRY(cuDriverGetVersion);
  *version = model().machine.driver;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count) {
  LAMINA_ENTRY(cuDeviceGetCount);
  *count = model().machine.devices;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  LAMINA_ENTRY(cuDeviceGet);
  if (!is_device(ordinal)) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
  LAMINA_ENTRY(cuDeviceGetName);
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  std::strncpy(name, "stand-in GPU", static_cast<size_t>(length));
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
  LAMINA_ENTRY(cuDeviceGetAttribute);
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  const int capability = model().machine.capability;
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = capability / 10; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = capability % 10; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = model().machine.processors; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = most_shared_bytes(capability); break;
    default: misuse("cuDeviceGetAttribute: the stand-in knows no attribute " + std::to_string(attribute)); return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
  LAMINA_ENTRY(cuDevicePrimaryCtxRetain);
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  auto &[primary, references] = model().primary[device];
  if (!primary) primary = std::make_unique<Context>(Context{device, true});
  primary->alive = true;
  ++references;
  *context = handle(primary.get());
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  LAMINA_ENTRY(cuDevicePrimaryCtxRelease);
  auto &[primary, references] = model().primary[device];
  if (!is_device(device) || references == 0) {
    misuse("cuDevicePrimaryCtxRelease of a context that nobody holds");
    return CUDA_ERROR_INVALID_CONTEXT;
  }
  if (--references > 0) return CUDA_SUCCESS;
  primary->alive = false;  // and with it what was made in it; a later retain begins anew
  for (const auto &handle : model().handles) handle->loaded.erase(primary.get());
  for (const auto &stream : model().streams)
    if (stream->context == primary.get()) stream->alive = false;
  return CUDA_SUCCESS;
}

CUresult cuCtxCreate(CUcontext *context, CUctxCreateParams *, unsigned, CUdevice device) {
  LAMINA_ENTRY(cuCtxCreate);
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  model().contexts.push_back(std::make_unique<Context>(Context{device, false}));
  thread().stack.push_back(model().contexts.back().get());
  *context = handle(current());
  return CUDA_SUCCESS;
}

CUresult cuCtxDestroy(CUcontext given) {
  LAMINA_ENTRY(cuCtxDestroy);
  Context *context = context_of(given);
  if (!context || context->primary) return CUDA_ERROR_INVALID_CONTEXT;
  context->alive = false;
  if (current() == context) thread().stack.pop_back();
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *context) {
  LAMINA_ENTRY(cuCtxGetCurrent);
  *context = handle(current());
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context) {
  LAMINA_ENTRY(cuCtxSetCurrent);
  if (context && !context_of(context)) return CUDA_ERROR_INVALID_CONTEXT;
  if (!thread().stack.empty()) thread().stack.pop_back();
  if (context) thread().stack.push_back(context_of(context));
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device) {
  LAMINA_ENTRY(cuCtxGetDevice);
  if (!current()) return CUDA_ERROR_INVALID_CONTEXT;
  *device = current()->device;
  return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent(CUcontext given) {
  LAMINA_ENTRY(cuCtxPushCurrent);
  Context *context = context_of(given);
  if (!context) {
    misuse("cuCtxPushCurrent of a context that is gone");
    return CUDA_ERROR_INVALID_CONTEXT;
  }
  thread().stack.push_back(context);
  return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext *context) {
  LAMINA_ENTRY(cuCtxPopCurrent);
  if (!current()) {
    misuse("cuCtxPopCurrent of an empty stack");
    return CUDA_ERROR_INVALID_CONTEXT;
  }
  if (context) *context = handle(current());
  thread().stack.pop_back();
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult code, const char **name) {
  LAMINA_ENTRY(cuGetErrorName);
  switch (code) {
#define LAMINA_NAME(word) \
  case word: *name = #word; return CUDA_SUCCESS;
    LAMINA_NAME(CUDA_SUCCESS)
    LAMINA_NAME(CUDA_ERROR_INVALID_VALUE)
    LAMINA_NAME(CUDA_ERROR_OUT_OF_MEMORY)
    LAMINA_NAME(CUDA_ERROR_NOT_INITIALIZED)
    LAMINA_NAME(CUDA_ERROR_NO_DEVICE)
    LAMINA_NAME(CUDA_ERROR_INVALID_DEVICE)
    LAMINA_NAME(CUDA_ERROR_INVALID_CONTEXT)
    LAMINA_NAME(CUDA_ERROR_NO_BINARY_FOR_GPU)
    LAMINA_NAME(CUDA_ERROR_INVALID_HANDLE)
    LAMINA_NAME(CUDA_ERROR_NOT_FOUND)
    LAMINA_NAME(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES)
    LAMINA_NAME(CUDA_ERROR_LAUNCH_FAILED)
    LAMINA_NAME(CUDA_ERROR_NOT_SUPPORTED)
    LAMINA_NAME(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
    LAMINA_NAME(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)
    LAMINA_NAME(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT)
    LAMINA_NAME(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD)
#undef LAMINA_NAME
    default: *name = nullptr; return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult cuGetErrorString(CUresult code, const char **text) {
  LAMINA_ENTRY(cuGetErrorString);
  *text = code == CUDA_SUCCESS ? "no error" : "the stand-in driver says no";
  return CUDA_SUCCESS;
}

// The functions that a plug-in may look up, each with the CUDA releases in which the name means this signature: [from, before).
CUresult cuGetProcAddress(const char *name, void **found, int version, cuuint64_t flags, CUdriverProcAddressQueryResult *result) {
  LAMINA_ENTRY(cuGetProcAddress_v2);
  struct Row {
    const char *name;
    void *function;
    int from, before;
  };
  constexpr int open = 1 << 30;
#define LAMINA_FUNCTION(name, from, before) {#name, reinterpret_cast<void *>(::name), from, before}
  static const Row rows[] = {
      LAMINA_FUNCTION(cuInit, 2000, open),
      LAMINA_FUNCTION(cuDriverGetVersion, 2020, open),
      LAMINA_FUNCTION(cuGetErrorName, 6000, open),
      LAMINA_FUNCTION(cuGetErrorString, 6000, open),
      LAMINA_FUNCTION(cuDeviceGetCount, 2000, open),
      LAMINA_FUNCTION(cuDeviceGet, 2000, open),
      LAMINA_FUNCTION(cuDeviceGetAttribute, 2000, open),
      LAMINA_FUNCTION(cuDevicePrimaryCtxRetain, 7000, open),
      LAMINA_FUNCTION(cuDevicePrimaryCtxRelease, 11000, open),
      LAMINA_FUNCTION(cuCtxGetCurrent, 4000, open),
      LAMINA_FUNCTION(cuCtxGetDevice, 2000, 13000),
      LAMINA_FUNCTION(cuCtxPushCurrent, 4000, open),
      LAMINA_FUNCTION(cuCtxPopCurrent, 4000, open),
      LAMINA_FUNCTION(cuLibraryLoadData, 12000, open),
      LAMINA_FUNCTION(cuLibraryUnload, 12000, open),
      LAMINA_FUNCTION(cuLibraryGetKernel, 12000, open),
      LAMINA_FUNCTION(cuKernelGetFunction, 12000, open),
      LAMINA_FUNCTION(cuKernelSetAttribute, 12000, open),
      LAMINA_FUNCTION(cuStreamGetCtx, 9020, 12050),
      LAMINA_FUNCTION(cuThreadExchangeStreamCaptureMode, 10010, open),
      LAMINA_FUNCTION(cuLaunchKernelEx, 11060, open),
      LAMINA_FUNCTION(cuTensorMapEncodeTiled, 12000, open),
  };
  model().requested.push_back(name);
  *found = nullptr;
  if (result) *result = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  if (flags != CU_GET_PROC_ADDRESS_DEFAULT) misuse(std::string(name) + ": looked up for a per-thread default stream");
  if (name == model().machine.missing) return CUDA_ERROR_NOT_FOUND;
  for (const Row &row : rows) {
    if (std::strcmp(row.name, name) != 0) continue;
    if (version < row.from || version >= row.before) {
      misuse(std::string(name) + ": in CUDA " + std::to_string(version) + " that name has another signature");
      break;
    }
    if (row.from > model().machine.driver) break;
    *found = row.function;
    if (result) *result = CU_GET_PROC_ADDRESS_SUCCESS;
    return CUDA_SUCCESS;
  }
  if (std::strncmp(name, "cu", 2) == 0 && result && *result != CU_GET_PROC_ADDRESS_SUCCESS)
    misuse(std::string("the stand-in has no ") + name);
  return CUDA_ERROR_NOT_FOUND;
}
}

}  // namespace lamina::fake_cuda
