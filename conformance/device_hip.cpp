// AMD GPUs through libamdhip64, opened by name as plug-ins open it.  Bytes start as poison.  On a GPU canaries lie on both sides of them; on the
// emulator an allocation ends where the bytes end, and the emulator knows each one's bounds.
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "conformance/device.h"
#include "conformance/device_gpu.h"
#include "manifest/error.h"

namespace lamina::conformance {
namespace {

constexpr size_t guard_bytes = 4096;
constexpr unsigned char canary = 0xc5, poison = 0xff;
constexpr int host_to_device = 1, device_to_host = 2;  // hipMemcpyKind

// The runtime's C interface, as far as it is used here; nothing of it has changed from ROCm 5 on.
using Handle = void *;
struct Runtime {
  bool exact_bounds;  // the emulator
  int (*hipInit)(unsigned);
  int (*hipSetDevice)(int);
  int (*hipDeviceGetName)(char *, int, int);
  int (*hipRuntimeGetVersion)(int *);
  int (*hipDeviceSynchronize)();
  int (*hipMalloc)(void **, size_t);
  int (*hipFree)(void *);
  int (*hipMemcpy)(void *, const void *, size_t, int);
  int (*hipMemset)(void *, int, size_t);
  int (*hipStreamCreateWithFlags)(Handle *, unsigned);
  int (*hipStreamBeginCapture)(Handle, int);
  int (*hipStreamEndCapture)(Handle, Handle *);
  int (*hipGraphInstantiate)(Handle *, Handle, Handle *, char *, size_t);
  int (*hipGraphGetNodes)(Handle, Handle *, size_t *);
  int (*hipGraphLaunch)(Handle, Handle);
  int (*hipGraphExecDestroy)(Handle);
  int (*hipGraphDestroy)(Handle);
  const char *(*hipGetErrorString)(int);
};

void *open_runtime() {
  if (const char *named = std::getenv("LAMINA_HIP_RUNTIME"); named && *named) return dlopen(named, RTLD_NOW | RTLD_LOCAL);
  for (const char *name : {"libamdhip64.so.10", "libamdhip64.so.9", "libamdhip64.so.8", "libamdhip64.so.7", "libamdhip64.so.6",
                           "libamdhip64.so.5", "libamdhip64.so", "/opt/rocm/lib/libamdhip64.so"})
    if (void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return library;
  return nullptr;
}

const Runtime &runtime() {
  static const Runtime table = [] {
    void *library = open_runtime();
    if (!library) throw Error(ErrorKind::unsupported, std::string("no HIP runtime (libamdhip64.so, ROCm 5 to 10): ") + dlerror());
    Runtime found{};
    found.exact_bounds = dlsym(library, "lamina_hip_emulator") != nullptr;
    const auto find = [&](auto &function, const char *name) {
      void *symbol = dlsym(library, name);
      if (!symbol) throw Error(ErrorKind::unsupported, std::string("libamdhip64 has no ") + name);
      std::memcpy(&function, &symbol, sizeof symbol);
    };
#define LAMINA_FIND(name) find(found.name, #name)
    LAMINA_FIND(hipInit);
    LAMINA_FIND(hipSetDevice);
    LAMINA_FIND(hipDeviceGetName);
    LAMINA_FIND(hipRuntimeGetVersion);
    LAMINA_FIND(hipDeviceSynchronize);
    LAMINA_FIND(hipMalloc);
    LAMINA_FIND(hipFree);
    LAMINA_FIND(hipMemcpy);
    LAMINA_FIND(hipMemset);
    LAMINA_FIND(hipStreamCreateWithFlags);
    LAMINA_FIND(hipStreamBeginCapture);
    LAMINA_FIND(hipStreamEndCapture);
    LAMINA_FIND(hipGraphInstantiate);
    LAMINA_FIND(hipGraphGetNodes);
    LAMINA_FIND(hipGraphLaunch);
    LAMINA_FIND(hipGraphExecDestroy);
    LAMINA_FIND(hipGraphDestroy);
    LAMINA_FIND(hipGetErrorString);
#undef LAMINA_FIND
    return found;
  }();
  return table;
}

void require(int code, const char *what) {
  if (code == 0) return;
  throw Error(ErrorKind::failed,
              std::string(what) + ": " + runtime().hipGetErrorString(code) + " (HIP error " + std::to_string(code) + ")");
}

class HipBuffer final : public Buffer {
 public:
  // The bytes begin at an address that is aligned as asked and no better, where that leaves room.
  HipBuffer(size_t size, size_t align, Edge edge) : Buffer(size) {
    if (size == 0) return;
    const size_t shift = edge == Edge::back ? align : 0;
    before_ = runtime().exact_bounds ? shift : (guard_bytes + align - 1) / align * align + shift;
    after_ = runtime().exact_bounds ? 0 : guard_bytes;
    const size_t total = before_ + size + after_;
    void *base = nullptr;
    require(runtime().hipMalloc(&base, total), "hipMalloc");
    base_ = static_cast<unsigned char *>(base);
    require(runtime().hipMemset(base_, canary, total), "hipMemset");
    require(runtime().hipMemset(base_ + before_, poison, size), "hipMemset");
    require(runtime().hipDeviceSynchronize(), "hipDeviceSynchronize");
  }
  ~HipBuffer() override {
    if (base_) runtime().hipFree(base_);
  }
  void *data() const override { return base_ ? base_ + before_ : nullptr; }
  void write(const void *from) override {
    if (size_) require(runtime().hipMemcpy(base_ + before_, from, size_, host_to_device), "hipMemcpy");
    require(runtime().hipDeviceSynchronize(), "hipDeviceSynchronize");
  }
  void read(void *to) const override {
    if (size_) require(runtime().hipMemcpy(to, base_ + before_, size_, device_to_host), "hipMemcpy");
  }
  std::string damage() const override {
    if (!size_) return "";
    if (spoiled(0, before_)) return "wrote before its begin";
    if (spoiled(before_ + size_, after_)) return "wrote past its end";
    return "";
  }

 private:
  bool spoiled(size_t from, size_t count) const {
    if (!count) return false;
    std::vector<unsigned char> bytes(count);
    require(runtime().hipMemcpy(bytes.data(), base_ + from, count, device_to_host), "hipMemcpy");
    return std::any_of(bytes.begin(), bytes.end(), [](unsigned char byte) { return byte != canary; });
  }

  unsigned char *base_ = nullptr;
  size_t before_ = 0, after_ = 0;  // canaries
};

class HipDevice final : public Device {
 public:
  explicit HipDevice(int ordinal) : ordinal_(ordinal) {
    const Runtime &hip = runtime();
    require(hip.hipInit(0), "hipInit");
    require(hip.hipSetDevice(ordinal), "hipSetDevice");
    char name[128] = {};
    require(hip.hipDeviceGetName(name, sizeof name - 1, ordinal), "hipDeviceGetName");
    int version = 0;
    require(hip.hipRuntimeGetVersion(&version), "hipRuntimeGetVersion");
    name_ = std::string(name) + ", HIP runtime " + std::to_string(version / 10000000) + "." + std::to_string(version / 100000 % 100) + "." +
            std::to_string(version % 100000);
    constexpr unsigned non_blocking = 1;
    for (Handle &stream : streams_) require(hip.hipStreamCreateWithFlags(&stream, non_blocking), "hipStreamCreate");
  }
  lamina_device id() const override { return {LAMINA_ROCM, ordinal_}; }
  std::string name() const override { return name_; }
  std::unique_ptr<Buffer> allocate(size_t size, size_t align, Edge edge, const std::string &) override {
    return std::make_unique<HipBuffer>(size, align, edge);
  }
  void *stream(int index) override { return streams_[index]; }
  void synchronise() override { require(runtime().hipDeviceSynchronize(), "work on the device"); }
  bool can_capture() const override { return true; }

  std::function<void()> capture(const std::function<bool(void *)> &enqueue) override {
    constexpr int strictest = 0;  // hipStreamCaptureModeGlobal
    GraphCalls calls;
    calls.begin = [](Handle stream) { require(runtime().hipStreamBeginCapture(stream, strictest), "hipStreamBeginCapture"); };
    calls.end = runtime().hipStreamEndCapture;
    calls.require_ended = [](int code) { require(code, "hipStreamEndCapture"); };
    calls.nodes = [](Handle graph) {
      size_t nodes = 0;
      require(runtime().hipGraphGetNodes(graph, nullptr, &nodes), "hipGraphGetNodes");
      return nodes;
    };
    calls.instantiate = [](Handle graph) {
      Handle executable = nullptr;
      require(runtime().hipGraphInstantiate(&executable, graph, nullptr, nullptr, 0), "hipGraphInstantiate");
      return executable;
    };
    calls.replay = [](Handle executable, Handle stream) {
      require(runtime().hipGraphLaunch(executable, stream), "hipGraphLaunch");
      require(runtime().hipDeviceSynchronize(), "replay of the graph");
    };
    calls.destroy_graph = runtime().hipGraphDestroy, calls.destroy_executable = runtime().hipGraphExecDestroy;
    return capture_graph(calls, streams_[0], enqueue);
  }

  // A new thread has device 0 and no error.
  void without_context(const std::function<void()> &work) override { on_new_thread(work); }

 private:
  int ordinal_;
  std::string name_;
  Handle streams_[2] = {};
};

}  // namespace

std::unique_ptr<Device> hip_device(int ordinal) { return std::make_unique<HipDevice>(ordinal); }

}  // namespace lamina::conformance
