// C++17 over lamina_abi.h and lamina_hub.h: handles that close themselves, failures that are exceptions.  Header only.
//
//   lamina::Hub hub;
//   lamina::Bundle bundle = hub.fetch("org/triangle-multiplication@v1");
//   lamina::Library library = bundle.load();                             // or lamina::Library::open("build.so"), without liblamina
//   lamina::Plan plan(library.op("forward"), {LAMINA_CPU, 0}, {lamina::attribute("direction", "incoming")});
//   lamina::Call call(plan);
//   call.set("pair", pair).set("out", out);                              // lamina::Tensor: a pointer with a shape
//   call.run();
//
// Threads and ownership are those of the C headers: a Plan may be used by many threads at once, a Call by one.
#ifndef LAMINA_HPP
#define LAMINA_HPP

#include <dlfcn.h>

#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lamina_abi.h"
#include "lamina_hub.h"

namespace lamina {

// A plug-in's or liblamina's no, with its sentence.
class Failure : public std::runtime_error {
 public:
  Failure(int32_t status_code, const std::string &sentence, int32_t argument = -1, int32_t dimension = -1)
      : std::runtime_error(sentence), status(status_code), arg(argument), dim(dimension) {}
  int32_t status;    // lamina_status or lamina_hub_status
  int32_t arg, dim;  // of the op's table, or -1
};

namespace detail {
inline lamina_error abi_error() {
  lamina_error error{};
  error.struct_size = sizeof error;
  return error;
}
inline void check(lamina_status status, const lamina_error &error) {
  if (status != LAMINA_OK) throw Failure(status, error.message, error.arg, error.dim);
}
template <class Function>
void hub(Function &&function) {
  lamina_hub_error error{};
  error.struct_size = sizeof error;
  if (const lamina_hub_status status = function(&error)) throw Failure(status, error.message);
}
struct Closer {
  void operator()(lamina_hub_client *handle) const { lamina_hub_close(handle); }
  void operator()(lamina_hub_bundle *handle) const { lamina_hub_bundle_close(handle); }
  void operator()(lamina_hub_binding *handle) const { lamina_hub_binding_close(handle); }
};
}  // namespace detail

// ---- tensors and attributes ----------------------------------------------------------------------------------------------

template <class T>
struct dtype_of;  // specialise it for your own half types
template <>
struct dtype_of<double> {
  static constexpr lamina_dtype value{LAMINA_CODE_FLOAT, 64, 1};
};
template <>
struct dtype_of<float> {
  static constexpr lamina_dtype value{LAMINA_CODE_FLOAT, 32, 1};
};
template <>
struct dtype_of<uint8_t> {
  static constexpr lamina_dtype value{LAMINA_CODE_UINT, 8, 1};
};
template <>
struct dtype_of<bool> {
  static constexpr lamina_dtype value{LAMINA_CODE_BOOL, 8, 1};
};

// A shape over memory that stays yours.  Strides are in elements; none: row-major.
class Tensor {
 public:
  Tensor(void *data, lamina_dtype dtype, std::vector<int64_t> shape, std::vector<int64_t> strides = {},
         lamina_device device = {LAMINA_CPU, 0})
      : data_(data), dtype_(dtype), device_(device), shape_(std::move(shape)), strides_(std::move(strides)) {
    if (!strides_.empty() && strides_.size() != shape_.size())
      throw Failure(LAMINA_INVALID_ARGUMENT,
                    "a tensor of " + std::to_string(shape_.size()) + " dimensions has " + std::to_string(strides_.size()) + " strides");
  }
  template <class T>
  Tensor(T *data, std::vector<int64_t> shape, std::vector<int64_t> strides = {}, lamina_device device = {LAMINA_CPU, 0})
      : Tensor(const_cast<std::remove_const_t<T> *>(data), dtype_of<std::remove_const_t<T>>::value, std::move(shape), std::move(strides),
               device) {}
  // Points into this object: keep it alive and unmoved.
  lamina_tensor abi() const {
    return {data_, device_, static_cast<int32_t>(shape_.size()), dtype_, shape_.data(), strides_.empty() ? nullptr : strides_.data(), 0};
  }

 private:
  void *data_;
  lamina_dtype dtype_;
  lamina_device device_;
  std::vector<int64_t> shape_, strides_;
};

// Names and strings stay yours until the plan is made.
inline lamina_attr attribute(const char *name, const char *value) {
  lamina_attr made{name, LAMINA_ATTR_STRING, 0, {}};
  made.value.s = value;
  return made;
}
inline lamina_attr attribute(const char *name, double value) {
  lamina_attr made{name, LAMINA_ATTR_FLOAT, 0, {}};
  made.value.f = value;
  return made;
}
inline lamina_attr attribute(const char *name, int64_t value) {
  lamina_attr made{name, LAMINA_ATTR_INT, 0, {}};
  made.value.i = value;
  return made;
}

// ---- library, plan, call -------------------------------------------------------------------------------------------------

class Library {
 public:
  explicit Library(const lamina_library &library) : library_(&library) {}
  // A build's file.  It stays open for the life of the process, as plug-ins do.
  static Library open(const std::string &path) {
    void *file = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!file) throw Failure(LAMINA_UNSUPPORTED, dlerror());
    const auto entry = reinterpret_cast<lamina_library_v1_function>(dlsym(file, LAMINA_LIBRARY_SYMBOL));
    if (!entry) throw Failure(LAMINA_UNSUPPORTED, path + " is no plug-in of ABI 1");
    return Library(*entry());
  }
  const lamina_library &operator*() const { return *library_; }
  const lamina_library *operator->() const { return library_; }
  const lamina_op &op(std::string_view name) const {
    for (uint32_t i = 0; i < library_->op_count; ++i)
      if (name == library_->ops[i]->name) return *library_->ops[i];
    throw Failure(LAMINA_UNSUPPORTED, std::string(library_->name) + " has no op '" + std::string(name) + "'");
  }

 private:
  const lamina_library *library_;
};

class Plan {
 public:
  explicit Plan(const lamina_op &op, lamina_device device = {LAMINA_CPU, 0}, const std::vector<lamina_attr> &attributes = {})
      : op_(&op), plan_(nullptr, op.plan_destroy) {
    lamina_plan_desc desc{};
    desc.struct_size = sizeof desc, desc.device = device;
    desc.attrs = attributes.data(), desc.attr_count = static_cast<uint32_t>(attributes.size());
    lamina_plan *made = nullptr;
    lamina_error error = detail::abi_error();
    detail::check(op.plan_create(&op, &desc, &made, &error), error);
    plan_.reset(made);
  }
  const lamina_op &op() const { return *op_; }
  const lamina_plan *get() const { return plan_.get(); }

 private:
  const lamina_op *op_;
  std::unique_ptr<lamina_plan, void (*)(lamina_plan *)> plan_;
};

class Binding;

// The arguments of one run.  The plan and the tensors' memory must live until run() returns (on a GPU: until the stream is done).
class Call {
 public:
  explicit Call(const Plan &plan) : plan_(plan), tensors_(plan.op().arg_count), table_(plan.op().arg_count, nullptr) {}
  Call(const Call &) = delete;
  Call &operator=(const Call &) = delete;

  Call &set(std::string_view name, Tensor tensor) {
    const uint32_t at = index(name);
    tensors_[at] = std::make_unique<Slot>(std::move(tensor));
    table_[at] = &tensors_[at]->abi;
    return *this;
  }
  Call &set(const Binding &binding);  // every parameter of a checkpoint

  lamina_need need() const {
    lamina_need need{};
    need.struct_size = sizeof need;
    const lamina_call call = this->call(nullptr, nullptr, 0);
    lamina_error error = detail::abi_error();
    detail::check(plan_.op().plan_need(plan_.get(), &call, &need, &error), error);
    return need;
  }
  // On the caller's stream with the caller's workspace, as need() tells.
  void run(void *stream, void *workspace, uint64_t size) const {
    const lamina_call call = this->call(stream, workspace, size);
    lamina_error error = detail::abi_error();
    detail::check(plan_.op().run(plan_.get(), &call, &error), error);
  }
  // On a CPU: with a workspace of this object's own, kept for the next run.
  void run() {
    const lamina_need asked = need();
    const uint64_t align = asked.workspace_align ? asked.workspace_align : 1;
    if (workspace_.size() < asked.workspace_size + align) workspace_.resize(asked.workspace_size + align);
    const uint64_t skip = (align - reinterpret_cast<uintptr_t>(workspace_.data()) % align) % align;
    run(nullptr, workspace_.data() + skip, asked.workspace_size);
  }

 private:
  struct Slot {
    explicit Slot(Tensor given) : tensor(std::move(given)), abi(tensor.abi()) {}
    Tensor tensor;
    lamina_tensor abi;
  };
  uint32_t index(std::string_view name) const {
    for (uint32_t i = 0; i < plan_.op().arg_count; ++i)
      if (name == plan_.op().args[i].name) return i;
    throw Failure(LAMINA_INVALID_ARGUMENT, std::string(plan_.op().name) + " has no argument '" + std::string(name) + "'");
  }
  lamina_call call(void *stream, void *workspace, uint64_t size) const {
    lamina_call call{};
    call.struct_size = sizeof call, call.tensor_count = plan_.op().arg_count, call.tensors = table_.data();
    call.stream = stream, call.workspace = workspace, call.workspace_size = size;
    return call;
  }
  const Plan &plan_;
  std::vector<std::unique_ptr<Slot>> tensors_;
  std::vector<const lamina_tensor *> table_;
  std::vector<unsigned char> workspace_;
};

// ---- hub: these need liblamina -------------------------------------------------------------------------------------------

// A checkpoint's tensors by argument name; they live as long as this.
class Binding {
 public:
  explicit Binding(lamina_hub_binding *handle) : handle_(handle) {}
  const lamina_hub_binding *get() const { return handle_.get(); }
  lamina_hub_bound info() const {
    lamina_hub_bound bound{};
    bound.struct_size = sizeof bound;
    detail::hub([&](lamina_hub_error *error) { return lamina_hub_binding_info(get(), &bound, error); });
    return bound;
  }
  std::vector<lamina_attr> attributes(const lamina_op &op) const {
    std::vector<lamina_attr> known(op.attr_count);
    known.resize(lamina_hub_attributes(get(), &op, known.data()));
    return known;
  }

 private:
  std::unique_ptr<lamina_hub_binding, detail::Closer> handle_;
};

inline Call &Call::set(const Binding &binding) {
  lamina_hub_place(binding.get(), &plan_.op(), table_.data());
  return *this;
}

class Bundle {
 public:
  explicit Bundle(lamina_hub_bundle *handle) : handle_(handle) {}
  lamina_hub_info info() const {
    lamina_hub_info info{};
    info.struct_size = sizeof info;
    detail::hub([&](lamina_hub_error *error) { return lamina_hub_bundle_info(handle_.get(), &info, error); });
    return info;
  }
  Library load() const {
    const lamina_library *library = nullptr;
    detail::hub([&](lamina_hub_error *error) { return lamina_hub_load(handle_.get(), &library, error); });
    return Library(*library);
  }
  Binding bind(const std::string &file, const std::string &host, const std::string &prefix, const std::string &host_class = "") const {
    lamina_hub_checkpoint checkpoint{};
    checkpoint.struct_size = sizeof checkpoint;
    checkpoint.file = file.c_str(), checkpoint.host = host.c_str(), checkpoint.prefix = prefix.c_str();
    checkpoint.host_class = host_class.c_str();
    lamina_hub_binding *made = nullptr;
    detail::hub([&](lamina_hub_error *error) { return lamina_hub_bind(handle_.get(), &checkpoint, &made, error); });
    return Binding(made);
  }

 private:
  std::unique_ptr<lamina_hub_bundle, detail::Closer> handle_;
};

class Hub {
 public:
  Hub() : Hub(lamina_hub_options{}) {}
  explicit Hub(lamina_hub_options options) {
    options.struct_size = sizeof options;
    lamina_hub_client *made = nullptr;
    detail::hub([&](lamina_hub_error *error) { return lamina_hub_open(&options, &made, error); });
    handle_.reset(made);
  }
  Bundle resolve(const std::string &name) const { return get(lamina_hub_resolve, name); }
  Bundle fetch(const std::string &name) const { return get(lamina_hub_fetch, name); }
  Bundle open_folder(const std::string &folder) const { return get(lamina_hub_open_folder, folder); }
  Bundle open_build(const std::string &file) const { return get(lamina_hub_open_build, file); }

 private:
  template <class Function>
  Bundle get(Function *function, const std::string &name) const {
    lamina_hub_bundle *made = nullptr;
    detail::hub([&](lamina_hub_error *error) { return function(handle_.get(), name.c_str(), &made, error); });
    return Bundle(made);
  }
  std::unique_ptr<lamina_hub_client, detail::Closer> handle_;
};

}  // namespace lamina
#endif
