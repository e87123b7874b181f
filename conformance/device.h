// Memory and streams of the device a build runs on, behind one small interface, so that the same cases run on a CPU and on a GPU.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "abi/lamina_abi.h"

namespace lamina::conformance {

// Which side of the memory the bytes touch: on a CPU the page beyond it can't be read or written.
enum class Edge { front, back };

// Bytes for one tensor or workspace, with guards on both sides.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual void *data() const = 0;  // NULL when size() is 0
  size_t size() const { return size_; }
  virtual void write(const void *from) = 0;  // all size() bytes
  virtual void read(void *to) const = 0;
  virtual void forbid_writing() {}  // where the device can
  // What was written beside the bytes, in a sentence; empty if nothing was.
  virtual std::string damage() const = 0;

 protected:
  explicit Buffer(size_t size) : size_(size) {}
  size_t size_;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual lamina_device id() const = 0;
  virtual std::string name() const = 0;
  // `align` is a power of two.  `label` names the bytes in messages.  The content is poison.  Freed with the Buffer.
  virtual std::unique_ptr<Buffer> allocate(size_t size, size_t align, Edge edge, const std::string &label) = 0;
  virtual void *stream(int index) = 0;  // one of two streams; NULL on a CPU
  virtual void synchronise() = 0;       // throws lamina::Error when earlier work failed
  // Captures what `enqueue` puts on stream 0 into a graph, and returns a function that replays it and waits.  Only where
  // can_capture().  `enqueue` returns false to give up.
  virtual bool can_capture() const { return false; }
  virtual std::function<void()> capture(const std::function<bool(void *stream)> &enqueue);
  // Makes the calling thread one that has never used the device; back to normal when `work` returned.
  virtual void without_context(const std::function<void()> &work) { work(); }
};

std::unique_ptr<Device> cpu_device();
std::unique_ptr<Device> cuda_device(int ordinal);  // loads libcuda.so.1; throws lamina::Error when that fails
std::unique_ptr<Device> hip_device(int ordinal);   // loads libamdhip64, the same way

// "cpu", "cuda:1" or "rocm:0".
std::unique_ptr<Device> open_device(const std::string &name);
// The device type (LAMINA_CPU, LAMINA_CUDA, LAMINA_ROCM) and ordinal that a name means; throws lamina::Error for any other name.
lamina_device device_named(const std::string &name);

// CPU only: which guarded bytes an address lies in or beside; async-signal-safe apart from a lookup in a table.
// Returns a label and an offset, or NULL when the address is not near any.
const char *nearest_guarded(const void *address, long *offset, long *size);

}  // namespace lamina::conformance
