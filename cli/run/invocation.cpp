#include "cli/run/invocation.h"

#include <cstring>

#include "manifest/convert.h"
#include "manifest/error.h"

namespace lamina::cli {
namespace {

using conformance::Edge;

struct Said {  // what a plug-in answered
  lamina_error error{};
  Said() { error.struct_size = sizeof error; }
  void check(lamina_status status, const std::string &step) const {
    if (status == LAMINA_OK) return;
    const ErrorKind kind = status == LAMINA_UNSUPPORTED                                         ? ErrorKind::unsupported
                           : status == LAMINA_INVALID_ARGUMENT || status == LAMINA_WRONG_DEVICE ? ErrorKind::invalid_argument
                                                                                                : ErrorKind::internal;
    throw Error(kind, step + ": " + error.message);
  }
};

// The attributes that this op's table lists, as the ABI wants them.  Strings point into `attributes`.
std::vector<lamina_attr> attributes_for(const lamina_op &op, const Attributes &attributes) {
  std::vector<lamina_attr> list;
  for (uint32_t i = 0; i < op.attr_count; ++i) {
    const auto found = attributes.find(op.attrs[i].name);
    if (found == attributes.end()) continue;
    lamina_attr attr = op.attrs[i];
    if (const auto *text = std::get_if<std::string>(&found->second)) attr.value.s = text->c_str();
    else if (const auto *real = std::get_if<double>(&found->second)) attr.value.f = *real;
    else attr.value.i = std::get<int64_t>(found->second);
    list.push_back(attr);
  }
  return list;
}

lamina_plan *make_plan(const lamina_op &op, lamina_device device, const Attributes &attributes) {
  const std::vector<lamina_attr> list = attributes_for(op, attributes);
  lamina_plan_desc desc{};
  desc.struct_size = sizeof desc, desc.device = device;
  desc.attrs = list.data(), desc.attr_count = static_cast<uint32_t>(list.size());
  lamina_plan *plan = nullptr;
  Said said;
  said.check(op.plan_create(&op, &desc, &plan, &said.error), std::string("creating a plan for ") + op.name);
  return plan;
}

uint64_t bytes_of(lamina_dtype dtype, const std::vector<int64_t> &shape) {
  uint64_t bytes = static_cast<uint64_t>(manifest::dtype_bytes(dtype));
  for (const int64_t extent : shape) bytes *= static_cast<uint64_t>(extent);
  return bytes;
}

}  // namespace

manifest::TensorView HostTensor::view() const { return {bytes.data(), dtype, shape, manifest::row_major_strides(shape)}; }

HostTensor copy_of(const manifest::TensorView &view) { return {view.dtype, view.shape, manifest::copy_contiguous(view)}; }

HostTensor to_float64(const manifest::TensorView &view) {
  const lamina_dtype wide = *manifest::dtype_named("float64");
  return {wide, view.shape, manifest::converted(view, wide)};
}

Invocation::Invocation(const conformance::Plugin &plugin, const std::string &op, conformance::Device &device, const Attributes &attributes,
                       const Tensors &tensors, bool pack)
    : plugin_(plugin),
      op_([&]() -> const lamina_op & {
        if (const lamina_op *found = plugin.op(op)) return *found;
        throw Error(ErrorKind::not_found, plugin.path() + " has no op '" + op + "'");
      }()),
      device_(device),
      slots_(op_.arg_count),
      table_(op_.arg_count, nullptr) {
  for (const auto &[name, tensor] : tensors) {
    const int argument = conformance::argument_named(op_, name);
    if (argument < 0) throw Error(ErrorKind::invalid_argument, std::string(op_.name) + " has no argument '" + name + "'");
    place(argument, tensor.dtype, tensor.shape, tensor.bytes.data());
  }
  plan_ = make_plan(op_, device_.id(), attributes);
  try {
    if (pack && plugin.op("pack") && conformance::argument_named(op_, "packed") >= 0) pack_weights(attributes);
    allocate_outputs();
  } catch (...) {
    op_.plan_destroy(plan_);
    throw;
  }
}

Invocation::~Invocation() { op_.plan_destroy(plan_); }

void Invocation::place(int argument, lamina_dtype dtype, const std::vector<int64_t> &shape, const unsigned char *bytes) {
  Slot &slot = slots_[static_cast<size_t>(argument)];
  slot.buffer = device_.allocate(bytes_of(dtype, shape), 64, Edge::front, op_.args[argument].name);
  if (bytes && slot.buffer->size()) slot.buffer->write(bytes);
  slot.shape = shape;
  slot.tensor = {slot.buffer->data(), device_.id(), static_cast<int32_t>(shape.size()), dtype, slot.shape.data(), nullptr, 0};
  table_[static_cast<size_t>(argument)] = &slot.tensor;
}

lamina_call Invocation::call() {
  lamina_call call{};
  call.struct_size = sizeof call;
  call.tensors = table_.data(), call.tensor_count = op_.arg_count;
  call.stream = device_.stream(0);
  if (workspace_) call.workspace = workspace_->data(), call.workspace_size = workspace_->size();
  return call;
}

// Runs op "pack" on the parameters that were placed.  The dtype that the bytes serve is that of the first input.
void Invocation::pack_weights(const Attributes &attributes) {
  const lamina_op &pack = *plugin_.op("pack");
  Attributes all = attributes;
  if (conformance::attribute_named(pack, "dtype") >= 0 && table_[0]) all["dtype"] = manifest::dtype_name(table_[0]->dtype);
  const std::unique_ptr<lamina_plan, void (*)(lamina_plan *)> plan(make_plan(pack, device_.id(), all), pack.plan_destroy);
  std::vector<const lamina_tensor *> table(pack.arg_count, nullptr);
  for (uint32_t i = 0; i < pack.arg_count; ++i)
    if (const int here = conformance::argument_named(op_, pack.args[i].name); here >= 0) table[i] = table_[static_cast<size_t>(here)];
  lamina_call call{};
  call.struct_size = sizeof call, call.tensors = table.data(), call.tensor_count = pack.arg_count, call.stream = device_.stream(0);
  lamina_need need{};
  need.struct_size = sizeof need;
  Said said;
  said.check(pack.plan_need(plan.get(), &call, &need, &said.error), "asking what pack needs");
  packed_ = device_.allocate(need.packed_size, 64, Edge::front, "packed weights");
  const std::unique_ptr<conformance::Buffer> workspace =
      device_.allocate(need.workspace_size, need.workspace_align, Edge::front, "workspace of pack");
  Slot &slot = slots_[static_cast<size_t>(conformance::argument_named(op_, "packed"))];
  slot.shape = {static_cast<int64_t>(need.packed_size)};
  slot.tensor = {packed_->data(), device_.id(), 1, *manifest::dtype_named("uint8"), slot.shape.data(), nullptr, 0};
  table[static_cast<size_t>(conformance::argument_named(pack, "packed"))] = &slot.tensor;
  call.workspace = workspace->data(), call.workspace_size = workspace->size();
  said.check(pack.run(plan.get(), &call, &said.error), "packing the weights");
  device_.synchronise();
  table_[static_cast<size_t>(conformance::argument_named(op_, "packed"))] = &slot.tensor;
}

void Invocation::allocate_outputs() {
  std::vector<lamina_tensor> inferred(op_.arg_count);
  std::vector<std::vector<int64_t>> shapes(op_.arg_count, std::vector<int64_t>(8));
  for (uint32_t i = 0; i < op_.arg_count; ++i) inferred[i].shape = shapes[i].data();
  lamina_call request = call();
  Said said;
  said.check(op_.infer(plan_, &request, inferred.data(), &said.error), op_.name);
  for (uint32_t i = 0; i < op_.arg_count; ++i) {
    if (op_.args[i].role == LAMINA_PACKED || !conformance::is_written(op_, op_.args[i])) continue;
    place(static_cast<int>(i), inferred[i].dtype, {inferred[i].shape, inferred[i].shape + inferred[i].ndim}, nullptr);
  }
  need_.struct_size = sizeof need_;
  request = call();
  said.check(op_.plan_need(plan_, &request, &need_, &said.error), op_.name);
  workspace_ = device_.allocate(need_.workspace_size, need_.workspace_align, Edge::front, "workspace");
}

void Invocation::run() {
  const lamina_call request = call();
  Said said;
  said.check(op_.run(plan_, &request, &said.error), op_.name);
  device_.synchronise();
}

Tensors Invocation::outputs() const {
  Tensors found;
  for (uint32_t i = 0; i < op_.arg_count; ++i) {
    const Slot &slot = slots_[i];
    if (op_.args[i].role == LAMINA_PACKED || !conformance::is_written(op_, op_.args[i])) continue;
    HostTensor tensor{slot.tensor.dtype, slot.shape, std::vector<unsigned char>(slot.buffer->size())};
    if (slot.buffer->size()) slot.buffer->read(tensor.bytes.data());
    found.emplace(op_.args[i].name, std::move(tensor));
  }
  return found;
}

std::map<std::string, int64_t> Invocation::dims() const {
  std::map<std::string, int64_t> dims;
  for (uint32_t i = 0; i < op_.arg_count; ++i) {
    if (!table_[i]) continue;
    const std::vector<std::string> words = conformance::shape_words(op_.args[i]);
    for (size_t dim = 0; dim < words.size() && dim < static_cast<size_t>(table_[i]->ndim); ++dim) dims[words[dim]] = table_[i]->shape[dim];
  }
  return dims;
}

}  // namespace lamina::cli
