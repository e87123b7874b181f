#include "function.h"

#include <string.h>

#include "memory.h"

extern "C" const lamina_library *lamina_library_v1(void);  // the plug-in's export, linked beside this

namespace lamina::tvm_ffi {
namespace {

using adapters::Plan;
using adapters::succeeded;

const lamina_op *find_op(const char *name) {
  const lamina_library &library = *lamina_library_v1();
  for (uint32_t i = 0; i < library.op_count; ++i)
    if (strcmp(library.ops[i]->name, name) == 0) return library.ops[i];
  return nullptr;
}

bool is_result(const lamina_op &op, uint32_t i) {
  const uint32_t role = op.args[i].role;
  return role == LAMINA_OUTPUT || (op.kind == LAMINA_PACK && role == LAMINA_PACKED) ||
         (op.kind == LAMINA_FORWARD_TRAIN && role == LAMINA_SAVED);
}

// The index of the one result that is not given, arg_count if all are.  What forward_train saves is given or, where all else is given,
// returned: with nothing to save it is None, and left out beside another result the plug-in says whether it is needed.
bool missing_result(const lamina_op &op, const Arguments &arguments, uint32_t &missing, Failure &failure) {
  missing = op.arg_count;
  uint32_t saved = op.arg_count;
  for (uint32_t i = 0; i < op.arg_count; ++i) {
    if (arguments.tensors[i] || !is_result(op, i)) continue;
    if (op.args[i].flags & LAMINA_OPTIONAL && op.args[i].role == LAMINA_OUTPUT) continue;
    if (op.args[i].flags & LAMINA_OPTIONAL && op.args[i].role == LAMINA_SAVED) {
      saved = i;
      continue;
    }
    if (missing != op.arg_count)
      return fail(failure, Mistake::type, "%s: '%s' and '%s' are missing; at most one result can be returned, give the others", op.name,
                  op.args[missing].name, op.args[i].name);
    missing = i;
  }
  if (missing == op.arg_count) missing = saved;
  return true;
}

// Allocates argument `i` as the plug-in infers it and puts it among the tensors.
bool make_result(const lamina_op &op, const lamina_plan *plan, const lamina_call &call, Arguments &arguments, uint32_t i, void *&object,
                 Failure &failure) {
  int64_t extents[max_arguments][8];
  lamina_tensor inferred[max_arguments] = {};
  for (uint32_t k = 0; k < op.arg_count; ++k) inferred[k].shape = extents[k];
  lamina_error error = {};
  error.struct_size = sizeof error;
  if (!succeeded(op.infer(plan, &call, inferred, &error), error, failure)) return false;
  if (op.args[i].role == LAMINA_SAVED && inferred[i].shape[0] == 0) return true;
  object = allocate_tensor(inferred[i], op.name, op.args[i].name, failure);
  if (!object) return false;
  arguments.tensors[i] = reinterpret_cast<const lamina_tensor *>(static_cast<const Object *>(object) + 1);
  return true;
}

bool set_workspace(const lamina_op &op, const Arguments &arguments, const lamina_need &need, Workspace &own, lamina_call &call,
                   Failure &failure) {
  if (const lamina_tensor *given = arguments.workspace) {
    if (given->dtype.bits != 8 || given->ndim != 1 || (given->strides && given->strides[0] != 1 && given->shape[0] > 1))
      return fail(failure, Mistake::value, "%s: workspace must be a tensor of bytes with one dimension and no gaps", op.name);
    if (given->device.type != arguments.device.type || given->device.id != arguments.device.id)
      return fail(failure, Mistake::value, "%s: workspace is on device %d:%d, the arguments are on %d:%d", op.name, given->device.type,
                  given->device.id, arguments.device.type, arguments.device.id);
    call.workspace = static_cast<char *>(given->data) + given->byte_offset;
    call.workspace_size = static_cast<uint64_t>(given->shape[0]);
    return true;  // size and alignment are the plug-in's to judge
  }
  if (!need.workspace_size) return true;
  if (!own.allocate(op.name, arguments.device, need.workspace_size, need.workspace_align, failure)) return false;
  call.workspace = own.data, call.workspace_size = need.workspace_size;
  return true;
}

// Names that tvm-ffi turns into Python's exceptions; it knows no NotImplementedError, which is a RuntimeError in Python too.
const char *exception_of(Mistake mistake) {
  switch (mistake) {
    case Mistake::type: return "TypeError";
    case Mistake::value: return "ValueError";
    case Mistake::memory: return "MemoryError";
    default: return "RuntimeError";
  }
}

struct Release {  // of a plan that no cache keeps
  const lamina_op &op;
  const Plan &plan;
  ~Release() {
    if (!plan.memo) op.plan_destroy(plan.plan);
  }
};

}  // namespace

bool Function::try_call(const Any *values, int32_t count, Any *result, Failure &failure) {
  const lamina_op *op = find_op(name_);
  if (!op) return fail(failure, Mistake::internal, "the plug-in has no op '%s'", name_);
  Arguments arguments;
  if (!arguments.read(*op, values, count, failure)) return false;
  uint32_t missing = 0;
  if (!missing_result(*op, arguments, missing, failure)) return false;

  Plan plan;
  if (!plans_.find_or_create(*op, arguments.attributes, arguments.device, plan, failure)) return false;
  const Release release{*op, plan};

  lamina_call call = {};
  call.struct_size = sizeof call, call.tensor_count = op->arg_count, call.tensors = arguments.tensors;
  if (arguments.device.type != LAMINA_CPU) {
    // Without the runtime the caller's stream is unknown, and another one would race with it.
    if (!runtime()) return fail(failure, Mistake::internal, "%s: tvm-ffi's library is not loaded, so the stream is unknown", op->name);
    call.stream = runtime()->current_stream(arguments.device.type, arguments.device.id);
  }
  lamina_error error = {};
  error.struct_size = sizeof error;
  void *made = nullptr;
  if (missing != op->arg_count && !make_result(*op, plan.plan, call, arguments, missing, made, failure)) return false;

  lamina_need need = {};
  need.struct_size = sizeof need;
  Workspace own;
  const bool known = plan.memo && plan.memo->recall(call, need);
  const bool asked = known || succeeded(op->plan_need(plan.plan, &call, &need, &error), error, failure);
  if (asked && !known && plan.memo) plan.memo->remember(call, need);
  const bool done =
      asked && set_workspace(*op, arguments, need, own, call, failure) && succeeded(op->run(plan.plan, &call, &error), error, failure);
  if (done && made) *result = {type_tensor, 0, {.pointer = made}};
  if (!done && made) runtime()->release(made);
  return done;
}

int Function::call(const Any *values, int32_t count, Any *result) {
  *result = {type_none, 0, {.int64 = 0}};
  Failure failure;
  if (try_call(values, count, result, failure)) return 0;
  if (failure.mistake != Mistake::raised && runtime()) runtime()->raise(exception_of(failure.mistake), failure.message);
  return -1;
}

}  // namespace lamina::tvm_ffi
