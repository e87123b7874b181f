#include "bench/profiler.h"

#include <dlfcn.h>

namespace lamina::bench {
namespace {

struct Nvtx {
  lamina_host host{};
  int (*push)(const char *name) = nullptr;
  int (*pop)() = nullptr;
};

void range(void *ctx, const char *name, void *, int32_t begin) {
  const Nvtx &nvtx = *static_cast<const Nvtx *>(ctx);
  if (begin) nvtx.push(name);
  else nvtx.pop();
}

}  // namespace

std::shared_ptr<const lamina_host> profiler_host(const std::string &library) {
  void *handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) return nullptr;
  const auto nvtx = std::make_shared<Nvtx>();
  nvtx->push = reinterpret_cast<int (*)(const char *)>(dlsym(handle, "nvtxRangePushA"));
  nvtx->pop = reinterpret_cast<int (*)()>(dlsym(handle, "nvtxRangePop"));
  if (!nvtx->push || !nvtx->pop) return nullptr;
  nvtx->host.struct_size = sizeof nvtx->host, nvtx->host.ctx = nvtx.get(), nvtx->host.range = range;
  return {nvtx, &nvtx->host};
}

}  // namespace lamina::bench
