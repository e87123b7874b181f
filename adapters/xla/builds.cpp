#include "builds.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <new>

namespace lamina::xla {
namespace {

constexpr size_t max_path = 4096;

struct Build {
  Build *next;
  const lamina_library *library;
  uint32_t op_count;
  Operation *operations;
  char path[max_path];
};

Build *builds = nullptr;  // atomic; only ever grows at its head
pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;

bool equals(const char *word, const char *data, size_t size) { return strncmp(word, data, size) == 0 && word[size] == 0; }

Build *find_loaded(const char *path, size_t size) {
  for (Build *build = __atomic_load_n(&builds, __ATOMIC_ACQUIRE); build; build = build->next)
    if (equals(build->path, path, size)) return build;
  return nullptr;
}

bool check_library(const char *path, const lamina_library *library, Failure &failure) {
  if (!library) return fail(failure, Mistake::unsupported, "%s: its library does not want to run here", path);
  if (library->struct_size < sizeof(lamina_library) || library->abi_minor > LAMINA_ABI_MINOR)
    return fail(failure, Mistake::unsupported, "%s needs plug-in ABI 1.%u, this adapter knows 1.%d", path, library->abi_minor,
                LAMINA_ABI_MINOR);
  return true;
}

Build *load(const char *path, size_t size, Failure &failure) {
  if (size == 0 || size >= max_path) return fail(failure, Mistake::value, "the path of a build has %zu bytes", size), nullptr;
  Build *build = static_cast<Build *>(calloc(1, sizeof(Build)));
  if (!build) return fail(failure, Mistake::memory, "no memory to load a build"), nullptr;
  memcpy(build->path, path, size);
  void *handle = dlopen(build->path, RTLD_NOW | RTLD_LOCAL);
  const auto entry = handle ? reinterpret_cast<lamina_library_v1_function>(dlsym(handle, LAMINA_LIBRARY_SYMBOL)) : nullptr;
  if (!entry) {
    const char *why = handle ? nullptr : dlerror();
    fail(failure, Mistake::value, "%s cannot be loaded as a Lamina build: %s", build->path,
         why ? why : "it does not export " LAMINA_LIBRARY_SYMBOL);
    free(build);
    return nullptr;
  }
  build->library = entry();
  if (!check_library(build->path, build->library, failure)) return free(build), nullptr;
  build->op_count = build->library->op_count;
  build->operations = static_cast<Operation *>(calloc(build->op_count, sizeof(Operation)));
  if (!build->operations) return free(build), fail(failure, Mistake::memory, "no memory to load a build"), nullptr;
  for (uint32_t i = 0; i < build->op_count; ++i) new (&build->operations[i]) Operation{build->library->ops[i], {}};
  return build;
}

}  // namespace

Operation *find_operation(const char *path, size_t path_size, const char *build_id, size_t build_id_size, const char *name,
                          size_t name_size, Failure &failure) {
  Build *build = find_loaded(path, path_size);
  if (!build) {
    pthread_mutex_lock(&loading);
    build = find_loaded(path, path_size);
    if (!build && (build = load(path, path_size, failure))) {
      build->next = builds;
      __atomic_store_n(&builds, build, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&loading);
    if (!build) return nullptr;
  }
  if (!equals(build->library->build_id, build_id, build_id_size)) {
    fail(failure, Mistake::value, "%s is build %s; the program was traced for build %.*s, trace it again", build->path,
         build->library->build_id, static_cast<int>(build_id_size < 64 ? build_id_size : 64), build_id);
    return nullptr;
  }
  for (uint32_t i = 0; i < build->op_count; ++i)
    if (equals(build->operations[i].op->name, name, name_size)) return &build->operations[i];
  fail(failure, Mistake::value, "%s has no op '%.*s'", build->path, static_cast<int>(name_size < 64 ? name_size : 64), name);
  return nullptr;
}

}  // namespace lamina::xla
