#include "conformance/cuda_emulator/kernels.h"

#include <dlfcn.h>

#include <map>

namespace lamina::cuda_emulator {
namespace {

std::string file_of(const void *address) {
  Dl_info info{};
  return dladdr(address, &info) && info.dli_fname ? info.dli_fname : "";
}

// Of a plug-in <layer>-<version>-<arch>.so: <layer>-<arch>.so; of a program: <program>.so.
std::string kernels_of(const std::string &holder) {
  const std::string mine = file_of(reinterpret_cast<const void *>(&find_kernel)), folder = mine.substr(0, mine.rfind('/') + 1) + "kernels/";
  const std::string name = holder.substr(holder.rfind('/') + 1);
  const size_t first = name.find('-'), last = name.rfind('-');
  if (!name.ends_with(".so") || first == last) return folder + name + ".so";
  return folder + name.substr(0, first) + name.substr(last);
}

}  // namespace

HostKernel find_kernel(const void *image, const std::string &name) {
  static std::map<const void *, void *> opened;
  HostKernel found;
  const std::string plugin = file_of(image), path = kernels_of(plugin);
  void *&library = opened[image];
  if (!library) library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    found.why_not = "no kernels of " + plugin + " compiled for the host: " + dlerror();
    return found;
  }
  found.function = reinterpret_cast<void (*)()>(dlsym(library, name.c_str()));
  found.shared_memory = reinterpret_cast<char *(*)()>(dlsym(library, "lamina_emulator_shared_memory"));
  if (!found.function || !found.shared_memory) {
    found.function = nullptr;
    found.why_not = path + " has no " + name;
  }
  return found;
}

}  // namespace lamina::cuda_emulator
