// Everything around the tensors: structs older and newer than the plug-in, NULL where something is needed, flags, attributes,
// workspace.  Structs lie against a page that can't be read, so reading past struct_size is a crash.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>

#include "conformance/draft.h"

namespace lamina::conformance {
namespace {

// A caller's struct of any size, flush against the page behind it.
class Struct {
 public:
  template <class T>
  Struct(const T &full, size_t size)
      : buffer_(cpu_device()->allocate((size + 7) & ~size_t{7}, 8, Edge::back, "a struct of the caller")), size_(size) {
    std::vector<unsigned char> bytes(buffer_->size());
    std::memcpy(bytes.data(), &full, std::min(size, sizeof full));
    if (size >= sizeof(uint32_t)) {
      const auto told = static_cast<uint32_t>(size);
      std::memcpy(bytes.data(), &told, sizeof told);
    }
    buffer_->write(bytes.data());
  }
  template <class T>
  T *as() const {
    return static_cast<T *>(buffer_->data());
  }
  void set(size_t at, unsigned char value) { static_cast<unsigned char *>(buffer_->data())[at] = value; }
  unsigned char get(size_t at) const { return static_cast<const unsigned char *>(buffer_->data())[at]; }
  std::string damage() const { return buffer_->damage(); }

 private:
  std::unique_ptr<Buffer> buffer_;
  size_t size_;
};

void require_status(lamina_status status, lamina_status wanted, const std::string &what) {
  if (status != wanted) fail(what + ": " + name_of_status(status) + ", expected " + name_of_status(wanted));
}

struct Subject {
  Session &session;
  const lamina_op &op;
  const Case &base;
};

lamina_plan_desc plain_desc(const Subject &subject, const std::vector<lamina_attr> &attributes) {
  lamina_plan_desc desc{};
  desc.struct_size = sizeof desc, desc.device = subject.session.device_id;
  desc.attrs = attributes.data(), desc.attr_count = static_cast<uint32_t>(attributes.size());
  return desc;
}

Outcome create(const Subject &subject, const lamina_plan_desc *desc) {
  lamina_plan *plan = reinterpret_cast<lamina_plan *>(8);  // must become NULL on failure
  ErrorCatcher error;
  const Outcome outcome = error.outcome(subject.op.plan_create(&subject.op, desc, &plan, error.get()));
  if (!outcome.misuse.empty()) fail("plan_create: " + outcome.misuse);
  if (!outcome.ok() && plan) fail("plan_create failed and left *plan as it was; it must be NULL");
  if (outcome.ok()) subject.op.plan_destroy(plan);
  return outcome;
}

void require_created(const Subject &subject, const lamina_plan_desc &desc, lamina_status wanted, const std::string &what) {
  const Outcome outcome = create(subject, &desc);
  if (outcome.status != wanted) fail(what + ": plan_create says " + describe(outcome) + "; expected " + name_of_status(wanted));
}

void check_nulls(const Subject &subject) {
  const lamina_op &op = subject.op;
  const auto stage = set_stage(subject.session, op, subject.base, false);
  const auto attributes = attributes_for(op, subject.base);
  const lamina_plan_desc desc = plain_desc(subject, attributes);
  lamina_plan *plan = nullptr;
  lamina_need need{};
  need.struct_size = sizeof need;
  std::vector<lamina_tensor> out(op.arg_count);
  const lamina_plan *valid = stage->plan->get();
  require_status(op.plan_create(nullptr, &desc, &plan, nullptr), LAMINA_INVALID_ARGUMENT, "plan_create without op");
  require_status(op.plan_create(&op, nullptr, &plan, nullptr), LAMINA_INVALID_ARGUMENT, "plan_create without desc");
  require_status(op.plan_create(&op, &desc, nullptr, nullptr), LAMINA_INVALID_ARGUMENT, "plan_create without a place for the plan");
  require_status(op.plan_need(nullptr, &stage->call, &need, nullptr), LAMINA_INVALID_ARGUMENT, "plan_need without plan");
  require_status(op.plan_need(valid, nullptr, &need, nullptr), LAMINA_INVALID_ARGUMENT, "plan_need without call");
  require_status(op.plan_need(valid, &stage->call, nullptr, nullptr), LAMINA_INVALID_ARGUMENT, "plan_need without need");
  require_status(op.run(nullptr, &stage->call, nullptr), LAMINA_INVALID_ARGUMENT, "run without plan");
  require_status(op.run(valid, nullptr, nullptr), LAMINA_INVALID_ARGUMENT, "run without call");
  require_status(op.infer(nullptr, &stage->call, out.data(), nullptr), LAMINA_INVALID_ARGUMENT, "infer without plan");
  require_status(op.infer(valid, nullptr, out.data(), nullptr), LAMINA_INVALID_ARGUMENT, "infer without call");
  require_status(op.infer(valid, &stage->call, nullptr, nullptr), LAMINA_INVALID_ARGUMENT, "infer without out");
  require_status(op.infer(valid, &stage->call, out.data(), nullptr), LAMINA_INVALID_ARGUMENT, "infer without room for shapes");
  op.plan_destroy(nullptr);
  require_status(op.run(valid, &stage->call, nullptr), LAMINA_OK, "a valid run without an error struct");
  subject.session.device().synchronise();
}

void check_error_sizes(const Subject &subject) {
  for (const size_t size : {size_t{0}, size_t{4}, size_t{8}, size_t{12}, size_t{16}, size_t{17}, size_t{20}, size_t{64},
                            sizeof(lamina_error), sizeof(lamina_error) + 64}) {
    lamina_error full{};
    std::memset(static_cast<void *>(&full), 0x5a, sizeof full);
    const Struct error(full, std::max<size_t>(size, 4));
    const auto told = static_cast<uint32_t>(size);
    std::memcpy(error.as<void>(), &told, sizeof told);
    require_status(subject.op.run(nullptr, nullptr, error.as<lamina_error>()), LAMINA_INVALID_ARGUMENT, "run without plan");
    for (size_t at = std::max<size_t>(size, 4); at < ((std::max<size_t>(size, 4) + 7) & ~size_t{7}) && at < sizeof full; ++at)
      if (error.get(at) != 0) fail("wrote byte " + std::to_string(at) + " of a lamina_error of " + std::to_string(size) + " bytes");
    if (size > offsetof(lamina_error, message)) {
      const char *message = error.as<char>() + offsetof(lamina_error, message);
      const size_t room = std::min(size, sizeof full) - offsetof(lamina_error, message);
      if (strnlen(message, room) == room) fail("the message of a lamina_error of " + std::to_string(size) + " bytes is not NUL-terminated");
    }
  }
}

void check_call_sizes(const Subject &subject) {
  const auto stage = set_stage(subject.session, subject.op, subject.base, false);
  const auto ask = [&](const Struct &call, lamina_status wanted, const std::string &what) {
    require_refusal(stage->plan->run(*call.as<lamina_call>()), {wanted, -2, -2}, what);
  };
  const lamina_status without_workspace = stage->need.workspace_size ? LAMINA_WORKSPACE : LAMINA_OK;
  ask(Struct(stage->call, 4), LAMINA_INVALID_ARGUMENT, "a lamina_call of 4 bytes");
  const size_t before_stream = offsetof(lamina_call, stream), before_workspace = offsetof(lamina_call, workspace);
  if (subject.session.device_id.type == LAMINA_CPU)
    ask(Struct(stage->call, before_stream), without_workspace, "a lamina_call that ends before stream");
  ask(Struct(stage->call, before_workspace), without_workspace, "a lamina_call that ends before workspace");
  ask(Struct(stage->call, offsetof(lamina_call, tensors)), LAMINA_INVALID_ARGUMENT, "a lamina_call that ends before tensors");
  Struct none(stage->call, sizeof(lamina_call));
  none.as<lamina_call>()->struct_size = 0;
  ask(none, LAMINA_INVALID_ARGUMENT, "a lamina_call of struct_size 0");
  Struct longer(stage->call, sizeof(lamina_call) + 40);
  ask(longer, LAMINA_OK, "a longer lamina_call with a zero tail");
  subject.session.device().synchronise();
  longer.set(sizeof(lamina_call) + 39, 1);
  ask(longer, LAMINA_UNSUPPORTED, "a longer lamina_call with something in its tail");
}

void check_call_members(const Subject &subject) {
  const auto stage = set_stage(subject.session, subject.op, subject.base, false);
  const auto ask = [&](const std::function<void(Draft &)> &bend, const Wanted &wanted) {
    Draft draft(stage->call, subject.op);
    bend(draft);
    expect_refusal(subject.session, *stage, draft, wanted);
  };
  const Wanted invalid{LAMINA_INVALID_ARGUMENT, -1, -2}, workspace{LAMINA_WORKSPACE, -1, -1};
  ask([&](Draft &draft) { draft.call.tensor_count = subject.op.arg_count + 1; }, invalid);
  ask([](Draft &draft) { draft.call.tensor_count = UINT32_MAX; }, invalid);
  ask([](Draft &draft) { draft.call.tensors = nullptr; }, invalid);
  if (stage->need.workspace_size == 0) return;
  ask([](Draft &draft) { draft.call.workspace = nullptr; }, workspace);
  ask([](Draft &draft) { draft.call.workspace_size = 0; }, workspace);
  ask([](Draft &draft) { draft.call.workspace_size -= 1; }, workspace);
  if (stage->need.workspace_align > 1) {
    auto larger = subject.session.device().allocate(stage->need.workspace_size + stage->need.workspace_align, stage->need.workspace_align,
                                                    Edge::front, "workspace");
    ask([&](Draft &draft) { draft.call.workspace = static_cast<char *>(larger->data()) + stage->need.workspace_align / 2; }, workspace);
  }
}

void check_need_sizes(const Subject &subject) {
  const auto stage = set_stage(subject.session, subject.op, subject.base, false);
  const auto ask = [&](const Struct &need, lamina_status wanted, const std::string &what) {
    ErrorCatcher error;
    const Outcome outcome = error.outcome(subject.op.plan_need(stage->plan->get(), &stage->call, need.as<lamina_need>(), error.get()));
    if (!outcome.misuse.empty()) fail(what + ": " + outcome.misuse);
    require_refusal(outcome, {wanted, -2, -2}, what);
  };
  lamina_need full{};
  const Struct shorter(full, offsetof(lamina_need, packed_size));
  ask(shorter, LAMINA_OK, "a lamina_need that ends before packed_size");
  if (shorter.as<lamina_need>()->workspace_size != stage->need.workspace_size) fail("a shorter lamina_need gets another workspace_size");
  ask(Struct(full, 4), LAMINA_INVALID_ARGUMENT, "a lamina_need of 4 bytes");
  Struct none(full, sizeof full);
  none.as<lamina_need>()->struct_size = 0;
  ask(none, LAMINA_INVALID_ARGUMENT, "a lamina_need of struct_size 0");
  const Struct longer(full, sizeof full + 40);
  ask(longer, LAMINA_OK, "a longer lamina_need");
  if (longer.as<lamina_need>()->workspace_size != stage->need.workspace_size) fail("a longer lamina_need gets another workspace_size");
  if (longer.as<lamina_need>()->struct_size != sizeof full + 40) fail("plan_need changed struct_size");
  for (size_t at = sizeof full; at < sizeof full + 40; ++at)
    if (longer.get(at) != 0) fail("plan_need wrote members of lamina_need that it doesn't know");
}

void check_desc_sizes(const Subject &subject) {
  const auto attributes = attributes_for(subject.op, subject.base);
  const lamina_plan_desc desc = plain_desc(subject, attributes);
  const auto ask = [&](const Struct &given, lamina_status wanted, const std::string &what) {
    const Outcome outcome = create(subject, given.as<lamina_plan_desc>());
    if (outcome.status != wanted) fail(what + ": " + describe(outcome) + "; expected " + name_of_status(wanted));
  };
  ask(Struct(desc, offsetof(lamina_plan_desc, host)), LAMINA_OK, "a lamina_plan_desc that ends before host");
  ask(Struct(desc, offsetof(lamina_plan_desc, tuning)), LAMINA_OK, "a lamina_plan_desc that ends before tuning");
  ask(Struct(desc, 4), LAMINA_INVALID_ARGUMENT, "a lamina_plan_desc of 4 bytes");
  Struct none(desc, sizeof desc);
  none.as<lamina_plan_desc>()->struct_size = 0;
  ask(none, LAMINA_INVALID_ARGUMENT, "a lamina_plan_desc of struct_size 0");
  Struct longer(desc, sizeof desc + 24);
  ask(longer, LAMINA_OK, "a longer lamina_plan_desc with a zero tail");
  longer.set(sizeof desc + 8, 1);
  ask(longer, LAMINA_UNSUPPORTED, "a longer lamina_plan_desc with something in its tail");

  // The host's services grow by the same rule.
  HostThreads threads(1);
  lamina_plan_desc hosted = desc;
  const auto with_host = [&](const Struct &host, lamina_status wanted, const std::string &what) {
    hosted.host = host.as<lamina_host>();
    require_created(subject, hosted, wanted, what);
  };
  with_host(Struct(*threads.host(), offsetof(lamina_host, log)), LAMINA_OK, "a lamina_host that ends before log");
  with_host(Struct(*threads.host(), offsetof(lamina_host, range)), LAMINA_OK, "a lamina_host that ends before range");
  Struct long_host(*threads.host(), sizeof(lamina_host) + 16);
  with_host(long_host, LAMINA_OK, "a longer lamina_host with a zero tail");
  long_host.set(sizeof(lamina_host), 1);
  with_host(long_host, LAMINA_UNSUPPORTED, "a longer lamina_host with something in its tail");
}

void check_desc_members(const Subject &subject) {
  const auto attributes = attributes_for(subject.op, subject.base);
  const lamina_plan_desc desc = plain_desc(subject, attributes);
  const auto ask = [&](const std::function<void(lamina_plan_desc &)> &bend, lamina_status wanted, const std::string &what) {
    lamina_plan_desc bent = desc;
    bend(bent);
    require_created(subject, bent, wanted, what);
  };
  for (int bit = 1; bit < 32; ++bit)  // bit 0 is LAMINA_DETERMINISTIC
    ask([bit](lamina_plan_desc &bent) { bent.flags = 1u << bit; }, LAMINA_UNSUPPORTED, "plan flag bit " + std::to_string(bit));
  ask([](lamina_plan_desc &bent) { bent.reserved = 1; }, LAMINA_UNSUPPORTED, "a reserved word that is not zero");
  ask([](lamina_plan_desc &bent) { bent.attrs = nullptr, bent.attr_count = 1; }, LAMINA_INVALID_ARGUMENT, "attr_count 1 without attrs");
  ask([](lamina_plan_desc &bent) { bent.device.type = 77; }, LAMINA_WRONG_DEVICE, "a device that doesn't exist");
  if (subject.session.device_id.type == LAMINA_CPU)
    ask([](lamina_plan_desc &bent) { bent.device = {LAMINA_CUDA, 0}; }, LAMINA_WRONG_DEVICE, "a CUDA device for a CPU build");
  else ask([](lamina_plan_desc &bent) { bent.device = {LAMINA_CPU, 0}; }, LAMINA_WRONG_DEVICE, "a CPU for a GPU build");
  if (!subject.session.build.library().extension || !subject.session.build.library().extension("lamina.tuning/1"))
    ask([&](lamina_plan_desc &bent) { bent.tuning = &desc, bent.tuning_size = 8; }, LAMINA_UNSUPPORTED, "a tuning blob");
  const auto extension = subject.session.build.library().extension;
  if (extension && extension("lamina.conformance-asks-for-what-nobody-has/1"))
    fail("extension() returns something for an id that nobody has");
}

// One attribute in place of the base's own of that name.
void require_attribute(const Subject &subject, const lamina_attr &attribute, lamina_status wanted, const std::string &what) {
  std::vector<lamina_attr> attributes = attributes_for(subject.op, subject.base);
  std::erase_if(attributes, [&](const lamina_attr &other) { return attribute.name && std::strcmp(other.name, attribute.name) == 0; });
  attributes.push_back(attribute);
  const lamina_plan_desc desc = plain_desc(subject, attributes);
  require_created(subject, desc, wanted, what);
}

lamina_attr number(const lamina_attr &row, double value) {
  lamina_attr attribute{row.name, row.kind, 0, {}};
  if (row.kind == LAMINA_ATTR_INT) attribute.value.i = static_cast<int64_t>(value);
  else attribute.value.f = value;
  return attribute;
}

void check_attribute(const Subject &subject, const lamina_attr &row) {
  const std::string name = std::string("attribute '") + row.name + "' ";
  const manifest::ContractAttribute *rule = subject.session.contract.attribute(row.name);
  if (!rule) fail(name + "is in the op's table but not in the contract");
  for (const uint32_t kind : {uint32_t{LAMINA_ATTR_INT}, uint32_t{LAMINA_ATTR_FLOAT}, uint32_t{LAMINA_ATTR_STRING}, 0u, 99u}) {
    if (kind == row.kind) continue;
    lamina_attr wrong{row.name, kind, 0, {}};
    if (kind == LAMINA_ATTR_STRING) wrong.value.s = "1";
    require_attribute(subject, wrong, LAMINA_INVALID_ARGUMENT, name + "of kind " + std::to_string(kind));
  }
  lamina_attr reserved = row;
  reserved.reserved = 1;
  require_attribute(subject, reserved, LAMINA_UNSUPPORTED, name + "with reserved 1");
  if (row.kind == LAMINA_ATTR_STRING) {
    lamina_attr text = row;
    text.value.s = nullptr;
    require_attribute(subject, text, LAMINA_INVALID_ARGUMENT, name + "without a string");
    for (const char *unknown : {"", "no such value", "Outgoing "}) {
      text.value.s = unknown;
      require_attribute(subject, text, LAMINA_UNSUPPORTED, name + "= '" + unknown + "'");
    }
    for (const std::string &value : rule->values) {  // each is taken, or refused as UNSUPPORTED with a sentence
      text.value.s = value.c_str();
      std::vector<lamina_attr> one{text};
      const lamina_plan_desc desc = plain_desc(subject, one);
      if (const Outcome outcome = create(subject, &desc); !outcome.ok() && outcome.status != LAMINA_UNSUPPORTED)
        fail(name + "= '" + value + "': " + describe(outcome));
    }
  } else {
    const double beyond = std::max(std::fabs(rule->maximum) * 2, rule->maximum + 1);
    require_attribute(subject, number(row, beyond), LAMINA_INVALID_ARGUMENT, name + "above its maximum");
    require_attribute(subject, number(row, rule->minimum - 1), LAMINA_INVALID_ARGUMENT, name + "below its minimum");
    if (row.kind == LAMINA_ATTR_FLOAT)
      require_attribute(subject, number(row, std::numeric_limits<double>::quiet_NaN()), LAMINA_INVALID_ARGUMENT, name + "= NaN");
  }
  const std::vector<lamina_attr> twice{row, row};
  const lamina_plan_desc desc = plain_desc(subject, twice);
  require_created(subject, desc, LAMINA_INVALID_ARGUMENT, name + "given twice");
}

void check_attributes(const Subject &subject) {
  for (uint32_t i = 0; i < subject.op.attr_count; ++i) check_attribute(subject, subject.op.attrs[i]);
  require_attribute(subject, {"no_such_attribute", LAMINA_ATTR_INT, 0, {}}, LAMINA_UNSUPPORTED, "an attribute that nobody has");
  require_attribute(subject, {"", LAMINA_ATTR_INT, 0, {}}, LAMINA_UNSUPPORTED, "an attribute with an empty name");
  require_attribute(subject, {nullptr, LAMINA_ATTR_INT, 0, {}}, LAMINA_INVALID_ARGUMENT, "an attribute without a name");
}

// The table that the library exports says what its contract says.
void check_table(const Subject &subject) {
  const manifest::Contract &contract = subject.session.contract;
  const manifest::ContractOp *op = contract.op(subject.op.name);
  if (!op) fail("the contract has no such op");
  if (op->arguments.size() != subject.op.arg_count)
    fail("the contract lists " + std::to_string(op->arguments.size()) + " arguments, the table " + std::to_string(subject.op.arg_count));
  for (uint32_t i = 0; i < subject.op.arg_count; ++i) {
    const lamina_arg &arg = subject.op.args[i];
    const manifest::ContractArgument *said = contract.argument(op->arguments[i]);
    const std::string name = "argument " + std::to_string(i) + " '" + arg.name + "': ";
    if (!said || said->name != arg.name) fail(name + "the contract says '" + op->arguments[i] + "'");
    if (said->shape != arg.shape) fail(name + "shape is " + arg.shape + ", the contract says " + said->shape);
    if (static_cast<uint32_t>(said->role) + 1 != arg.role) fail(name + "its role differs from the contract's");
    if (said->optional != ((arg.flags & LAMINA_OPTIONAL) != 0)) fail(name + "optional in one, required in the other");
    if ((said->strides == "broadcast") != ((arg.flags & LAMINA_BROADCAST) != 0) ||
        (said->strides == "last_contiguous") != ((arg.flags & LAMINA_LAST_CONTIGUOUS) != 0))
      fail(name + "its strides differ from the contract's");
    uint64_t may_alias = 0;
    for (const std::string &other : said->may_alias)
      if (const int index = argument_named(subject.op, other); index >= 0) may_alias |= uint64_t{1} << index;
    if (may_alias != arg.may_alias) fail(name + "may_alias differs from the contract's");
  }
  for (uint32_t i = 0; i < subject.op.attr_count; ++i)
    if (!contract.attribute(subject.op.attrs[i].name))
      fail(std::string("the contract has no attribute '") + subject.op.attrs[i].name + "'");
  if (contract.layer != subject.session.build.library().name || contract.version != subject.session.build.library().version)
    fail("the contract is of " + contract.layer + " " + contract.version);
}

}  // namespace

void add_struct_jobs(Session &session, const CaseList &list, std::vector<Job> &jobs) {
  const Case *base = plain_case(session, list);
  if (!base) return;  // add_refusal_jobs says so
  using Check = void (*)(const Subject &);
  const std::pair<const char *, Check> checks[] = {{"table agrees with contract", check_table},
                                                   {"NULL", check_nulls},
                                                   {"sizes of lamina_error", check_error_sizes},
                                                   {"sizes of lamina_call", check_call_sizes},
                                                   {"members of lamina_call", check_call_members},
                                                   {"sizes of lamina_need", check_need_sizes},
                                                   {"sizes of lamina_plan_desc", check_desc_sizes},
                                                   {"members of lamina_plan_desc", check_desc_members},
                                                   {"attributes", check_attributes}};
  for (uint32_t o = 0; o < session.build.library().op_count; ++o) {
    const lamina_op &op = *session.build.library().ops[o];
    for (const auto &[name, check] : checks)
      jobs.push_back({"struct", name, op.name, [&session, &op, base, check = check](Result &) { check({session, op, *base}); }});
  }
}

}  // namespace lamina::conformance
