// loader [--map LIBRARY]: opens the HIP runtime as a plug-in does, after mapping LIBRARY as a framework would, and says what it found.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/hip/runtime.h"

int main(int count, char **words) {
  using namespace lamina;
  if (count == 3 && !std::strcmp(words[1], "--map") && !dlopen(words[2], RTLD_NOW | RTLD_GLOBAL)) return std::puts(dlerror()), 2;
  const hip::Runtime *runtime = nullptr;
  Failure failure;
  const Status status = hip::open_runtime(runtime, failure);
  if (status != Status::ok) return std::printf("%d: %s\n", static_cast<int>(status), failure.message), 1;
  Dl_info where{};
  dladdr(reinterpret_cast<void *>(runtime->module_load), &where);
  std::printf("opened %s\n", where.dli_fname);
  return 0;
}
