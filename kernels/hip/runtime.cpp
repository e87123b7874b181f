#include "runtime.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

namespace lamina::hip {
namespace {

// One row a member of Runtime, in its order.
struct Symbol {
  const char *name;
  bool required = true;
};
constexpr Symbol symbols[] = {
    {"hipRuntimeGetVersion"}, {"hipGetDeviceCount"},     {"hipGetDevice"},
    {"hipSetDevice"},         {"hipModuleLoadData"},     {"hipModuleUnload"},
    {"hipModuleGetFunction"}, {"hipModuleLaunchKernel"}, {"hipThreadExchangeStreamCaptureMode"},
    {"hipGetErrorName"},      {"hipGetErrorString"},     {"hipStreamGetDevice", false},
};
constexpr size_t symbol_count = sizeof symbols / sizeof *symbols;
static_assert(sizeof(Runtime) == symbol_count * sizeof(void *), "one row a member");

// Sonames, newest first; then the link that development packages bring, and the folder that installers may leave out of the search path.
constexpr const char *file_names[] = {
    "libamdhip64.so.10", "libamdhip64.so.9", "libamdhip64.so.8", "libamdhip64.so.7",
    "libamdhip64.so.6",  "libamdhip64.so.5", "libamdhip64.so",   "/opt/rocm/lib/libamdhip64.so",
};

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
Runtime functions;
bool ready = false;

// The path of a HIP runtime that is mapped into this process.
struct Mapped {
  char path[4096];
};
int look_at_library(dl_phdr_info *library, size_t, void *mapped) {
  const char *path = library->dlpi_name, *base = path;
  if (!path) return 0;
  for (const char *at = path; *at; ++at)
    if (*at == '/') base = at + 1;
  constexpr char prefix[] = "libamdhip64.so";
  if (strncmp(base, prefix, sizeof prefix - 1) != 0) return 0;
  const size_t length = strlen(path);
  if (length >= sizeof(Mapped::path)) return 0;
  memcpy(static_cast<Mapped *>(mapped)->path, path, length + 1);
  return 1;
}

void *open_library(Failure &failure) {
  if (const char *named = getenv("LAMINA_HIP_RUNTIME"); named && *named) {
    void *library = dlopen(named, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail(failure, Status::unsupported, "LAMINA_HIP_RUNTIME names a runtime that cannot be loaded: %s", dlerror());
    return library;
  }
  Mapped mapped{};
  if (dl_iterate_phdr(look_at_library, &mapped))
    if (void *library = dlopen(mapped.path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD)) return library;
  for (const char *name : file_names)
    if (void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return library;
  fail(failure, Status::unsupported, "this machine has no HIP runtime (libamdhip64.so, ROCm 5 to 10): %s", dlerror());
  return nullptr;
}

Status open_locked(Failure &failure) {
  void *library = open_library(failure);
  if (!library) return Status::unsupported;
  void **slots = reinterpret_cast<void **>(&functions);
  for (size_t i = 0; i < symbol_count; ++i) {
    slots[i] = dlsym(library, symbols[i].name);
    if (!slots[i] && symbols[i].required)
      return fail(failure, Status::unsupported, "the HIP runtime has no %s; this build needs ROCm 5.0 or newer", symbols[i].name);
  }
  int count = 0;
  if (const Error code = functions.device_count(&count); code != success || count == 0) {
    failure.native_code = code;
    return fail(failure, Status::unsupported, "this machine's HIP runtime finds no usable GPU: hipGetDeviceCount gives %d devices, %s (%d)",
                count, functions.error_string(code), code);
  }
  ready = true;
  return Status::ok;
}

}  // namespace

Status open_runtime(const Runtime *&runtime, Failure &failure) {
  pthread_mutex_lock(&lock);
  const Status status = ready ? Status::ok : open_locked(failure);
  pthread_mutex_unlock(&lock);
  runtime = &functions;
  return status;
}

Status runtime_failed(const Runtime &runtime, Error code, const char *function, Failure &failure) {
  const char *name = runtime.error_name(code), *text = runtime.error_string(code);
  failure.native_code = code;
  return fail(failure, code == out_of_memory ? Status::no_memory : Status::device_error, "%s: %s (%d): %s", function,
              name ? name : "unknown error", code, text ? text : "the runtime gives no text");
}

}  // namespace lamina::hip
