// Where a kernel's host-compiled form is found.
#pragma once
#include <string>

namespace lamina::cuda_emulator {

struct HostKernel {
  void (*function)() = nullptr;        // null: there is none
  char *(*shared_memory)() = nullptr;  // the dynamic shared memory of the calling thread
  std::string why_not;
};

// Of the plug-in or program that holds `image`: <layer>-<version>-<arch>.so has its kernels in kernels/<layer>-<arch>.so beside this library,
// a program in kernels/<program>.so.
HostKernel find_kernel(const void *image, const std::string &name);

}  // namespace lamina::cuda_emulator
