// The emulator as the HIP tests use it: opened by path before the plug-ins' loader looks for a runtime.
#pragma once
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include "conformance/hip_emulator/hip_emulator.h"
#include "kernels/hip/device_code.h"

namespace lamina::hip {

inline std::vector<char> read_file(const char *path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  if (bytes.empty()) std::fprintf(stderr, "%s is missing or empty\n", path), std::exit(2);
  return bytes;
}

struct Emulator {
  int (*allocate)(void **, size_t);
  int (*release)(void *);
  int (*copy)(void *, const void *, size_t, int kind);
  int (*synchronize)();
  int (*set_device)(int);
  int (*get_device)(int *);
  hip_emulator::Control *control;
};

inline const Emulator &emulator() {
  static const Emulator found = [] {
    void *library = dlopen(hip_emulator::library_path, RTLD_NOW | RTLD_LOCAL);
    if (!library) std::fprintf(stderr, "%s\n", dlerror()), std::exit(2);
    Emulator table{};
    const auto find = [&](auto &function, const char *name) {
      void *symbol = dlsym(library, name);
      if (!symbol) std::fprintf(stderr, "the emulator has no %s\n", name), std::exit(2);
      std::memcpy(&function, &symbol, sizeof symbol);
    };
    find(table.allocate, "hipMalloc"), find(table.release, "hipFree"), find(table.copy, "hipMemcpy");
    find(table.synchronize, "hipDeviceSynchronize"), find(table.set_device, "hipSetDevice"), find(table.get_device, "hipGetDevice");
    hip_emulator::ControlFunction control;
    find(control, hip_emulator::control_symbol);
    table.control = control();
    return table;
  }();
  return found;
}
// Mapped before the loader looks, so that it is the runtime of this process.
inline void use_emulator() { emulator(); }

// Device memory of a test.
struct Memory {
  void *data = nullptr;
  size_t size;
  explicit Memory(size_t bytes) : size(bytes) {
    if (emulator().allocate(&data, bytes) != 0) std::fprintf(stderr, "no device memory\n"), std::exit(2);
  }
  ~Memory() { emulator().release(data); }
  Memory(const Memory &) = delete;
  template <class T>
  void write(const std::vector<T> &from) {
    emulator().copy(data, from.data(), from.size() * sizeof(T), 1);
  }
  template <class T>
  std::vector<T> read() const {
    std::vector<T> to(size / sizeof(T));
    emulator().copy(to.data(), data, size, 2);
    return to;
  }
};

}  // namespace lamina::hip
