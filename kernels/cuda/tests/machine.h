// A host for the test kernels: the first GPU through conformance's device, launches through the plug-ins' own driver table.
#pragma once
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "conformance/device.h"
#include "kernels/cuda/device_code.h"
#include "kernels/cuda/tests/jobs.h"
#include "manifest/error.h"

namespace lamina::cuda::tests {

inline void require(Status status, const Failure &failure) {
  if (status != Status::ok) throw Error(status == Status::unsupported ? ErrorKind::unsupported : ErrorKind::failed, failure.message);
}

// A table of kernels on the first GPU.  Throws lamina::Error, of kind unsupported where there is no GPU that the image has code for.
class Machine {
 public:
  explicit Machine(const Image &image) : device_(conformance::cuda_device(0)) {
    Failure failure;
    require(load_device_code(image, 0, code_, failure), failure);
  }
  ~Machine() { release_device_code(code_); }
  Machine(const Machine &) = delete;

  const DeviceCode &code() const { return *code_; }
  std::string name() const { return device_->name(); }

  // Bytes on the GPU, holding `from` or nothing in particular.
  template <class T>
  std::unique_ptr<conformance::Buffer> put(const std::vector<T> &from) {
    auto buffer = device_->allocate(from.size() * sizeof(T), 256, conformance::Edge::front, "test");
    buffer->write(from.data());
    return buffer;
  }
  std::unique_ptr<conformance::Buffer> room(size_t bytes) { return device_->allocate(bytes, 256, conformance::Edge::front, "test"); }

  // One CTA.  Several before the next wait() run in their order.
  template <class Job>
  void launch(int kernel, unsigned threads, const Job &job, uint32_t shared_bytes = 0, bool overlaps_previous = false) {
    Failure failure;
    Launcher launcher(*code_, device_->stream(0));
    require(launcher.open(failure), failure);
    void *parameters[] = {const_cast<Job *>(&job)};
    require(launcher.launch({kernel, {1, 1, 1}, threads, overlaps_previous, shared_bytes}, parameters, failure), failure);
  }
  void wait() { device_->synchronise(); }

 private:
  std::unique_ptr<conformance::Device> device_;
  DeviceCode *code_ = nullptr;
};

template <class T>
std::vector<T> contents(const conformance::Buffer &buffer) {
  std::vector<T> result(buffer.size() / sizeof(T));
  buffer.read(result.data());
  return result;
}

}  // namespace lamina::cuda::tests
