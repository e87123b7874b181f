#include "runtime.h"

#include <dlfcn.h>

// Weak: `import tvm_ffi` makes these global, so that they are bound when a build is loaded; everybody else finds them NULL.
extern "C" {
__attribute__((weak)) void TVMFFIErrorSetRaisedFromCStr(const char *kind, const char *message);
__attribute__((weak)) void *TVMFFIEnvGetStream(int32_t device_type, int32_t device_id);
__attribute__((weak)) void *TVMFFIEnvGetDLPackManagedTensorAllocator(void);
__attribute__((weak)) int TVMFFIEnvTensorAlloc(lamina_tensor *prototype, void **out);
__attribute__((weak)) int TVMFFITensorFromDLPack(lamina::tvm_ffi::ManagedTensor *from, int32_t require_alignment,
                                                 int32_t require_contiguous, void **out);
__attribute__((weak)) int TVMFFIObjectDecRef(void *object);
}

namespace lamina::tvm_ffi {
namespace {

enum class State : int32_t { unknown, absent, present };
State state = State::unknown;  // atomic; what is found is the same whoever looks
Runtime found = {};

template <typename F>
void look_up(void *library, const char *name, F *linked, F *&function) {
  function = linked ? linked : library ? reinterpret_cast<F *>(dlsym(library, name)) : nullptr;
}

}  // namespace

const Runtime *runtime() {
  State now = __atomic_load_n(&state, __ATOMIC_ACQUIRE);
  if (now == State::unknown) {
    // A program that loaded tvm-ffi for itself alone (RTLD_LOCAL) has it under its name.
    void *library = TVMFFIErrorSetRaisedFromCStr ? nullptr : dlopen("libtvm_ffi.so", RTLD_NOLOAD | RTLD_LAZY);
    Runtime looked = {};
    look_up(library, "TVMFFIErrorSetRaisedFromCStr", TVMFFIErrorSetRaisedFromCStr, looked.raise);
    look_up(library, "TVMFFIEnvGetStream", TVMFFIEnvGetStream, looked.current_stream);
    look_up(library, "TVMFFIEnvGetDLPackManagedTensorAllocator", TVMFFIEnvGetDLPackManagedTensorAllocator, looked.allocator);
    look_up(library, "TVMFFIEnvTensorAlloc", TVMFFIEnvTensorAlloc, looked.allocate);
    look_up(library, "TVMFFITensorFromDLPack", TVMFFITensorFromDLPack, looked.tensor_from_dlpack);
    look_up(library, "TVMFFIObjectDecRef", TVMFFIObjectDecRef, looked.release);
    const bool all =
        looked.raise && looked.current_stream && looked.allocator && looked.allocate && looked.tensor_from_dlpack && looked.release;
    now = all ? State::present : State::absent;
    if (all) {
      __atomic_store(&found.raise, &looked.raise, __ATOMIC_RELAXED);
      __atomic_store(&found.current_stream, &looked.current_stream, __ATOMIC_RELAXED);
      __atomic_store(&found.allocator, &looked.allocator, __ATOMIC_RELAXED);
      __atomic_store(&found.allocate, &looked.allocate, __ATOMIC_RELAXED);
      __atomic_store(&found.tensor_from_dlpack, &looked.tensor_from_dlpack, __ATOMIC_RELAXED);
      __atomic_store(&found.release, &looked.release, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&state, now, __ATOMIC_RELEASE);
  }
  return now == State::present ? &found : nullptr;
}

}  // namespace lamina::tvm_ffi
