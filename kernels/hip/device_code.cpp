#include "device_code.h"

#include <pthread.h>
#include <stdlib.h>

namespace lamina::hip {
namespace {

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
DeviceCode *loaded = nullptr;  // one a GPU and image, with its number of users

// Makes `device` current for a scope.
class Current {
 public:
  Current(const Runtime &runtime, int device) : runtime_(runtime) {
    int before = -1;
    code_ = runtime.get_device(&before);
    if (code_ != success || before == device) return;
    if ((code_ = runtime.set_device(device)) == success) before_ = before;
  }
  ~Current() {
    if (before_ >= 0) runtime_.set_device(before_);
  }
  Error code() const { return code_; }

 private:
  const Runtime &runtime_;
  Error code_;
  int before_ = -1;
};

// A capture in some other thread goes on.
class Relaxed {
 public:
  explicit Relaxed(const Runtime &runtime) : runtime_(runtime) { runtime_.exchange_capture_mode(&mode_); }
  ~Relaxed() { runtime_.exchange_capture_mode(&mode_); }

 private:
  const Runtime &runtime_;
  int mode_ = capture_relaxed;
};

bool is_for_another_machine(Error code) {
  return code == no_binary_for_gpu || code == invalid_image || code == invalid_kernel_file || code == shared_object_failed;
}

// The first code object that the runtime takes, and every kernel of it: loading at the first launch would break a capture.
Status load_kernels(const Runtime &runtime, const Image &image, DeviceCode &code, Failure &failure) {
  Error status = invalid_image;
  for (code.object = 0; code.object < image.object_count; ++code.object) {
    status = runtime.module_load(&code.module, image.objects[code.object].code);
    if (!is_for_another_machine(status)) break;
  }
  if (is_for_another_machine(status)) {
    code.module = nullptr;
    failure.native_code = status;
    return fail(failure, Status::unsupported,
                "this build has device code for %s alone, which GPU %d with this runtime does not take: %s: %s (%d)",
                image.objects[0].target, code.device, runtime.error_name(status), runtime.error_string(status), status);
  }
  if (status != success) {
    code.module = nullptr;
    return runtime_failed(runtime, status, "hipModuleLoadData", failure);
  }
  for (int i = 0; i < image.count; ++i)
    if ((status = runtime.module_function(&code.kernels[i], code.module, image.kernels[i])) != success)
      return runtime_failed(runtime, status, image.kernels[i], failure);
  return Status::ok;
}

void unload(DeviceCode *code) {
  if (code->module) {
    const Current current(*code->runtime, code->device);
    code->runtime->module_unload(code->module);
  }
  free(code);
}

Status load_locked(const Runtime &runtime, const Image &image, int device, DeviceCode *&result, Failure &failure) {
  for (DeviceCode *known = loaded; known; known = known->next) {
    if (known->device != device || known->image != &image) continue;
    ++known->users;
    result = known;
    return Status::ok;
  }
  DeviceCode *code = static_cast<DeviceCode *>(calloc(1, sizeof *code));
  if (!code) return fail(failure, Status::no_memory, "no memory for a plan");
  code->runtime = &runtime, code->image = &image, code->device = device, code->users = 1;
  const Current current(runtime, device);
  const Status status = current.code() == success ? load_kernels(runtime, image, *code, failure)
                                                  : runtime_failed(runtime, current.code(), "hipSetDevice", failure);
  if (status != Status::ok) {
    unload(code);
    return status;
  }
  code->next = loaded;
  loaded = code;
  result = code;
  return Status::ok;
}

}  // namespace

Status load_device_code(const Image &image, int ordinal, DeviceCode *&code, Failure &failure) {
  const Runtime *runtime = nullptr;
  LAMINA_TRY(open_runtime(runtime, failure));
  int count = 0;
  runtime->device_count(&count);
  if (ordinal < 0 || ordinal >= count)
    return fail(failure, Status::wrong_device, "there is no ROCm device %d; the runtime sees %d", ordinal, count);
  const Relaxed relaxed(*runtime);
  pthread_mutex_lock(&lock);
  const Status status = load_locked(*runtime, image, ordinal, code, failure);
  pthread_mutex_unlock(&lock);
  return status;
}

void release_device_code(DeviceCode *code) {
  if (!code) return;
  const Relaxed relaxed(*code->runtime);
  pthread_mutex_lock(&lock);
  if (--code->users == 0) {
    DeviceCode **link = &loaded;
    while (*link != code) link = &(*link)->next;
    *link = code->next;
    unload(code);
  }
  pthread_mutex_unlock(&lock);
}

Status Launcher::open(Failure &failure) {
  const Runtime &runtime = *code_.runtime;
  // hipStreamPerThread is the number 2; a runtime's own handles are addresses.
  const bool is_default = reinterpret_cast<uintptr_t>(stream_) <= 2;
  int device = -1;
  if (!is_default && runtime.stream_device) {
    if (const Error status = runtime.stream_device(stream_, &device); status != success)
      return runtime_failed(runtime, status, "hipStreamGetDevice", failure);
    if (device != code_.device)
      return fail(failure, Status::wrong_device, "the stream belongs to ROCm device %d, the plan to device %d", device, code_.device);
  }
  int before = -1;
  if (const Error status = runtime.get_device(&before); status != success) return runtime_failed(runtime, status, "hipGetDevice", failure);
  if (before == code_.device) return Status::ok;
  if (const Error status = runtime.set_device(code_.device); status != success)
    return runtime_failed(runtime, status, "hipSetDevice", failure);
  device_before_ = before;
  return Status::ok;
}

Launcher::~Launcher() {
  if (device_before_ >= 0) code_.runtime->set_device(device_before_);
}

Status Launcher::launch(const Launch &launch, void **parameters, Failure &failure) {
  const Error status = code_.runtime->launch(code_.kernels[launch.kernel], launch.grid[0], launch.grid[1], launch.grid[2], launch.block, 1,
                                             1, launch.shared_bytes, stream_, parameters, nullptr);
  return status == success ? Status::ok : runtime_failed(*code_.runtime, status, code_.image->kernels[launch.kernel], failure);
}

}  // namespace lamina::hip
