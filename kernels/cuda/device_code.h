// A build's embedded device code on one GPU: loaded when a plan is created, shared by all plans of the same context, launched from any
// thread.  No call here allocates device memory or synchronises.
#pragma once
#include "driver.h"

namespace lamina::cuda {

// For kernels without static shared memory.
constexpr uint32_t all_shared_memory = ~0u;

struct KernelEntry {
  const char *name;       // extern "C" in the device code
  uint32_t shared_bytes;  // dynamic shared memory of a launch of it, or all_shared_memory: each launch says
};

struct Image {              // what a build embeds
  const void *code;         // a fatbin or cubin
  const KernelEntry *rows;  // the index of a row names the kernel in launches
  int count;
  int lowest_capability, highest_capability;  // 80 is 8.0; highest 0: no upper bound
};

constexpr int max_kernels = 160;  // of one image

struct DeviceCode {
  const Driver *driver;
  const Image *image;
  CUcontext context;
  CUdevice device;
  bool primary;                                     // the context is the device's primary one, retained here
  int capability, processors, shared_limit, users;  // shared_limit: bytes that a block may have
  CUlibrary library;
  CUkernel kernels[max_kernels];
  DeviceCode *next;
};

// Loads `image` for the context that is current if it belongs to GPU `ordinal`, else for that GPU's primary context.  Give it back with
// release_device_code.  Unsupported, with the reason: no driver, no such GPU, a GPU this image has no code for.  Safe during stream
// capture by any thread.  [thread-safe]
Status load_device_code(const Image &image, int ordinal, DeviceCode *&code, Failure &failure);
void release_device_code(DeviceCode *code);

struct Launch {
  int kernel;  // row of the image
  unsigned grid[3], block;
  bool overlaps_previous = false;  // programmatic dependent launch: the kernel itself waits for the one before it
  uint32_t shared_bytes = 0;       // where the row says all_shared_memory
  unsigned cluster = 1;            // CTAs along x that run together; grid[0] is a multiple
};

// Enqueues one kernel on `stream` (NULL, legacy and per-thread streams mean those of the plan's context).  wrong_device where the stream
// belongs to another context.  May be captured into a graph.  [thread-safe]
class Launcher {
 public:
  Launcher(const DeviceCode &code, void *stream) : code_(code), stream_(static_cast<CUstream>(stream)) {}
  ~Launcher();
  Status open(Failure &failure);  // before the first launch
  Status launch(const Launch &launch, void **parameters, Failure &failure);
  const DeviceCode &code() const { return code_; }

 private:
  const DeviceCode &code_;
  CUstream stream_;
  bool pushed_ = false;
};

}  // namespace lamina::cuda
