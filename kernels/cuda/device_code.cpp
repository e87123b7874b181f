#include "device_code.h"

#include <pthread.h>
#include <stdlib.h>

namespace lamina::cuda {
namespace {

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
DeviceCode *loaded = nullptr;  // every context that has code, with its number of users

// The current context if it is on `device`, else the primary one, retained.
Status choose_context(const Driver &driver, CUdevice device, DeviceCode &code, Failure &failure) {
  CUcontext current = nullptr;
  CUdevice of_current = -1;
  driver.context_current(&current);
  if (current && driver.context_device(&of_current) == CUDA_SUCCESS && of_current == device) {
    code.context = current;
    return Status::ok;
  }
  const CUresult status = driver.primary_retain(&code.context, device);
  if (status != CUDA_SUCCESS) return driver_failed(driver, status, "cuDevicePrimaryCtxRetain", failure);
  code.primary = true;
  return Status::ok;
}

Status check_capability(const Driver &driver, const Image &image, CUdevice device, DeviceCode &code, Failure &failure) {
  int major = 0, minor = 0;
  driver.device_attribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
  driver.device_attribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
  driver.device_attribute(&code.shared_limit, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device);
  driver.device_attribute(&code.processors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device);
  code.capability = major * 10 + minor;
  if (code.capability < image.lowest_capability)
    return fail(failure, Status::unsupported, "the GPU has compute capability %d.%d; this build needs %d.%d or newer", major, minor,
                image.lowest_capability / 10, image.lowest_capability % 10);
  if (image.highest_capability && code.capability > image.highest_capability)
    return fail(failure, Status::unsupported, "the GPU has compute capability %d.%d; this build is for %d.%d alone", major, minor,
                image.highest_capability / 10, image.highest_capability % 10);
  return Status::ok;
}

// With the plan's context current: loads the library and every kernel now, since loading at the first launch would break a capture.
Status load_kernels(const Driver &driver, const Image &image, DeviceCode &code, Failure &failure) {
  CUresult status = driver.library_load(&code.library, image.code, nullptr, nullptr, 0, nullptr, nullptr, 0);
  if (status == CUDA_ERROR_NO_BINARY_FOR_GPU || status == CUDA_ERROR_UNSUPPORTED_PTX_VERSION) {
    failure.native_code = status;
    return fail(failure, Status::unsupported, "this build has no device code for compute capability %d.%d with this driver",
                code.capability / 10, code.capability % 10);
  }
  if (status != CUDA_SUCCESS) return driver_failed(driver, status, "cuLibraryLoadData", failure);
  for (int i = 0; i < image.count; ++i) {
    const KernelEntry &row = image.rows[i];
    CUfunction function;
    if ((status = driver.library_kernel(&code.kernels[i], code.library, row.name)) != CUDA_SUCCESS)
      return driver_failed(driver, status, row.name, failure);
    if ((status = driver.kernel_function(&function, code.kernels[i])) != CUDA_SUCCESS)
      return driver_failed(driver, status, row.name, failure);
    if (row.shared_bytes > 48 * 1024) {
      const int bytes = row.shared_bytes == all_shared_memory ? code.shared_limit : static_cast<int>(row.shared_bytes);
      status = driver.kernel_set_attribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes, code.kernels[i], code.device);
      if (status != CUDA_SUCCESS) return driver_failed(driver, status, row.name, failure);
    }
  }
  return Status::ok;
}

void unload(DeviceCode *code) {
  const Driver &driver = *code->driver;
  if (code->library) driver.library_unload(code->library);
  if (code->primary) driver.primary_release(code->device);
  free(code);
}

Status load_locked(const Driver &driver, const Image &image, CUdevice device, DeviceCode *&result, Failure &failure) {
  DeviceCode chosen{};
  chosen.driver = &driver, chosen.image = &image, chosen.device = device, chosen.users = 1;
  LAMINA_TRY(check_capability(driver, image, device, chosen, failure));
  LAMINA_TRY(choose_context(driver, device, chosen, failure));
  for (DeviceCode *known = loaded; known; known = known->next) {
    if (known->context != chosen.context || known->image != &image) continue;
    if (chosen.primary) driver.primary_release(device);  // the first plan's reference holds it
    ++known->users;
    result = known;
    return Status::ok;
  }
  DeviceCode *code = static_cast<DeviceCode *>(malloc(sizeof *code));
  if (!code) {
    if (chosen.primary) driver.primary_release(device);
    return fail(failure, Status::no_memory, "no memory for a plan");
  }
  *code = chosen;
  CUcontext before;
  driver.context_push(code->context);
  const Status status = load_kernels(driver, image, *code, failure);
  driver.context_pop(&before);
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
  const Driver *driver = nullptr;
  LAMINA_TRY(open_driver(driver, failure));
  int count = 0;
  driver->device_count(&count);
  CUdevice device = -1;
  if (ordinal < 0 || ordinal >= count || driver->device_get(&device, ordinal) != CUDA_SUCCESS)
    return fail(failure, Status::wrong_device, "there is no CUDA device %d; the driver sees %d", ordinal, count);
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;  // a capture in some other thread goes on
  driver->exchange_capture_mode(&mode);
  pthread_mutex_lock(&lock);
  const Status status = load_locked(*driver, image, device, code, failure);
  pthread_mutex_unlock(&lock);
  driver->exchange_capture_mode(&mode);
  return status;
}

void release_device_code(DeviceCode *code) {
  if (!code) return;
  const Driver &driver = *code->driver;
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
  driver.exchange_capture_mode(&mode);
  pthread_mutex_lock(&lock);
  if (--code->users == 0) {
    DeviceCode **link = &loaded;
    while (*link != code) link = &(*link)->next;
    *link = code->next;
    unload(code);
  }
  pthread_mutex_unlock(&lock);
  driver.exchange_capture_mode(&mode);
}

Status Launcher::open(Failure &failure) {
  const Driver &driver = *code_.driver;
  // The default streams belong to whatever context is current, and there may be none.
  if (stream_ == nullptr || stream_ == CU_STREAM_LEGACY || stream_ == CU_STREAM_PER_THREAD) {
    const CUresult status = driver.context_push(code_.context);
    if (status != CUDA_SUCCESS) return driver_failed(driver, status, "cuCtxPushCurrent", failure);
    pushed_ = true;
    return Status::ok;
  }
  CUcontext owner = nullptr;
  const CUresult status = driver.stream_context(stream_, &owner);
  if (status != CUDA_SUCCESS) return driver_failed(driver, status, "cuStreamGetCtx", failure);
  if (owner != code_.context)
    return fail(failure, Status::wrong_device,
                "the stream belongs to another CUDA context than the plan; create the plan with the stream's "
                "context current");
  return Status::ok;
}

Launcher::~Launcher() {
  CUcontext before;
  if (pushed_) code_.driver->context_pop(&before);
}

Status Launcher::launch(const Launch &launch, void **parameters, Failure &failure) {
  CUlaunchAttribute attributes[2]{};
  CUlaunchConfig config{};
  config.attrs = attributes;
  if (launch.overlaps_previous) {
    CUlaunchAttribute &overlap = attributes[config.numAttrs++];
    overlap.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    overlap.value.programmaticStreamSerializationAllowed = 1;
  }
  if (launch.cluster > 1) {
    CUlaunchAttribute &cluster = attributes[config.numAttrs++];
    cluster.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    cluster.value.clusterDim = {launch.cluster, 1, 1};
  }
  config.gridDimX = launch.grid[0], config.gridDimY = launch.grid[1], config.gridDimZ = launch.grid[2];
  config.blockDimX = launch.block, config.blockDimY = 1, config.blockDimZ = 1;
  const uint32_t of_row = code_.image->rows[launch.kernel].shared_bytes;
  config.sharedMemBytes = of_row == all_shared_memory ? launch.shared_bytes : of_row;
  config.hStream = stream_;
  // A kernel handle stands for the function in the stream's context.
  const CUresult status = code_.driver->launch(&config, reinterpret_cast<CUfunction>(code_.kernels[launch.kernel]), parameters, nullptr);
  return status == CUDA_SUCCESS ? Status::ok : driver_failed(*code_.driver, status, code_.image->rows[launch.kernel].name, failure);
}

}  // namespace lamina::cuda
