// A host for tests of CUDA builds without a GPU: the stand-in driver, tensors at addresses that nobody may touch, and calls through the
// C header.
#pragma once
#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <set>

#include "conformance/case.h"
#include "conformance/fake_cuda/fake_cuda.h"
#include "conformance/isolate.h"
#include "conformance/plugin.h"
#include "manifest/error.h"

namespace lamina::conformance {

inline void expect(bool holds, const std::string &sentence) {
  if (!holds) throw Error(ErrorKind::failed, sentence);
}

inline void *open_library(const char *path) {
  void *handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  expect(handle != nullptr, std::string("no stand-in driver: ") + (handle ? "" : dlerror()));
  return handle;
}

// The driver's own functions, as a host uses them.
class Fake {
 public:
  Fake() : library_(open_library(fake_cuda::library_path)), control_(function<fake_cuda::ControlFunction>(fake_cuda::control_symbol)()) {}
  fake_cuda::Control *operator->() const { return control_; }
  template <class Function>
  Function function(const char *name) const {
    void *symbol = dlsym(library_, name);
    expect(symbol != nullptr, std::string("the stand-in driver has no ") + name);
    return reinterpret_cast<Function>(symbol);
  }
  void start() const { done(function<int (*)(unsigned)>("cuInit")(0), "cuInit"); }
  void *retain(int device) const {
    void *context = nullptr;
    done(function<int (*)(void **, int)>("cuDevicePrimaryCtxRetain")(&context, device), "cuDevicePrimaryCtxRetain");
    return context;
  }
  void release(int device) const { done(function<int (*)(int)>("cuDevicePrimaryCtxRelease_v2")(device), "cuDevicePrimaryCtxRelease"); }
  void make_current(void *context) const { done(function<int (*)(void *)>("cuCtxSetCurrent")(context), "cuCtxSetCurrent"); }
  void *own_context(int device) const {  // current afterwards
    void *context = nullptr;
    done(function<int (*)(void **, void *, unsigned, int)>("cuCtxCreate_v4")(&context, nullptr, 0, device), "cuCtxCreate");
    return context;
  }
  void destroy_context(void *context) const { done(function<int (*)(void *)>("cuCtxDestroy_v2")(context), "cuCtxDestroy"); }
  void *stream(bool blocking = false) const {  // of the current context
    void *stream = nullptr;
    done(function<int (*)(void **, unsigned)>("cuStreamCreate")(&stream, blocking ? 0 : 1), "cuStreamCreate");
    return stream;
  }
  void begin_capture(void *stream, int mode) const {
    done(function<int (*)(void *, int)>("cuStreamBeginCapture_v2")(stream, mode), "cuStreamBeginCapture");
  }
  size_t end_capture(void *stream) const {  // nodes of the graph, which is destroyed
    void *graph = nullptr;
    size_t nodes = 0;
    done(function<int (*)(void *, void **)>("cuStreamEndCapture")(stream, &graph), "cuStreamEndCapture");
    done(function<int (*)(void *, void **, size_t *)>("cuGraphGetNodes")(graph, nullptr, &nodes), "cuGraphGetNodes");
    done(function<int (*)(void *)>("cuGraphDestroy")(graph), "cuGraphDestroy");
    return nodes;
  }
  void no_misuse() const {
    for (const std::string &sentence : control_->misuses()) expect(false, sentence);
  }
  // Nothing of any plan is left.
  void nothing_left(int devices = 1) const {
    no_misuse();
    expect(control_->loaded_libraries() == 0, "device code is still loaded after the last plan");
    for (int device = 0; device < devices; ++device)
      expect(control_->retained(device) == 0, "device " + std::to_string(device) + "'s context is still retained after the last plan");
    expect(control_->stack_depth() == 0, "a context is left on the thread's stack");
    expect(control_->capture_mode() == 0, "the thread's capture mode is changed");
    expect(control_->live_bytes() == 0, "device memory is left");
  }

 private:
  static void done(int code, const char *what) { expect(code == 0, std::string(what) + " gives error " + std::to_string(code)); }
  void *library_;
  fake_cuda::Control *control_;
};

// Addresses that fault when read or written on the host, in named pieces with gaps between them.  None is given out twice in a process, so
// that what an earlier call left in the padding of a struct is not taken for an address of this one.
class Addresses {
 public:
  struct Piece {
    std::string name;
    uint64_t begin, bytes;
  };
  static constexpr uint64_t align = 1 << 16;
  void *take(const std::string &name, uint64_t bytes) {
    const uint64_t room = (bytes + gap) / align * align + align;
    uint64_t begin = next().load(), taken;
    do {
      taken = begin;
      if (looks_like_number(taken) || looks_like_number(taken + room)) taken = (taken | low_half) + 1 + lowest;
    } while (!next().compare_exchange_weak(begin, taken + room));
    begin = taken;
    expect(begin + room <= first() + whole, "the tensors need more address space");
    pieces_.push_back({name, begin, bytes});
    return reinterpret_cast<void *>(begin);
  }
  // Between the first and the last piece, or in the gap behind it; but not the upper half of an address that lay there before with a number's
  // bits for its lower half, as words that end in padding have them.
  bool here(uint64_t address) const {
    return !pieces_.empty() && address >= pieces_.front().begin && address < pieces_.back().begin + pieces_.back().bytes + gap &&
           (!looks_like_number(address) || holding(address, 1));
  }
  // The piece that holds all of these bytes, or NULL.
  const Piece *holding(uint64_t address, uint64_t bytes) const {
    for (const Piece &piece : pieces_)
      if (address >= piece.begin && address + bytes <= piece.begin + piece.bytes) return &piece;
    return nullptr;
  }

 private:
  static constexpr uint64_t whole = uint64_t{1} << 44, gap = uint64_t{1} << 20;
  // Where pieces lie: no job holds an int of 1.3e9 or more, or a finite float above 1.4e10.
  static constexpr uint64_t low_half = 0xffffffff, lowest = 0x50000000, highest = 0x7f000000;
  static bool looks_like_number(uint64_t address) { return (address & low_half) < lowest || (address & low_half) >= highest; }
  static uint64_t first() {
    static const uint64_t begin = [] {
      void *memory = mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      expect(memory != MAP_FAILED, "no address space for tensors");
      return (reinterpret_cast<uint64_t>(memory) + align - 1) / align * align;
    }();
    return begin;
  }
  static std::atomic<uint64_t> &next() {
    static std::atomic<uint64_t> at{first()};
    return at;
  }
  std::vector<Piece> pieces_;
};

using Dims = std::map<std::string, int64_t>;

// A plan and one call of it, as a host makes them.
class HostCall {
 public:
  struct Request {
    std::string op = "forward";
    Dims dims;
    Element dtype = Element::float32;
    std::set<std::string> given;  // patterns of optional arguments
    bool packed = false;
    std::vector<lamina_attr> attributes;
    int device = 0;
    std::map<std::string, std::string> dtypes = {};  // by pattern, where they differ
  };

  // Throws with the plug-in's own sentence where the plan or its need is refused.
  HostCall(const Plugin &plugin, const Request &request)
      : request_(request), op_(*plugin.op(request.op)), plan_(nullptr, op_.plan_destroy) {
    const Outcome created = create();
    expect(created.ok(), describe(created));
    make_tensors();
    if (request_.packed) add_packed();
    require("plan_need", [&](lamina_error *error) { return op_.plan_need(plan_.get(), &call_, &need_, error); });
    call_.workspace = need_.workspace_size ? addresses_.take("workspace", need_.workspace_size) : nullptr;
    call_.workspace_size = need_.workspace_size;
  }
  HostCall(const HostCall &) = delete;

  Outcome run(void *stream) {
    call_.stream = stream;
    ErrorCatcher catcher;
    return catcher.outcome(op_.run(plan_.get(), &call_, catcher.get()));
  }
  void must_run(void *stream, const std::string &where) {
    const Outcome outcome = run(stream);
    expect(outcome.ok(), where + ": " + describe(outcome));
  }
  const Addresses &addresses() const { return addresses_; }
  const lamina_need &need() const { return need_; }

 private:
  Outcome create() {
    if (attribute_named(op_, "dtype") >= 0) {
      lamina_attr dtype{"dtype", LAMINA_ATTR_STRING, 0, {}};
      dtype.value.s = name_of(request_.dtype);
      request_.attributes.push_back(dtype);
    }
    lamina_plan_desc desc{};
    desc.struct_size = sizeof desc, desc.device = {LAMINA_CUDA, request_.device};
    desc.attrs = request_.attributes.data(), desc.attr_count = static_cast<uint32_t>(request_.attributes.size());
    ErrorCatcher catcher;
    lamina_plan *plan = nullptr;
    const Outcome outcome = catcher.outcome(op_.plan_create(&op_, &desc, &plan, catcher.get()));
    plan_.reset(plan);
    return outcome;
  }
  template <class Function>
  void require(const char *what, Function function) {
    ErrorCatcher catcher;
    const Outcome outcome = catcher.outcome(function(catcher.get()));
    expect(outcome.ok(), std::string(what) + ": " + describe(outcome));
  }
  void make_tensors() {
    tensors_.resize(op_.arg_count), shapes_.resize(op_.arg_count), pointers_.assign(op_.arg_count, nullptr);
    for (uint32_t i = 0; i < op_.arg_count; ++i) {
      const lamina_arg &arg = op_.args[i];
      if (arg.role == LAMINA_PACKED && op_.kind != LAMINA_PACK) continue;
      if ((arg.flags & LAMINA_OPTIONAL) && arg.role != LAMINA_PACKED && !gives(arg.name)) continue;
      if (arg.role == LAMINA_PACKED) {
        require("plan_need", [&](lamina_error *error) { return op_.plan_need(plan_.get(), &call_, &need_, error); });
        request_.dims["P"] = static_cast<int64_t>(need_.packed_size);
      }
      add(i, element_for(arg), !(request_.packed && arg.role == LAMINA_PARAM));
    }
    add_saved();
  }
  // What the build keeps between the passes, where nobody asked for it by name: as many bytes as infer says, none being no argument.
  void add_saved() {
    for (uint32_t i = 0; i < op_.arg_count; ++i) {
      if (op_.args[i].role != LAMINA_SAVED || pointers_[i]) continue;
      std::vector<std::array<int64_t, 8>> rooms(op_.arg_count);
      std::vector<lamina_tensor> told(op_.arg_count);
      for (uint32_t at = 0; at < op_.arg_count; ++at) told[at].shape = rooms[at].data();
      require("infer", [&](lamina_error *error) { return op_.infer(plan_.get(), &call_, told.data(), error); });
      if (!rooms[i][0]) continue;
      request_.dims["S"] = rooms[i][0];
      add(i, Element::uint8, true);
    }
  }
  // A gradient of what is absent is never wanted, whatever the pattern.
  bool gives(const std::string &name) const {
    constexpr std::string_view gradient = "_gradient";
    if (name.ends_with(gradient) && name.size() > gradient.size()) {
      const std::string of = name.substr(0, name.size() - gradient.size());
      for (uint32_t i = 0; i < op_.arg_count; ++i)
        if (of == op_.args[i].name && (op_.args[i].flags & LAMINA_OPTIONAL) && !gives(of)) return false;
    }
    return std::any_of(request_.given.begin(), request_.given.end(), [&](const std::string &pattern) { return matches(pattern, name); });
  }
  bool is_of_parameter(const lamina_arg &gradient) const {
    for (uint32_t i = 0; i < op_.arg_count; ++i)
      if (op_.args[i].role == LAMINA_PARAM && std::string(op_.args[i].name) + "_gradient" == gradient.name) return true;
    return false;
  }
  Element element_for(const lamina_arg &arg) const {
    for (const lamina_attr &attribute : request_.attributes)
      if (std::string_view(attribute.name) == "gradient_dtype" && std::string_view(attribute.value.s) == "float32" && is_of_parameter(arg))
        return Element::float32;
    const std::string *asked = best_match(request_.dtypes, arg.name);
    if (asked && *asked != "same") return *element_named(*asked);
    if (arg.dtype_of >= 0 && pointers_[static_cast<size_t>(arg.dtype_of)])
      return *element_of(tensors_[static_cast<size_t>(arg.dtype_of)].dtype);
    if (arg.dtypes & bit(request_.dtype)) return request_.dtype;
    int last = 0;
    for (int e = 0; e < element_count; ++e)
      if (arg.dtypes >> e & 1) last = e;
    return static_cast<Element>(last);
  }
  void add_packed() {
    require("plan_need", [&](lamina_error *error) { return op_.plan_need(plan_.get(), &call_, &need_, error); });
    request_.dims["P"] = static_cast<int64_t>(need_.packed_size);
    for (uint32_t i = 0; i < op_.arg_count; ++i)
      if (op_.args[i].role == LAMINA_PACKED) add(i, Element::uint8, true);
  }
  void add(uint32_t i, Element element, bool data) {
    const lamina_arg &arg = op_.args[i];
    uint64_t bytes = size_of(element);
    for (const std::string &word : shape_words(arg)) {
      const auto dim = request_.dims.find(word);
      expect(dim != request_.dims.end(), std::string("the test gives no extent ") + word + " of " + arg.name);
      shapes_[i].push_back(dim->second), bytes *= static_cast<uint64_t>(dim->second);
    }
    lamina_tensor &tensor = tensors_[i];
    tensor.data = data ? addresses_.take(arg.name, bytes) : nullptr;
    tensor.device = {LAMINA_CUDA, request_.device};
    tensor.ndim = static_cast<int32_t>(shapes_[i].size()), tensor.dtype = dtype_of(element), tensor.shape = shapes_[i].data();
    pointers_[i] = &tensor;
    call_.struct_size = sizeof call_, call_.tensor_count = op_.arg_count, call_.tensors = pointers_.data();
  }

  Request request_;
  const lamina_op &op_;
  std::unique_ptr<lamina_plan, void (*)(lamina_plan *)> plan_;
  Addresses addresses_;
  std::vector<lamina_tensor> tensors_;
  std::vector<std::vector<int64_t>> shapes_;
  std::vector<const lamina_tensor *> pointers_;
  lamina_need need_ = [] {
    lamina_need need{};
    need.struct_size = sizeof need;
    return need;
  }();
  lamina_call call_{};
};

// A plan alone; `plan` is destroyed by the caller.
inline Outcome create_plan(const Plugin &plugin, int device, lamina_plan *&plan, const char *op = "forward") {
  lamina_plan_desc desc{};
  desc.struct_size = sizeof desc, desc.device = {LAMINA_CUDA, device};
  ErrorCatcher catcher;
  return catcher.outcome(plugin.op(op)->plan_create(plugin.op(op), &desc, &plan, catcher.get()));
}

inline void require_status(const Outcome &outcome, lamina_status status, const std::string &words) {
  expect(outcome.status == status && outcome.message.find(words) != std::string::npos && outcome.misuse.empty(),
         std::string("expected ") + name_of_status(status) + " with '" + words + "', got " + describe(outcome) + " " + outcome.misuse);
}

// Every address in the parameters of these launches lies in a tensor or the workspace; returns the names of the pieces used.
inline std::set<std::string> check_addresses(const std::vector<fake_cuda::Launch> &launches, const Addresses &addresses) {
  std::set<std::string> used;
  const auto check = [&](const fake_cuda::Launch &launch, uint64_t address, uint64_t bytes) {
    const Addresses::Piece *piece = addresses.holding(address, bytes);
    expect(piece != nullptr, launch.kernel + " gets an address that is outside of every tensor: " + std::to_string(address));
    used.insert(piece->name);
  };
  for (const fake_cuda::Launch &launch : launches)
    for (const auto &bytes : launch.parameters)
      for (size_t at = 0; at + 8 <= bytes.size(); at += 8) {
        fake_cuda::TensorMap map;
        uint64_t word;
        std::memcpy(&word, bytes.data() + at, 8);
        if (at + sizeof map <= bytes.size()) {
          std::memcpy(&map, bytes.data() + at, sizeof map);
          if (map.mark == map.marked) {
            check(launch, map.address, map.bytes);
            at += sizeof map - 8;
            continue;
          }
        }
        // A word that ends in padding can be a flag or two before the rest of an address that lay there before.
        const bool flag = word % Addresses::align < 0x200 && addresses.holding(word / Addresses::align * Addresses::align, 1);
        if (addresses.here(word) && (!flag || addresses.holding(word, 1))) check(launch, word, 1);
      }
  return used;
}

}  // namespace lamina::conformance
