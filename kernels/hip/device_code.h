// A build's embedded code objects on one GPU: loaded when a plan is created, shared by all plans of the same GPU, launched from any thread.
// No call here allocates device memory or synchronises.
#pragma once
#include "runtime.h"

namespace lamina::hip {

struct CodeObject {
  const char *target;  // "gfx942", for messages
  const void *code;    // an ELF file with its section headers: the runtime takes its size from them
  int format;          // code object version, for messages
};

struct Image {                // what a build embeds
  const CodeObject *objects;  // tried in this order, newest first
  int object_count;
  const char *const *kernels;  // extern "C" names; the index names the kernel in launches
  int count;
};

constexpr int max_kernels = 64;  // of one image

struct DeviceCode {
  const Runtime *runtime;
  const Image *image;
  int device, object, users;  // object: which of the image's
  Module module;
  Function kernels[max_kernels];
  DeviceCode *next;
};

// Loads `image` for GPU `ordinal`.  Give it back with release_device_code.  Unsupported, with the reason: no runtime, no such GPU, a GPU
// this image has no code for.  The thread's current device is as before.  Safe during stream capture by any thread.  [thread-safe]
Status load_device_code(const Image &image, int ordinal, DeviceCode *&code, Failure &failure);
void release_device_code(DeviceCode *code);

struct Launch {
  int kernel;  // row of the image
  unsigned grid[3], block;
  unsigned shared_bytes = 0;
};

// Enqueues kernels on `stream` (NULL and hipStreamPerThread mean those of the plan's GPU).  wrong_device where the stream belongs to
// another GPU.  May be captured into a graph.  The thread's current device is the plan's between open and the end of the launcher's life.
// [thread-safe: one launcher a thread]
class Launcher {
 public:
  Launcher(const DeviceCode &code, void *stream) : code_(code), stream_(static_cast<Stream>(stream)) {}
  ~Launcher();
  Status open(Failure &failure);  // before the first launch
  Status launch(const Launch &launch, void **parameters, Failure &failure);

 private:
  const DeviceCode &code_;
  Stream stream_;
  int device_before_ = -1;  // to be made current again
};

}  // namespace lamina::hip
