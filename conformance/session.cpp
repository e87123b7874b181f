#include "conformance/session.h"

#include <cstring>
#include <sstream>
#include <thread>

#include "manifest/error.h"

namespace lamina::conformance {

const char *name_of(Verdict verdict) {
  constexpr const char *names[] = {"pass", "fail", "unsupported", "not taken"};
  return names[static_cast<size_t>(verdict)];
}

void fail(const std::string &message) { throw Failure{Verdict::fail, message}; }

std::vector<lamina_attr> attributes_for(const lamina_op &op, const Case &one) {
  std::vector<lamina_attr> attributes;
  for (uint32_t i = 0; i < op.attr_count; ++i) {
    const lamina_attr &row = op.attrs[i];
    lamina_attr attribute{row.name, row.kind, 0, {}};
    const auto given = one.attributes.find(row.name);
    if (op.kind == LAMINA_PACK && std::string(row.name) == "dtype" && given == one.attributes.end()) {
      attribute.value.s = one.dtype.c_str();  // the packed bytes serve tensors of this dtype
    } else if (given == one.attributes.end()) {
      continue;
    } else if (row.kind == LAMINA_ATTR_STRING && std::holds_alternative<std::string>(given->second)) {
      attribute.value.s = std::get<std::string>(given->second).c_str();
    } else if (row.kind == LAMINA_ATTR_INT && std::holds_alternative<int64_t>(given->second)) {
      attribute.value.i = std::get<int64_t>(given->second);
    } else if (row.kind == LAMINA_ATTR_FLOAT && std::holds_alternative<double>(given->second)) {
      attribute.value.f = std::get<double>(given->second);
    } else {
      throw Error(ErrorKind::malformed, "case '" + one.why + "': attribute '" + row.name + "' is of another kind than the op's table says");
    }
    attributes.push_back(attribute);
  }
  return attributes;
}

Plan::Plan(const lamina_op &op, const Case &one, lamina_device device, const lamina_host *host, uint32_t flags) : op_(op) {
  const std::vector<lamina_attr> attributes = attributes_for(op, one);
  lamina_plan_desc desc{};
  desc.struct_size = sizeof desc, desc.flags = flags, desc.device = device, desc.host = host;
  desc.attrs = attributes.data(), desc.attr_count = static_cast<uint32_t>(attributes.size());
  ErrorCatcher error;
  created_ = error.outcome(op.plan_create(&op, &desc, &plan_, error.get()));
  if (created_.misuse.empty() && created_.ok() && !plan_) created_.misuse = "plan_create succeeded without a plan";
  if (created_.misuse.empty() && !created_.ok() && plan_) created_.misuse = "plan_create failed and left a plan";
  if (!created_.misuse.empty()) fail("plan_create: " + created_.misuse);
}

Plan::~Plan() {
  if (plan_) op_.plan_destroy(plan_);
}

Outcome Plan::need(const lamina_call &call, lamina_need &need) const {
  std::memset(&need, 0, sizeof need);
  need.struct_size = sizeof need;
  ErrorCatcher error;
  const Outcome outcome = error.outcome(op_.plan_need(plan_, &call, &need, error.get()));
  if (!outcome.misuse.empty()) fail("plan_need: " + outcome.misuse);
  return outcome;
}

Outcome Plan::run(const lamina_call &call) const {
  ErrorCatcher error;
  const Outcome outcome = error.outcome(op_.run(plan_, &call, error.get()));
  if (!outcome.misuse.empty()) fail("run: " + outcome.misuse);
  return outcome;
}

Outcome Plan::infer(const lamina_call &call, lamina_tensor *out) const {
  ErrorCatcher error;
  const Outcome outcome = error.outcome(op_.infer(plan_, &call, out, error.get()));
  if (!outcome.misuse.empty()) fail("infer: " + outcome.misuse);
  return outcome;
}

namespace {

// UNSUPPORTED is an honest answer, anything else a failure.
void require(const Outcome &outcome, const std::string &what) {
  if (outcome.ok()) return;
  if (outcome.status == LAMINA_UNSUPPORTED) throw Failure{Verdict::unsupported, outcome.message};
  fail(what + ": " + describe(outcome));
}

const lamina_op &op_of(const Plugin &plugin, const std::string &name) {
  const lamina_op *op = plugin.op(name);
  if (!op) throw Failure{Verdict::unsupported, plugin.path() + " has no op '" + name + "'"};  // what it lists is what it can
  return *op;
}

const lamina_op *op_of_kind(const Plugin &plugin, uint32_t kind) {
  for (uint32_t i = 0; i < plugin.library().op_count; ++i)
    if (plugin.library().ops[i]->kind == kind) return plugin.library().ops[i];
  return nullptr;
}

// The same question must get the same answer, whether the tensors have data or not.
void check_need(const Plan &plan, Placement &placement, lamina_need &need) {
  require(plan.need(placement.call(), need), "plan_need");
  lamina_need again;
  require(plan.need(placement.call(), again), "plan_need, asked again");
  const auto same = [&](const lamina_need &other) {
    return need.flags == other.flags && need.workspace_size == other.workspace_size && need.workspace_align == other.workspace_align &&
           need.packed_size == other.packed_size && (need.packed_format == nullptr) == (other.packed_format == nullptr) &&
           (!need.packed_format || std::string(need.packed_format) == other.packed_format);
  };
  if (!same(again)) fail("plan_need answers the same question in two ways");
  require(plan.need(placement.descriptor_call(), again), "plan_need without data pointers");
  if (!same(again)) fail("plan_need answers otherwise when data pointers are NULL");
  if (need.workspace_size && (need.workspace_align == 0 || (need.workspace_align & (need.workspace_align - 1))))
    fail("workspace_align is " + std::to_string(need.workspace_align) + ", not a power of two");
}

void check_infer(const Plan &plan, Placement &placement, const lamina_need &need) {
  const lamina_op &op = plan.op();
  std::vector<int64_t> room(op.arg_count * 8, -77);
  std::vector<lamina_tensor> out(op.arg_count);
  for (uint32_t i = 0; i < op.arg_count; ++i) {
    std::memset(&out[i], 0x5a, sizeof out[i]);
    out[i].shape = room.data() + 8 * i;
  }
  require(plan.infer(placement.descriptor_call(), out.data()), "infer");
  for (uint32_t i = 0; i < op.arg_count; ++i) {
    const lamina_arg &arg = op.args[i];
    const std::string name = std::string("infer: argument '") + arg.name + "': ";
    if (arg.role != LAMINA_OUTPUT && arg.role != LAMINA_SAVED && arg.role != LAMINA_PACKED) {
      lamina_tensor untouched;
      std::memset(&untouched, 0x5a, sizeof untouched);
      untouched.shape = room.data() + 8 * i;
      if (std::memcmp(&out[i], &untouched, sizeof untouched) != 0) fail(name + "written, but it is no output");
      continue;
    }
    if (out[i].strides) fail(name + "strides are not NULL");
    if (out[i].shape != room.data() + 8 * i) fail(name + "shape points elsewhere than the caller's room");
    std::vector<int64_t> expected;
    if (arg.role == LAMINA_PACKED) expected = {static_cast<int64_t>(need.packed_size)};
    else if (arg.role == LAMINA_SAVED && !placement.at(static_cast<int>(i))) expected = {0};  // absent: there was nothing to save
    else if (const Placed *placed = placement.at(static_cast<int>(i))) expected = placed->shape;
    else continue;
    if (std::vector<int64_t>(out[i].shape, out[i].shape + std::clamp(out[i].ndim, 0, 8)) != expected)
      fail(name + "shape differs from the table's");
    const Placed *placed = placement.at(static_cast<int>(i));
    if (placed && std::memcmp(&out[i].dtype, &placed->tensor.dtype, sizeof(lamina_dtype)) != 0)
      fail(name + "dtype differs from the call's");
  }
}

}  // namespace

void Ready::run() {
  require(plan->run(call), "run");
  device->synchronise();
  if (threads && threads->misuse()) fail(threads->misuse());
}

Session::Session(const std::string &build_path, const std::string &reference_path, const std::string &device)
    : build(build_path),
      contract(manifest::parse_contract(build.contract(), build_path + ": contract")),
      device_name(device),
      device_id(device_named(device)) {
  if (reference_path.empty()) return;
  reference = std::make_unique<Plugin>(reference_path);
  if (std::string(reference->library().name) != build.library().name)
    throw Error(ErrorKind::invalid_argument,
                reference_path + " is of layer '" + reference->library().name + "', " + build_path + " of '" + build.library().name + "'");
}

Device &Session::device() {
  if (!device_) device_ = open_device(device_name);
  return *device_;
}

std::unique_ptr<Buffer> Session::pack(const Plugin &plugin, const Case &one, const std::vector<Drawn> &drawn, int threads,
                                      unsigned char poison, std::string *format) {
  const lamina_op *op = op_of_kind(plugin, LAMINA_PACK);
  if (!op) throw Failure{Verdict::unsupported, "the build has no op of kind PACK"};
  std::vector<Drawn> weights;
  for (const Drawn &argument : drawn)
    if (argument_named(*op, argument.name) >= 0) weights.push_back(argument);
  HostThreads host(std::max(threads, 1));
  const Plan plan(*op, one, device_id, threads ? host.host() : nullptr);
  require(plan.created(), "plan_create of pack");
  Placement placement(*op, weights, one, device(), {});
  lamina_need need;
  check_need(plan, placement, need);
  check_infer(plan, placement, need);
  if (need.packed_size == 0 || !need.packed_format) fail("pack: plan_need tells no packed_size or packed_format");
  auto packed = device().allocate(need.packed_size, 64, Edge::back, "packed weights");
  const std::vector<unsigned char> first(need.packed_size, poison);
  packed->write(first.data());
  placement.set_packed(packed.get());
  auto workspace = device().allocate(need.workspace_size, std::max<uint64_t>(need.workspace_align, 1), Edge::back, "workspace of pack");
  lamina_call call = placement.call();
  call.workspace = workspace->data(), call.workspace_size = need.workspace_size;
  require(plan.run(call), "pack");
  device().synchronise();
  for (const std::string &damage : {placement.damage(), packed->damage(), workspace->damage()})
    if (!damage.empty()) fail("pack: " + damage);
  if (format) *format = need.packed_format;
  return packed;
}

std::unique_ptr<Buffer> Session::saved(const Plugin &plugin, const Case &one, const Plan &plan, Placement &placement, Edge edge) {
  const lamina_op &op = plan.op();
  int64_t size = -1;
  std::vector<int64_t> room(op.arg_count * 8);
  std::vector<lamina_tensor> out(op.arg_count);
  for (uint32_t i = 0; i < op.arg_count; ++i) out[i].shape = room.data() + 8 * i;
  for (uint32_t i = 0; i < op.arg_count; ++i) {
    if (op.args[i].role != LAMINA_SAVED) continue;
    require(plan.infer(placement.descriptor_call(), out.data()), "infer without saved");
    size = out[i].ndim == 1 ? out[i].shape[0] : -1;
    if (size < 0) fail("infer: 'saved' has " + std::to_string(out[i].ndim) + " dimensions and a first extent of " + std::to_string(size));
  }
  if (size <= 0) return nullptr;
  if (op.kind == LAMINA_FORWARD_TRAIN) {
    auto written = device().allocate(static_cast<size_t>(size), 64, edge, "saved");
    const std::vector<unsigned char> poison(static_cast<size_t>(size), 0xff);
    written->write(poison.data());
    placement.set_saved(written.get());
    return written;
  }
  const lamina_op *train = op_of_kind(plugin, LAMINA_FORWARD_TRAIN);
  if (!train) fail(std::string("op '") + op.name + "' reads saved bytes, and the build has no op of kind FORWARD_TRAIN to write them");
  Case before = one;
  before.op = train->name, before.packed = false, before.alias.clear();
  const auto first = prepare(plugin, before, 1, edge);
  if (!first->saved || first->saved->size() != static_cast<size_t>(size))
    fail("'" + before.op + "' saves " + std::to_string(first->saved ? first->saved->size() : 0) + " bytes, '" + op.name + "' expects " +
         std::to_string(size));
  first->run();
  for (const std::string &damage : {first->placement->damage(), first->saved->damage(), first->workspace->damage()})
    if (!damage.empty()) fail("'" + before.op + "' before it: " + damage);
  first->saved->forbid_writing();
  placement.set_saved(first->saved.get());
  return std::move(first->saved);
}

std::unique_ptr<Ready> Session::prepare(const Plugin &plugin, const Case &one, int threads, Edge edge) {
  const lamina_op &op = op_of(plugin, one.op);
  auto ready = std::make_unique<Ready>();
  ready->device = &device();
  ready->drawn = draw(op, one);
  if (std::string why; !takes_dtypes(op, one, why)) throw Failure{Verdict::not_taken, why};
  if (threads) ready->threads = std::make_unique<HostThreads>(threads);
  ready->plan = std::make_unique<Plan>(op, one, device_id, ready->threads ? ready->threads->host() : nullptr);
  require(ready->plan->created(), "plan_create");
  std::string format;
  if (one.packed) ready->packed = pack(plugin, one, ready->drawn, threads, 0xff, &format);
  ready->placement = std::make_unique<Placement>(op, ready->drawn, one, device(), PlacementOptions{false, false, one.packed, edge});
  if (ready->packed) ready->placement->set_packed(ready->packed.get()), ready->packed->forbid_writing();
  ready->saved = saved(plugin, one, *ready->plan, *ready->placement, edge);
  check_need(*ready->plan, *ready->placement, ready->need);
  check_infer(*ready->plan, *ready->placement, ready->need);
  if (one.packed && (!ready->need.packed_format || format != ready->need.packed_format))
    fail("the packed format of '" + one.op + "' differs from that of pack: " + format);
  if (ready->packed && ready->packed->size() != ready->need.packed_size)
    fail("pack wrote " + std::to_string(ready->packed->size()) + " bytes, '" + one.op + "' expects " +
         std::to_string(ready->need.packed_size));
  ready->workspace = device().allocate(ready->need.workspace_size, std::max<uint64_t>(ready->need.workspace_align, 1), edge, "workspace");
  ready->call = ready->placement->call();
  ready->call.workspace = ready->workspace->data(), ready->call.workspace_size = ready->need.workspace_size;
  return ready;
}

std::string truth_key(const Case &one) {
  std::ostringstream key;
  key << one.op << '|' << one.dtype << '|' << one.seed << '|';
  for (const auto &[name, extent] : one.dims) key << name << extent << ' ';
  for (const auto &[name, value] : one.attributes)
    if (name != "save" && name != "gradient_dtype") key << '|' << name << '=' << manifest::text_of(value);  // they don't change the truth
  for (const auto &[name, dtype] : one.dtypes) key << '|' << name << ':' << dtype;
  for (const std::string &name : one.given) key << '|' << name;
  for (const auto &[name, layout] : one.layout)
    for (const int dim : expanded_dims(layout)) key << '|' << name << "/expanded" << dim;
  for (const auto &[name, shared] : one.alias)
    for (const std::string &other : shared) key << '|' << name << '@' << other;
  for (const auto &[name, r] : one.data)
    key << '|' << name << ' ' << static_cast<int>(r.kind) << ' ' << r.mean << ' ' << r.deviation << ' ' << r.fan_in << ' ' << r.shift << ' '
        << r.keep << ' ' << r.poison_where << ' ' << r.poison;
  return key.str();
}

const std::map<std::string, std::vector<double>> &Session::truth(const Case &one) {
  if (!reference) throw Error(ErrorKind::invalid_argument, "no reference build is given to compare with");
  const std::string key = truth_key(one);
  if (const auto known = truths_.find(key); known != truths_.end()) return known->second;
  static const std::unique_ptr<Device> cpu = cpu_device();  // the reference runs on the CPU, whatever the build runs on
  const lamina_op &op = op_of(*reference, one.op);
  const std::vector<Drawn> drawn = draw(op_of(build, one.op), one);
  HostThreads host(static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  Case plain = one;  // in float64 throughout, and with nothing kept from another pass
  plain.attributes.erase("gradient_dtype"), plain.attributes.erase("save");
  const Plan plan(op, plain, cpu->id(), host.host());
  if (!plan.created().ok()) fail("reference: plan_create: " + describe(plan.created()));
  Placement placement(op, drawn, one, *cpu, {true, true, false, Edge::back});
  lamina_need need;
  const Outcome asked = plan.need(placement.call(), need);
  if (!asked.ok()) fail("reference: plan_need: " + describe(asked));
  auto workspace =
      cpu->allocate(need.workspace_size, std::max<uint64_t>(need.workspace_align, 1), Edge::back, "workspace of the reference");
  lamina_call call = placement.call();
  call.stream = nullptr, call.workspace = workspace->data(), call.workspace_size = need.workspace_size;
  const Outcome done = plan.run(call);
  if (!done.ok()) fail("reference: run: " + describe(done));
  std::map<std::string, std::vector<double>> outputs;
  for (const Drawn &argument : drawn)
    if (argument.role == LAMINA_OUTPUT || argument.role == LAMINA_INOUT)
      outputs[argument.name] = placement.values(*placement.find(argument.name));
  if (truths_.size() > 64) truths_.clear();
  return truths_[key] = std::move(outputs);
}

}  // namespace lamina::conformance
