// The HIP functions of the emulator, by path, for tests.
#pragma once
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "conformance/hip_emulator/hip_emulator.h"

namespace lamina::hip_emulator {

using Handle = void *;
constexpr int host_to_device = 1, device_to_host = 2;

struct HipApi {
  int (*hipInit)(unsigned);
  int (*hipGetDeviceCount)(int *);
  int (*hipGetDevice)(int *);
  int (*hipSetDevice)(int);
  int (*hipDeviceGetAttribute)(int *, int, int);
  int (*hipRuntimeGetVersion)(int *);
  int (*hipModuleLoadData)(Handle *, const void *);
  int (*hipModuleUnload)(Handle);
  int (*hipModuleGetFunction)(Handle *, Handle, const char *);
  int (*hipModuleLaunchKernel)(Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Handle, void **, void **);
  int (*hipFuncSetAttribute)(const void *, int, int);
  int (*hipMalloc)(void **, size_t);
  int (*hipFree)(void *);
  int (*hipMemcpy)(void *, const void *, size_t, int);
  int (*hipMemcpyAsync)(void *, const void *, size_t, int, Handle);
  int (*hipMemsetAsync)(void *, int, size_t, Handle);
  int (*hipDeviceSynchronize)();
  int (*hipGetLastError)();
  int (*hipStreamCreateWithFlags)(Handle *, unsigned);
  int (*hipStreamDestroy)(Handle);
  int (*hipStreamSynchronize)(Handle);
  int (*hipStreamBeginCapture)(Handle, int);
  int (*hipStreamEndCapture)(Handle, Handle *);
  int (*hipThreadExchangeStreamCaptureMode)(int *);
  int (*hipGraphInstantiate)(Handle *, Handle, Handle *, char *, size_t);
  int (*hipGraphLaunch)(Handle, Handle);
  const char *(*hipGetErrorString)(int);
  Control *control;
};

inline const HipApi &hip() {
  static const HipApi api = [] {
    void *library = dlopen(library_path, RTLD_NOW | RTLD_LOCAL);
    if (!library) std::fprintf(stderr, "%s\n", dlerror()), std::exit(2);
    HipApi found{};
    const auto find = [&](auto &function, const char *name) {
      void *symbol = dlsym(library, name);
      if (!symbol) std::fprintf(stderr, "the emulator has no %s\n", name), std::exit(2);
      std::memcpy(&function, &symbol, sizeof symbol);
    };
#define LAMINA_FIND(name) find(found.name, #name)
    LAMINA_FIND(hipInit), LAMINA_FIND(hipGetDeviceCount), LAMINA_FIND(hipGetDevice), LAMINA_FIND(hipSetDevice);
    LAMINA_FIND(hipDeviceGetAttribute), LAMINA_FIND(hipRuntimeGetVersion), LAMINA_FIND(hipModuleLoadData), LAMINA_FIND(hipModuleUnload);
    LAMINA_FIND(hipModuleGetFunction), LAMINA_FIND(hipModuleLaunchKernel), LAMINA_FIND(hipFuncSetAttribute), LAMINA_FIND(hipMalloc);
    LAMINA_FIND(hipFree), LAMINA_FIND(hipMemcpy), LAMINA_FIND(hipMemcpyAsync), LAMINA_FIND(hipMemsetAsync),
        LAMINA_FIND(hipDeviceSynchronize);
    LAMINA_FIND(hipGetLastError), LAMINA_FIND(hipStreamCreateWithFlags), LAMINA_FIND(hipStreamDestroy), LAMINA_FIND(hipStreamSynchronize);
    LAMINA_FIND(hipStreamBeginCapture), LAMINA_FIND(hipStreamEndCapture), LAMINA_FIND(hipThreadExchangeStreamCaptureMode);
    LAMINA_FIND(hipGraphInstantiate), LAMINA_FIND(hipGraphLaunch), LAMINA_FIND(hipGetErrorString);
#undef LAMINA_FIND
    ControlFunction control;
    find(control, control_symbol);
    found.control = control();
    return found;
  }();
  return api;
}

inline std::vector<char> read_whole(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Device memory with a vector's content.
template <class T>
class DeviceVector {
 public:
  explicit DeviceVector(const std::vector<T> &content) : count_(content.size()) {
    if (hip().hipMalloc(&memory_, bytes()) != 0) std::abort();
    hip().hipMemcpy(memory_, content.data(), bytes(), host_to_device);
  }
  ~DeviceVector() { hip().hipFree(memory_); }
  DeviceVector(const DeviceVector &) = delete;
  DeviceVector &operator=(const DeviceVector &) = delete;
  size_t bytes() const { return count_ * sizeof(T); }
  void *&address() { return memory_; }
  // Waits for everything; the code of whatever failed.
  int read(std::vector<T> &to) const {
    const int code = hip().hipDeviceSynchronize();
    to.resize(count_);
    return code ? code : hip().hipMemcpy(to.data(), memory_, bytes(), device_to_host);
  }

 private:
  void *memory_ = nullptr;
  size_t count_;
};

}  // namespace lamina::hip_emulator
