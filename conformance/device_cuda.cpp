// CUDA memory, streams and graphs through libcuda.so.1, opened by name: conformance needs neither toolkit nor driver to be built.
// Memory has no guard pages there; canaries lie on both sides, and the bytes themselves start as poison.
#include <dlfcn.h>

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

// The driver's C interface, as far as it is used here: types are opaque, names are the versioned symbols that libcuda exports.
using Handle = void *;
using Address = unsigned long long;
struct Driver {
  int (*cuInit)(unsigned);
  int (*cuDeviceGet)(int *, int);
  int (*cuDeviceGetName)(char *, int, int);
  int (*cuDevicePrimaryCtxRetain)(Handle *, int);
  int (*cuCtxSetCurrent)(Handle);
  int (*cuCtxSynchronize)();
  int (*cuMemAlloc_v2)(Address *, size_t);
  int (*cuMemFree_v2)(Address);
  int (*cuMemcpyHtoD_v2)(Address, const void *, size_t);
  int (*cuMemcpyDtoH_v2)(void *, Address, size_t);
  int (*cuMemsetD8_v2)(Address, unsigned char, size_t);
  int (*cuStreamCreate)(Handle *, unsigned);
  int (*cuStreamBeginCapture_v2)(Handle, int);
  int (*cuStreamEndCapture)(Handle, Handle *);
  int (*cuGraphInstantiateWithFlags)(Handle *, Handle, unsigned long long);
  int (*cuGraphGetNodes)(Handle, Handle *, size_t *);
  int (*cuGraphLaunch)(Handle, Handle);
  int (*cuGraphExecDestroy)(Handle);
  int (*cuGraphDestroy)(Handle);
  int (*cuGetErrorName)(int, const char **);
};

const Driver &driver() {
  static const Driver table = [] {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) throw Error(ErrorKind::unsupported, std::string("no CUDA driver: ") + dlerror());
    Driver found{};
    const auto find = [&](auto &function, const char *name) {
      void *symbol = dlsym(library, name);
      if (!symbol) throw Error(ErrorKind::unsupported, std::string("libcuda.so.1 has no ") + name);
      std::memcpy(&function, &symbol, sizeof symbol);
    };
#define LAMINA_FIND(name) find(found.name, #name)
    LAMINA_FIND(cuInit);
    LAMINA_FIND(cuDeviceGet);
    LAMINA_FIND(cuDeviceGetName);
    LAMINA_FIND(cuDevicePrimaryCtxRetain);
    LAMINA_FIND(cuCtxSetCurrent);
    LAMINA_FIND(cuCtxSynchronize);
    LAMINA_FIND(cuMemAlloc_v2);
    LAMINA_FIND(cuMemFree_v2);
    LAMINA_FIND(cuMemcpyHtoD_v2);
    LAMINA_FIND(cuMemcpyDtoH_v2);
    LAMINA_FIND(cuMemsetD8_v2);
    LAMINA_FIND(cuStreamCreate);
    LAMINA_FIND(cuStreamBeginCapture_v2);
    LAMINA_FIND(cuStreamEndCapture);
    LAMINA_FIND(cuGraphInstantiateWithFlags);
    LAMINA_FIND(cuGraphGetNodes);
    LAMINA_FIND(cuGraphLaunch);
    LAMINA_FIND(cuGraphExecDestroy);
    LAMINA_FIND(cuGraphDestroy);
    LAMINA_FIND(cuGetErrorName);
#undef LAMINA_FIND
    return found;
  }();
  return table;
}

void require(int code, const char *what) {
  if (code == 0) return;
  const char *name = nullptr;
  driver().cuGetErrorName(code, &name);
  throw Error(ErrorKind::failed, std::string(what) + ": " + (name ? name : "unknown CUDA error") + " (" + std::to_string(code) + ")");
}

// For compute-sanitizer, which knows an allocation's size and what was written to it: nothing beside the bytes, nothing in them.
bool bare_memory() {
  static const bool bare = std::getenv("LAMINA_BARE_MEMORY") != nullptr;
  return bare;
}

class CudaBuffer final : public Buffer {
 public:
  // The bytes begin at an address that is aligned as asked and no better, where that leaves room.
  CudaBuffer(size_t size, size_t align, Edge edge) : Buffer(size) {
    if (size == 0) return;
    if (bare_memory()) {
      total_ = size;
      require(driver().cuMemAlloc_v2(&base_, size), "cuMemAlloc");
      begin_ = base_;
      return;
    }
    total_ = size + 2 * guard_bytes + 2 * align;
    require(driver().cuMemAlloc_v2(&base_, total_), "cuMemAlloc");
    begin_ = (base_ + guard_bytes + align - 1) / align * align;
    if (edge == Edge::back) begin_ += align;
    require(driver().cuMemsetD8_v2(base_, canary, total_), "cuMemsetD8");
    require(driver().cuMemsetD8_v2(begin_, poison, size), "cuMemsetD8");
    require(driver().cuCtxSynchronize(), "cuCtxSynchronize");
  }
  ~CudaBuffer() override {
    if (base_) driver().cuMemFree_v2(base_);
  }
  void *data() const override { return reinterpret_cast<void *>(begin_); }
  void write(const void *from) override {
    if (size_) require(driver().cuMemcpyHtoD_v2(begin_, from, size_), "cuMemcpyHtoD");
    require(driver().cuCtxSynchronize(), "cuCtxSynchronize");
  }
  void read(void *to) const override {
    if (size_) require(driver().cuMemcpyDtoH_v2(to, begin_, size_), "cuMemcpyDtoH");
  }
  std::string damage() const override {
    if (!size_ || bare_memory()) return "";
    const auto spoiled = [&](Address from, size_t count) {
      std::vector<unsigned char> bytes(count);
      require(driver().cuMemcpyDtoH_v2(bytes.data(), from, count), "cuMemcpyDtoH");
      for (const unsigned char byte : bytes)
        if (byte != canary) return true;
      return false;
    };
    if (spoiled(base_, begin_ - base_)) return "wrote before its begin";
    if (spoiled(begin_ + size_, base_ + total_ - begin_ - size_)) return "wrote past its end";
    return "";
  }

 private:
  Address base_ = 0, begin_ = 0;
  size_t total_ = 0;
};

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int ordinal) : ordinal_(ordinal) {
    const Driver &cuda = driver();
    require(cuda.cuInit(0), "cuInit");
    int device = 0;
    require(cuda.cuDeviceGet(&device, ordinal), "cuDeviceGet");
    char name[128] = {};
    require(cuda.cuDeviceGetName(name, sizeof name - 1, device), "cuDeviceGetName");
    name_ = name;
    require(cuda.cuDevicePrimaryCtxRetain(&context_, device), "cuDevicePrimaryCtxRetain");
    require(cuda.cuCtxSetCurrent(context_), "cuCtxSetCurrent");
    constexpr unsigned non_blocking = 1;
    for (Handle &stream : streams_) require(cuda.cuStreamCreate(&stream, non_blocking), "cuStreamCreate");
  }
  lamina_device id() const override { return {LAMINA_CUDA, ordinal_}; }
  std::string name() const override { return name_; }
  std::unique_ptr<Buffer> allocate(size_t size, size_t align, Edge edge, const std::string &) override {
    return std::make_unique<CudaBuffer>(size, align, edge);
  }
  void *stream(int index) override { return streams_[index]; }
  void synchronise() override { require(driver().cuCtxSynchronize(), "work on the device"); }
  bool can_capture() const override { return true; }

  std::function<void()> capture(const std::function<bool(void *)> &enqueue) override {
    constexpr int strictest = 0;  // CU_STREAM_CAPTURE_MODE_GLOBAL
    GraphCalls calls;
    calls.begin = [](Handle stream) { require(driver().cuStreamBeginCapture_v2(stream, strictest), "cuStreamBeginCapture"); };
    calls.end = driver().cuStreamEndCapture;
    calls.require_ended = [](int code) { require(code, "cuStreamEndCapture"); };
    calls.nodes = [](Handle graph) {
      size_t nodes = 0;
      require(driver().cuGraphGetNodes(graph, nullptr, &nodes), "cuGraphGetNodes");
      return nodes;
    };
    calls.instantiate = [](Handle graph) {
      Handle executable = nullptr;
      require(driver().cuGraphInstantiateWithFlags(&executable, graph, 0), "cuGraphInstantiate");
      return executable;
    };
    calls.replay = [](Handle executable, Handle stream) {
      require(driver().cuGraphLaunch(executable, stream), "cuGraphLaunch");
      require(driver().cuCtxSynchronize(), "replay of the graph");
    };
    calls.destroy_graph = driver().cuGraphDestroy, calls.destroy_executable = driver().cuGraphExecDestroy;
    return capture_graph(calls, streams_[0], enqueue);
  }

  void without_context(const std::function<void()> &work) override { on_new_thread(work); }

 private:
  int ordinal_;
  std::string name_;
  Handle context_ = nullptr, streams_[2] = {};
};

}  // namespace

std::unique_ptr<Device> cuda_device(int ordinal) { return std::make_unique<CudaDevice>(ordinal); }

}  // namespace lamina::conformance
