// CPU memory between pages that can't be touched.  The bytes lie flush against one of them, as far as alignment allows; what is
// left between the bytes and the page is filled with a canary.
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "conformance/device.h"
#include "manifest/error.h"

namespace lamina::conformance {
namespace {

constexpr unsigned char canary = 0xc5, poison = 0xff;

// What the crash handler looks up: written by the owner of a slot, read in the handler.
struct Guarded {
  std::atomic<const unsigned char *> bytes{nullptr};
  std::atomic<long> size{0};
  char label[80];
};
std::array<Guarded, 1024> guarded;

class CpuBuffer final : public Buffer {
 public:
  CpuBuffer(size_t size, size_t align, Edge edge, const std::string &label) : Buffer(size) {
    if (size == 0) return;
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    if (align > page)
      throw Error(ErrorKind::unsupported, label + ": an alignment of " + std::to_string(align) + " bytes is more than a page");
    inside_ = (size + page - 1) / page * page;
    mapped_ = inside_ + 2 * page;
    void *memory = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
      throw Error(ErrorKind::no_space, label + ": no memory for " + std::to_string(size) + " bytes: " + strerror(errno));
    map_ = static_cast<unsigned char *>(memory);
    begin_ = map_ + page;
    if (mprotect(begin_, inside_, PROT_READ | PROT_WRITE) != 0)
      throw Error(ErrorKind::no_space, label + ": mprotect: " + std::string(strerror(errno)));
    bytes_ = edge == Edge::front ? begin_ : begin_ + ((inside_ - size) & ~(align - 1));
    std::memset(begin_, canary, inside_);
    std::memset(bytes_, poison, size);
    for (Guarded &slot : guarded) {
      const unsigned char *empty = nullptr;
      if (!slot.bytes.compare_exchange_strong(empty, bytes_)) continue;
      strncpy(slot.label, label.c_str(), sizeof slot.label - 1);
      slot.size = static_cast<long>(size);
      slot_ = &slot;
      break;
    }
  }
  ~CpuBuffer() override {
    if (slot_) slot_->bytes = nullptr;
    if (map_) munmap(map_, mapped_);
  }
  void *data() const override { return bytes_; }
  void write(const void *from) override {
    if (size_) std::memcpy(bytes_, from, size_);
  }
  void read(void *to) const override {
    if (size_) std::memcpy(to, bytes_, size_);
  }
  void forbid_writing() override {
    if (size_) mprotect(begin_, inside_, PROT_READ);
  }
  std::string damage() const override {
    for (const unsigned char *at = begin_; at != begin_ + inside_; ++at) {
      if (at == bytes_) at += size_;
      if (at == begin_ + inside_) break;
      if (*at != canary)
        return at < bytes_ ? "wrote " + std::to_string(bytes_ - at) + " bytes before its begin"
                           : "wrote " + std::to_string(at - (bytes_ + size_) + 1) + " bytes past its end";
    }
    return "";
  }

 private:
  unsigned char *map_ = nullptr, *begin_ = nullptr, *bytes_ = nullptr;
  size_t inside_ = 0, mapped_ = 0;
  Guarded *slot_ = nullptr;
};

class CpuDevice final : public Device {
 public:
  lamina_device id() const override { return {LAMINA_CPU, 0}; }
  std::string name() const override { return "cpu"; }
  std::unique_ptr<Buffer> allocate(size_t size, size_t align, Edge edge, const std::string &label) override {
    return std::make_unique<CpuBuffer>(size, align, edge, label);
  }
  void *stream(int) override { return nullptr; }
  void synchronise() override {}
};

}  // namespace

const char *nearest_guarded(const void *address, long *offset, long *size) {
  const long page = 4096;
  const char *label = nullptr;
  long best = 0;
  for (const Guarded &slot : guarded) {
    const unsigned char *bytes = slot.bytes.load();
    if (!bytes) continue;
    const long at = static_cast<long>(static_cast<const unsigned char *>(address) - bytes), length = slot.size.load();
    const long outside = at < 0 ? -at : at >= length ? at - length : 0;
    if (outside > 2 * page || (label && outside >= best)) continue;
    label = slot.label, best = outside, *offset = at, *size = length;
  }
  return label;
}

std::unique_ptr<Device> cpu_device() { return std::make_unique<CpuDevice>(); }

std::function<void()> Device::capture(const std::function<bool(void *)> &) {
  throw Error(ErrorKind::unsupported, "device " + name() + " has no graphs");
}

lamina_device device_named(const std::string &name) {
  if (name == "cpu") return {LAMINA_CPU, 0};
  for (const auto &[prefix, type] : {std::pair<std::string, int32_t>{"cuda:", LAMINA_CUDA}, {"rocm:", LAMINA_ROCM}}) {
    const std::string ordinal = name.rfind(prefix, 0) == 0 ? name.substr(prefix.size()) : "";
    if (!ordinal.empty() && ordinal.size() < 4 && ordinal.find_first_not_of("0123456789") == std::string::npos)
      return {type, std::stoi(ordinal)};
  }
  throw Error(ErrorKind::invalid_argument, "device '" + name + "' is none of cpu, cuda:N and rocm:N");
}

std::unique_ptr<Device> open_device(const std::string &name) {
  const lamina_device device = device_named(name);
  if (device.type == LAMINA_ROCM) return hip_device(device.id);
  return device.type == LAMINA_CPU ? cpu_device() : cuda_device(device.id);
}

}  // namespace lamina::conformance
