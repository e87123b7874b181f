// Memory that a call needs beside what it was given: the environment's allocator where there is one, on CPUs the C library otherwise.
#pragma once
#include "arguments.h"

namespace lamina::tvm_ffi {

// A tensor object of tvm-ffi of the prototype's device, dtype and shape; the caller gives it to the host or releases it.  NULL after a
// failure.  On a GPU without an allocator the failure tells what to give instead: `what`.
void *allocate_tensor(const lamina_tensor &prototype, const char *op, const char *what, Failure &failure);

// Workspace of one call; released when this goes.  On a GPU that is safe: the allocator hands the bytes on in the order of the stream.
class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace &) = delete;
  Workspace &operator=(const Workspace &) = delete;
  ~Workspace();
  bool allocate(const char *op, lamina_device device, uint64_t size, uint64_t align, Failure &failure);
  void *data = nullptr;

 private:
  void *owned_ = nullptr, *object_ = nullptr;
};

}  // namespace lamina::tvm_ffi
