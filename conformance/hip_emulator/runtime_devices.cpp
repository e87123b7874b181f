// Devices, versions and the words for errors.
#include <algorithm>

#include "conformance/hip_emulator/runtime.h"

namespace lamina::hip_emulator {
namespace {

struct Words {
  hipError_t code;
  const char *name, *text;
};
constexpr Words words[] = {
    {hipSuccess, "hipSuccess", "no error"},
    {hipErrorInvalidValue, "hipErrorInvalidValue", "invalid argument"},
    {hipErrorOutOfMemory, "hipErrorOutOfMemory", "out of memory"},
    {hipErrorNotInitialized, "hipErrorNotInitialized", "initialization error"},
    {hipErrorNoDevice, "hipErrorNoDevice", "no ROCm-capable device is detected"},
    {hipErrorInvalidDevice, "hipErrorInvalidDevice", "invalid device ordinal"},
    {hipErrorInvalidImage, "hipErrorInvalidImage", "device kernel image is invalid"},
    {hipErrorNoBinaryForGpu, "hipErrorNoBinaryForGpu", "no kernel image is available for execution on the device"},
    {hipErrorInvalidHandle, "hipErrorInvalidHandle", "invalid resource handle"},
    {hipErrorNotFound, "hipErrorNotFound", "named symbol not found"},
    {hipErrorIllegalAddress, "hipErrorIllegalAddress", "an illegal memory access was encountered"},
    {hipErrorLaunchOutOfResources, "hipErrorLaunchOutOfResources", "too many resources requested for launch"},
    {hipErrorLaunchFailure, "hipErrorLaunchFailure", "unspecified launch failure"},
    {hipErrorIllegalState, "hipErrorIllegalState", "the operation cannot be performed in the present state"},
    {hipErrorStreamCaptureUnsupported, "hipErrorStreamCaptureUnsupported", "operation not permitted when stream is capturing"},
    {hipErrorStreamCaptureInvalidated, "hipErrorStreamCaptureInvalidated", "operation failed due to a previous error during capture"},
    {hipErrorStreamCaptureImplicit, "hipErrorStreamCaptureImplicit", "operation would make the legacy stream depend on a capturing stream"},
    {hipErrorStreamCaptureWrongThread, "hipErrorStreamCaptureWrongThread",
     "attempt to terminate a thread-local capture sequence from another thread"},
};
const Words *words_of(hipError_t code) {
  const auto *found = std::find_if(std::begin(words), std::end(words), [&](const Words &one) { return one.code == code; });
  return found == std::end(words) ? nullptr : found;
}

bool is_device(int device) { return device >= 0 && device < model().machine.devices; }

}  // namespace

}  // namespace lamina::hip_emulator

using namespace lamina::hip_emulator;

extern "C" {

hipError_t hipInit(unsigned flags) {
  LAMINA_ENTRY(hipInit);
  if (flags) return failed(hipErrorInvalidValue);
  return failed(model().machine.devices ? hipSuccess : hipErrorNoDevice);
}

hipError_t hipGetDeviceCount(int *count) {
  LAMINA_ENTRY(hipGetDeviceCount);
  if (!count) return failed(hipErrorInvalidValue);
  *count = model().machine.devices;
  return failed(*count ? hipSuccess : hipErrorNoDevice);
}

hipError_t hipGetDevice(int *device) {
  LAMINA_ENTRY(hipGetDevice);
  if (!device) return failed(hipErrorInvalidValue);
  if (!model().machine.devices) return failed(hipErrorNoDevice);
  *device = this_thread().device;
  return hipSuccess;
}

hipError_t hipSetDevice(int device) {
  LAMINA_ENTRY(hipSetDevice);
  if (!is_device(device)) return failed(model().machine.devices ? hipErrorInvalidDevice : hipErrorNoDevice);
  this_thread().device = device;
  return hipSuccess;
}

hipError_t hipRuntimeGetVersion(int *version) {
  LAMINA_ENTRY(hipRuntimeGetVersion);
  if (!version) return failed(hipErrorInvalidValue);
  *version = model().machine.runtime;
  return hipSuccess;
}

hipError_t hipDriverGetVersion(int *version) {
  LAMINA_ENTRY(hipDriverGetVersion);
  if (!version) return failed(hipErrorInvalidValue);
  *version = model().machine.runtime;
  return hipSuccess;
}

hipError_t hipDeviceGetAttribute(int *value, hipDeviceAttribute_t attribute, int device) {
  LAMINA_ENTRY(hipDeviceGetAttribute);
  if (!value) return failed(hipErrorInvalidValue);
  if (!is_device(device)) return failed(hipErrorInvalidDevice);
  const bool wide = model().machine.arch == "gfx950";
  switch (attribute) {
    case hipDeviceAttributeWarpSize: *value = 64; break;
    case hipDeviceAttributeMultiprocessorCount:
      *value = model().machine.arch == "gfx90a" ? 104 : model().machine.arch == "gfx942" ? 304 : 256;
      break;
    case hipDeviceAttributeMaxSharedMemoryPerBlock: *value = wide ? 163840 : 65536; break;
    case hipDeviceAttributeMaxThreadsPerBlock: *value = 1024; break;
    default: return misuse(hipErrorInvalidValue, "hipDeviceGetAttribute: the emulator knows no attribute " + std::to_string(attribute));
  }
  return hipSuccess;
}

hipError_t hipDeviceGetName(char *name, int bytes, hipDevice_t device) {
  LAMINA_ENTRY(hipDeviceGetName);
  if (!name || bytes <= 0) return failed(hipErrorInvalidValue);
  if (!is_device(device)) return failed(hipErrorInvalidDevice);
  std::snprintf(name, static_cast<size_t>(bytes), "emulated %s", model().machine.arch.c_str());
  return hipSuccess;
}

const char *hipGetErrorString(hipError_t code) { return words_of(code) ? words_of(code)->text : "unrecognized error code"; }
const char *hipGetErrorName(hipError_t code) { return words_of(code) ? words_of(code)->name : "hipErrorUnknown"; }

hipError_t hipGetLastError() {
  const Entry entry("hipGetLastError");
  const hipError_t last = this_thread().last;
  this_thread().last = hipSuccess;
  return last;
}

hipError_t hipPeekAtLastError() {
  const Entry entry("hipPeekAtLastError");
  return this_thread().last;
}
}
