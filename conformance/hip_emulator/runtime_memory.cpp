// Device memory: the host's own, each allocation known to the byte.
#include <cstdlib>

#include "conformance/hip_emulator/reach.h"
#include "conformance/hip_emulator/runtime.h"

namespace lamina::hip_emulator {
namespace {

constexpr size_t page = 4096, beyond = 4096;  // bytes after an allocation that nothing may touch
constexpr int poison = 0xcd;

// Device addresses must lie in an allocation; others are taken to be the host's.
bool device_side_fits(const void *to, const void *from, size_t bytes, hipMemcpyKind kind) {
  const bool to_device = kind == hipMemcpyHostToDevice || kind == hipMemcpyDeviceToDevice;
  const bool from_device = kind == hipMemcpyDeviceToHost || kind == hipMemcpyDeviceToDevice;
  return (!to_device || regions().holds(to, bytes)) && (!from_device || regions().holds(from, bytes));
}

hipError_t check_copy(const char *function, void *to, const void *from, size_t bytes, hipMemcpyKind kind) {
  if (model().sticky != hipSuccess) return failed(model().sticky);
  if (bytes && (!to || !from)) return failed(hipErrorInvalidValue);
  if (!device_side_fits(to, from, bytes, kind))
    return misuse(hipErrorInvalidValue, std::string(function) + ": bytes outside of any allocation");
  return hipSuccess;
}

}  // namespace

}  // namespace lamina::hip_emulator

using namespace lamina::hip_emulator;

extern "C" {

hipError_t hipMalloc(void **address, size_t bytes) {
  LAMINA_ENTRY(hipMalloc);
  if (!address) return failed(hipErrorInvalidValue);
  if (!model().machine.devices) return failed(hipErrorNoDevice);
  if (unsafe_now()) return refuse_unsafe("hipMalloc");
  *address = nullptr;
  if (!bytes) return hipSuccess;
  void *memory = bytes < size_t{1} << 46 ? std::aligned_alloc(page, (bytes + beyond + page - 1) / page * page) : nullptr;
  if (!memory) return failed(hipErrorOutOfMemory);
  std::memset(memory, poison, bytes);
  regions().add(memory, bytes, true, "an allocation");
  model().memory[memory] = bytes;
  *address = memory;
  return hipSuccess;
}

hipError_t hipFree(void *address) {
  LAMINA_ENTRY(hipFree);
  if (!address) return hipSuccess;
  if (unsafe_now()) return refuse_unsafe("hipFree");
  if (!model().memory.contains(address)) return misuse(hipErrorInvalidValue, "hipFree of what hipMalloc did not give");
  finish_everything();
  regions().remove(address);
  model().memory.erase(address);
  std::free(address);
  return failed(model().sticky);
}

hipError_t hipMemcpy(void *to, const void *from, size_t bytes, hipMemcpyKind kind) {
  LAMINA_ENTRY(hipMemcpy);
  if (unsafe_now()) return refuse_unsafe("hipMemcpy");
  if (const hipError_t code = check_copy("hipMemcpy", to, from, bytes, kind); code != hipSuccess) return code;
  finish_blocking();
  if (model().sticky != hipSuccess) return failed(model().sticky);
  std::memmove(to, from, bytes);
  return hipSuccess;
}

hipError_t hipMemcpyAsync(void *to, const void *from, size_t bytes, hipMemcpyKind kind, hipStream_t given) {
  LAMINA_ENTRY(hipMemcpyAsync);
  Stream *stream = stream_of(given);
  if (!stream) return failed(hipErrorInvalidHandle);
  if (const hipError_t code = check_copy("hipMemcpyAsync", to, from, bytes, kind); code != hipSuccess) return code;
  return failed(enqueue(*stream, [=] { std::memmove(to, from, bytes); }));
}

hipError_t hipMemset(void *to, int value, size_t bytes) {
  LAMINA_ENTRY(hipMemset);
  if (unsafe_now()) return refuse_unsafe("hipMemset");
  if (model().sticky != hipSuccess) return failed(model().sticky);
  if (!regions().holds(to, bytes)) return misuse(hipErrorInvalidValue, "hipMemset: bytes outside of any allocation");
  finish_blocking();
  if (model().sticky != hipSuccess) return failed(model().sticky);
  std::memset(to, value, bytes);
  return hipSuccess;
}

hipError_t hipMemsetAsync(void *to, int value, size_t bytes, hipStream_t given) {
  LAMINA_ENTRY(hipMemsetAsync);
  Stream *stream = stream_of(given);
  if (!stream) return failed(hipErrorInvalidHandle);
  if (model().sticky != hipSuccess) return failed(model().sticky);
  if (!regions().holds(to, bytes)) return misuse(hipErrorInvalidValue, "hipMemsetAsync: bytes outside of any allocation");
  return failed(enqueue(*stream, [=] { std::memset(to, value, bytes); }));
}
}
