// lamina_op's functions, written once for every op of every layer: plans, attributes, workspace, errors.
#include <cstdlib>
#include <cstring>

#include "bind.h"
#include "growable.h"
#include "op.h"

namespace lamina::plugin {
namespace {

// Copies the failure into the caller's error as far as its struct_size reaches.
lamina_status report(Status status, const Failure &failure, lamina_error *error) {
  if (status == Status::ok || !error) return static_cast<lamina_status>(status);
  lamina_error full{};
  full.struct_size = error->struct_size;
  full.arg = failure.arg, full.dim = failure.dim, full.native_code = failure.native_code;
  memcpy(full.message, failure.message, sizeof full.message);
  const uint32_t size = error->struct_size < sizeof full ? error->struct_size : static_cast<uint32_t>(sizeof full);
  if (size > sizeof full.struct_size) memcpy(static_cast<void *>(error), &full, size);
  // A shorter struct still ends in a NUL.
  if (size > offsetof(lamina_error, message) && size < sizeof full) reinterpret_cast<char *>(error)[size - 1] = 0;
  return static_cast<lamina_status>(status);
}

const char *kind_name(uint32_t kind) {
  switch (kind) {
    case LAMINA_ATTR_INT: return "an integer";
    case LAMINA_ATTR_FLOAT: return "a float";
    case LAMINA_ATTR_STRING: return "a string";
    default: return "of an unknown kind";
  }
}

Status set_attribute(const Op &op, int index, const lamina_attr &given, AttributeValue &value, Failure &failure) {
  const lamina_attr &row = op.attrs[index];
  const AttributeRule &rule = op.rules[index];
  if (given.kind != row.kind)
    return fail(failure, Status::invalid_argument, "%s.%s: attribute '%s' is %s, expected %s", op.layer, op.name, row.name,
                kind_name(given.kind), kind_name(row.kind));
  if (given.reserved) return fail(failure, Status::unsupported, "%s.%s: attribute '%s': reserved must be 0", op.layer, op.name, row.name);
  if (row.kind == LAMINA_ATTR_STRING) {
    if (!given.value.s) return fail(failure, Status::invalid_argument, "%s.%s: attribute '%s' is NULL", op.layer, op.name, row.name);
    for (value.index = 0; value.index < rule.value_count; ++value.index)
      if (strcmp(given.value.s, rule.values[value.index]) == 0) return Status::ok;
    char known[120] = {};
    for (int i = 0, used = 0; i < rule.value_count && used < 100; ++i)
      used += snprintf(known + used, sizeof known - static_cast<size_t>(used), "%s%s", i ? ", " : "", rule.values[i]);
    return fail(failure, Status::unsupported, "%s.%s: attribute '%s' has the unknown value '%.40s'; it takes %s", op.layer, op.name,
                row.name, given.value.s, known);
  }
  value.i = given.value.i, value.f = given.value.f;
  const double number = row.kind == LAMINA_ATTR_FLOAT ? value.f : static_cast<double>(value.i);
  if (!(number >= rule.minimum && number <= rule.maximum))
    return fail(failure, Status::invalid_argument, "%s.%s: attribute '%s' is %g, expected %g to %g", op.layer, op.name, row.name, number,
                rule.minimum, rule.maximum);
  return Status::ok;
}

Status set_attributes(const Op &op, const lamina_plan_desc &desc, lamina_plan &plan, Failure &failure) {
  for (uint32_t i = 0; i < op.attr_count; ++i) {
    LAMINA_TRY(set_attribute(op, static_cast<int>(i), op.attrs[i], plan.attributes[i], failure));
  }
  if (desc.attr_count && !desc.attrs) return fail(failure, Status::invalid_argument, "lamina_plan_desc.attrs is NULL");
  uint64_t given = 0;
  for (uint32_t i = 0; i < desc.attr_count; ++i) {
    const lamina_attr &attr = desc.attrs[i];
    if (!attr.name) return fail(failure, Status::invalid_argument, "%s.%s: attribute %u has no name", op.layer, op.name, i);
    uint32_t index = 0;
    while (index < op.attr_count && strcmp(attr.name, op.attrs[index].name) != 0) ++index;
    if (index == op.attr_count) return fail(failure, Status::unsupported, "%s.%s: unknown attribute '%.60s'", op.layer, op.name, attr.name);
    if (given >> index & 1)
      return fail(failure, Status::invalid_argument, "%s.%s: attribute '%s' is given twice", op.layer, op.name, attr.name);
    given |= uint64_t{1} << index;
    LAMINA_TRY(set_attribute(op, static_cast<int>(index), attr, plan.attributes[index], failure));
  }
  return Status::ok;
}

Status create(const Op &op, const lamina_plan_desc *given, lamina_plan *&plan, Failure &failure) {
  lamina_plan_desc desc;
  LAMINA_TRY(read_struct(given, desc, "lamina_plan_desc", failure));
  if (desc.flags & ~uint32_t{LAMINA_DETERMINISTIC})
    return fail(failure, Status::unsupported, "%s.%s: unknown plan flags 0x%x", op.layer, op.name, desc.flags);
  if (desc.reserved) return fail(failure, Status::unsupported, "lamina_plan_desc.reserved must be 0");
  if (desc.tuning || desc.tuning_size)
    return fail(failure, Status::unsupported, "%s.%s: this build has no extension lamina.tuning/1", op.layer, op.name);
  if ((desc.flags & LAMINA_DETERMINISTIC) && !op.hooks->facts().deterministic)
    return fail(failure, Status::unsupported, "%s.%s: this build is not deterministic", op.layer, op.name);
  if (const int32_t type = op.hooks->facts().device_type; desc.device.type != type)
    return fail(failure, Status::wrong_device, "%s.%s: device type is %d, this build runs on %d", op.layer, op.name, desc.device.type,
                type);
  plan = static_cast<lamina_plan *>(calloc(1, sizeof *plan));
  if (!plan) return fail(failure, Status::no_memory, "no memory for a plan");
  plan->op = &op, plan->device = desc.device, plan->flags = desc.flags;
  if (desc.host) LAMINA_TRY(read_struct(desc.host, plan->host, "lamina_host", failure));
  LAMINA_TRY(set_attributes(op, desc, *plan, failure));
  return op.hooks->create(*plan, failure);
}

Status checked_need(const lamina_plan &plan, const lamina_call *call, Memory memory, BoundCall &bound, Need &need, Failure &failure) {
  LAMINA_TRY(bind(plan, call, memory, bound, failure));
  return plan.op->hooks->need(plan, bound, need, failure);
}

// PACKED and SAVED are as long as this build says for this call.
Status check_bytes(const Op &op, uint32_t i, const BoundCall &bound, const Need &need, Failure &failure) {
  const uint32_t role = op.args[i].role;
  if (role != LAMINA_PACKED && role != LAMINA_SAVED) return Status::ok;
  const uint64_t expected = role == LAMINA_SAVED ? need.saved_size : need.packed_size;
  failure.arg = static_cast<int>(i), failure.dim = -1;
  if (!bound.has(failure.arg)) {
    failure.arg = role == LAMINA_SAVED && expected ? failure.arg : -1;
    if (failure.arg < 0) return Status::ok;
    return fail(failure, Status::invalid_argument, "%s.%s: argument %u '%s' is missing; infer says it has %llu bytes", op.layer, op.name, i,
                op.args[i].name, static_cast<unsigned long long>(expected));
  }
  failure.dim = 0;
  if (const int64_t given = bound.tensors[i]->shape[0]; static_cast<uint64_t>(given) != expected)
    return fail(failure, Status::invalid_argument, "%s.%s: argument %u '%s' has %lld bytes, expected %llu", op.layer, op.name, i,
                op.args[i].name, static_cast<long long>(given), static_cast<unsigned long long>(expected));
  failure.arg = failure.dim = -1;
  return Status::ok;
}

// The host's profiler sees "<layer>.<op>" around what a call enqueues, where it asked for that.
Status run_in_range(const lamina_plan &plan, const BoundCall &bound, Failure &failure) {
  const Op &op = *plan.op;
  if (!plan.host.range) return op.hooks->run(plan, bound, failure);
  char name[96];
  snprintf(name, sizeof name, "%s.%s", op.layer, op.name);
  plan.host.range(plan.host.ctx, name, bound.stream, 1);
  const Status status = op.hooks->run(plan, bound, failure);
  plan.host.range(plan.host.ctx, name, bound.stream, 0);
  return status;
}

Status checked_run(const lamina_plan &plan, const lamina_call *call, Failure &failure) {
  BoundCall bound;
  Need need;
  LAMINA_TRY(checked_need(plan, call, Memory::check, bound, need, failure));
  const Op &op = *plan.op;
  for (uint32_t i = 0; i < op.arg_count; ++i) LAMINA_TRY(check_bytes(op, i, bound, need, failure));
  if (need.workspace_size) {
    if (!bound.workspace || bound.workspace_size < need.workspace_size)
      return fail(failure, Status::workspace, "%s.%s: workspace has %llu bytes, these shapes need %llu", op.layer, op.name,
                  bound.workspace ? static_cast<unsigned long long>(bound.workspace_size) : 0ull,
                  static_cast<unsigned long long>(need.workspace_size));
    if (const uint64_t align = op.hooks->facts().workspace_align; reinterpret_cast<uintptr_t>(bound.workspace) % align)
      return fail(failure, Status::workspace, "%s.%s: workspace must be aligned to %llu bytes", op.layer, op.name,
                  static_cast<unsigned long long>(align));
  }
  return run_in_range(plan, bound, failure);
}

// The caller sets struct_size alone: a shorter struct is cut, the tail of a longer one means "as before", which is zero.
Status write_need(const Facts &facts, const Need &need, lamina_need *out, Failure &failure) {
  const uint32_t size = out->struct_size;
  if (size < 2 * sizeof(uint32_t) || size > 1u << 16)
    return fail(failure, Status::invalid_argument, "lamina_need.struct_size is %u; set it to sizeof(lamina_need)", size);
  uint32_t flags = 0;
  if (facts.deterministic) flags |= LAMINA_DETERMINISTIC;
  if (facts.capture_safe) flags |= LAMINA_CAPTURE_SAFE;
  const lamina_need full{
      size, flags, need.workspace_size, facts.workspace_align, need.packed_size, need.packed_size ? facts.packed_format : nullptr};
  memset(static_cast<void *>(out), 0, size);
  memcpy(static_cast<void *>(out), &full, size < sizeof full ? size : sizeof full);
  return Status::ok;
}

Status infer_outputs(const lamina_plan &plan, const BoundCall &bound, const Need &need, lamina_tensor *out, Failure &failure) {
  const Op &op = *plan.op;
  for (uint32_t i = 0; i < op.arg_count; ++i) {
    const lamina_arg &row = op.args[i];
    if (row.role != LAMINA_OUTPUT && row.role != LAMINA_SAVED && row.role != LAMINA_PACKED) continue;
    failure.arg = static_cast<int>(i);
    if (!out[i].shape)
      return fail(failure, Status::invalid_argument, "%s.%s: out[%u].shape must point at room for %d int64", op.layer, op.name, i,
                  max_rank);
    int64_t *shape = const_cast<int64_t *>(out[i].shape);
    int rank = 0;
    for (const char *at = row.shape; *at; ++at)
      if (*at >= 'A' && *at <= 'Z') {
        const int64_t extent = row.role == LAMINA_PACKED  ? static_cast<int64_t>(need.packed_size)
                               : row.role == LAMINA_SAVED ? static_cast<int64_t>(need.saved_size)
                                                          : bound.extent(*at);
        if (extent < 0)
          return fail(failure, Status::invalid_argument, "%s.%s: no argument gives extent %c of '%s'", op.layer, op.name, *at, row.name);
        shape[rank++] = extent;
      }
    DType dtype = DType::uint8;
    if (row.dtype_of >= 0 && bound.has(row.dtype_of)) dtype = bound.dtype(row.dtype_of);
    if ((row.flags & LAMINA_OR_FLOAT32) && wants_float32_gradients(plan)) dtype = DType::float32;
    out[i] = {nullptr, plan.device, rank, dtype_to(dtype), shape, nullptr, 0};
  }
  failure.arg = -1;
  return Status::ok;
}

}  // namespace

lamina_status plan_create(const lamina_op *op, const lamina_plan_desc *desc, lamina_plan **out, lamina_error *error) {
  Failure failure;
  if (!op || !out) return report(fail(failure, Status::invalid_argument, "op or plan pointer is NULL"), failure, error);
  lamina_plan *plan = nullptr;
  const Status status = create(*static_cast<const Op *>(op), desc, plan, failure);
  if (status != Status::ok) {
    free(plan);  // hooks->create leaves nothing behind when it fails
    plan = nullptr;
  }
  *out = plan;
  return report(status, failure, error);
}

void plan_destroy(lamina_plan *plan) {
  if (!plan) return;
  plan->op->hooks->destroy(*plan);
  free(plan);
}

lamina_status plan_need(const lamina_plan *plan, const lamina_call *call, lamina_need *out, lamina_error *error) {
  Failure failure;
  if (!plan || !out) return report(fail(failure, Status::invalid_argument, "plan or need is NULL"), failure, error);
  BoundCall bound;
  Need need;
  Status status = checked_need(*plan, call, Memory::ignore, bound, need, failure);
  if (status == Status::ok) status = write_need(plan->op->hooks->facts(), need, out, failure);
  return report(status, failure, error);
}

lamina_status run(const lamina_plan *plan, const lamina_call *call, lamina_error *error) {
  Failure failure;
  if (!plan) return report(fail(failure, Status::invalid_argument, "plan is NULL"), failure, error);
  return report(checked_run(*plan, call, failure), failure, error);
}

lamina_status infer(const lamina_plan *plan, const lamina_call *call, lamina_tensor *out, lamina_error *error) {
  Failure failure;
  if (!plan || !out) return report(fail(failure, Status::invalid_argument, "plan or out is NULL"), failure, error);
  BoundCall bound;
  Need need;
  Status status = checked_need(*plan, call, Memory::ignore, bound, need, failure);
  if (status == Status::ok) status = infer_outputs(*plan, bound, need, out, failure);
  return report(status, failure, error);
}

}  // namespace lamina::plugin
