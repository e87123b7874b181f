// The transition as a plug-in: turns a checked call into a Problem, refuses what the contract forbids, and hands it to the one
// build that is linked beside this file.  The only file of the layer that includes abi/.
#include "build.h"
#include "contract.h"
#include "plugin/library.h"

namespace lamina::transition {
namespace {

using plugin::BoundCall;
using plugin::Need;
namespace forward = contract::forward;
namespace pack = contract::pack;
namespace forward_train = contract::forward_train;
namespace backward = contract::backward;

View view_of(const BoundCall &call, int argument) {
  View view;
  if (!call.has(argument)) return view;
  view.present = true;
  view.data = call.data(argument);
  view.dtype = call.dtype(argument);
  for (int dim = 0; dim < call.tensors[argument]->ndim; ++dim) view.stride[dim] = call.stride(argument, dim);
  return view;
}

// The parameters have the same names in every op: `op` is the namespace of its generated table.
#define LAMINA_READ_PARAMETERS(op)                                               \
  problem.norm = {view_of(call, op::norm_weight), view_of(call, op::norm_bias)}; \
  problem.gate = {view_of(call, op::gate_weight), view_of(call, op::gate_bias)}; \
  problem.up = {view_of(call, op::up_weight), view_of(call, op::up_bias)};       \
  problem.down = {view_of(call, op::down_weight), view_of(call, op::down_bias)}; \
  problem.C = call.extent('C'), problem.I = call.extent('I');                    \
  LAMINA_TRY(check_parameters(problem, {op::norm_weight, op::gate_weight, op::gate_bias, op::up_weight}, failure));

Settings settings_of(const lamina_plan &plan) {
  Settings settings;
  const auto &values = plan.attributes;
  settings.activation = static_cast<Activation>(values[forward::activation].index);
  settings.compute = static_cast<Compute>(values[forward::compute].index);
  settings.eps = values[forward::eps].f;
  const bool trains = plan.op->kind == LAMINA_FORWARD_TRAIN || plan.op->kind == LAMINA_BACKWARD;
  settings.save_activations = trains && values[backward::save].index == backward::save_is::activations;
  settings.float32_gradients =
      plan.op->kind == LAMINA_BACKWARD && values[backward::gradient_dtype].index == backward::gradient_dtype_is::float32;
  return settings;
}
static_assert(int{forward::eps} == int{pack::eps} && int{forward::compute} == int{pack::compute} &&
                  int{forward::eps} == int{backward::eps} && int{forward::compute} == int{backward::compute} &&
                  int{forward_train::save} == int{backward::save} && int{forward_train::save} == int{backward::compute} + 1,
              "all ops list the common attributes in one order");
static_assert(int{forward::compute_is::fp16} == static_cast<int>(Compute::fp16), "Compute follows the contract's order of values");
static_assert(int{forward::activation_is::relu} == static_cast<int>(Activation::relu), "Activation follows the contract's order of values");

Status refuse(Failure &failure, Status status, int argument, int dim, const char *name, const char *why) {
  failure.arg = argument, failure.dim = dim;
  return fail(failure, status, "transition: argument %d '%s': %s", argument, name, why);
}

// What no argument table can say.  The numbers are those of this op's arguments.
struct ParameterNumbers {
  int norm_weight, gate_weight, gate_bias, up_weight;
};
Status check_parameters(const Problem &problem, const ParameterNumbers &numbers, Failure &failure) {
  if (problem.C < 8 || problem.C > 1024 || problem.C % 8) {
    failure.arg = numbers.up_weight, failure.dim = 1;
    return fail(failure, Status::unsupported, "transition: the width C is %lld, supported are 8 to 1024 in steps of 8",
                static_cast<long long>(problem.C));
  }
  if (problem.I < 8 || problem.I > 4096 || problem.I % 8) {
    failure.arg = numbers.up_weight, failure.dim = 0;
    return fail(failure, Status::unsupported, "transition: the hidden width I is %lld, supported are 8 to 4096 in steps of 8",
                static_cast<long long>(problem.I));
  }
  if (problem.norm.bias.present && !problem.norm.weight.present)
    return refuse(failure, Status::invalid_argument, numbers.norm_weight, -1, "norm_weight", "is missing beside norm_bias");
  if (problem.gated() && !problem.gate.weight.present)
    return refuse(failure, Status::invalid_argument, numbers.gate_weight, -1, "gate_weight", "is missing; activation swiglu needs it");
  if (!problem.gated() && (problem.gate.weight.present || problem.gate.bias.present))
    return refuse(failure, Status::invalid_argument, problem.gate.weight.present ? numbers.gate_weight : numbers.gate_bias, -1,
                  problem.gate.weight.present ? "gate_weight" : "gate_bias", "is given, but activation relu has no gate");
  return Status::ok;
}

// forward and forward_train list the same arguments up to `out`.
static_assert(int{forward::out} == int{forward_train::out} && int{forward::packed} == int{forward_train::packed} &&
              int{forward::down_bias} == int{forward_train::down_bias});

Status forward_problem(const lamina_plan &plan, const BoundCall &call, Problem &problem, Failure &failure) {
  problem.settings = settings_of(plan);
  problem.M = call.extent('M');
  problem.dtype = call.dtype(forward::x);
  problem.x = view_of(call, forward::x);
  problem.residual = view_of(call, forward::residual);
  problem.row_mask = view_of(call, forward::row_mask);
  problem.out = view_of(call, forward::out);
  problem.packed = call.data(forward::packed);
  if (problem.settings.save_activations) problem.saved = call.data(forward_train::saved);
  LAMINA_READ_PARAMETERS(forward)
  return build.check(problem, plan.state, failure);
}

Status backward_problem(const lamina_plan &plan, const BoundCall &call, Problem &problem, Gradients &gradients, Failure &failure) {
  problem.settings = settings_of(plan);
  problem.M = call.extent('M');
  problem.dtype = call.dtype(backward::x);
  problem.x = view_of(call, backward::x);
  problem.row_mask = view_of(call, backward::row_mask);
  if (problem.settings.save_activations) problem.saved = call.data(backward::saved);
  LAMINA_READ_PARAMETERS(backward)
  gradients.out = view_of(call, backward::out_gradient);
  gradients.x = view_of(call, backward::x_gradient);
  gradients.residual = view_of(call, backward::residual_gradient);
  gradients.norm = {view_of(call, backward::norm_weight_gradient), view_of(call, backward::norm_bias_gradient)};
  gradients.gate = {view_of(call, backward::gate_weight_gradient), view_of(call, backward::gate_bias_gradient)};
  gradients.up = {view_of(call, backward::up_weight_gradient), view_of(call, backward::up_bias_gradient)};
  gradients.down = {view_of(call, backward::down_weight_gradient), view_of(call, backward::down_bias_gradient)};
  return build.check(problem, plan.state, failure);
}

Status pack_problem(const lamina_plan &plan, const BoundCall &call, Problem &problem, Failure &failure) {
  constexpr DType dtypes[] = {DType::float64, DType::float32, DType::float16, DType::bfloat16};
  problem.settings = settings_of(plan);
  problem.dtype = dtypes[plan.attributes[pack::dtype].index];
  problem.packed = call.data(pack::packed);
  LAMINA_READ_PARAMETERS(pack)
  for (int i = 0; i < static_cast<int>(plan.op->arg_count); ++i)
    if (plan.op->args[i].role == LAMINA_PARAM && call.has(i) && call.dtype(i) != problem.dtype && call.dtype(i) != DType::float32)
      return refuse(failure, Status::invalid_argument, i, -1, plan.op->args[i].name, "dtype must be that of attribute 'dtype', or float32");
  return build.check(problem, plan.state, failure);
}

Parallel threads_of(const lamina_plan &plan) {
  if (!build.own_threads) return {};
  Parallel parallel = plan.parallel();
  const Parallel own = build.own_threads();
  if (!parallel.loop) return own;
  if (!parallel.threads) parallel.threads = own.threads;
  return parallel;
}

plugin::Facts facts() { return {build.device_type, build.deterministic, build.capture_safe, build.workspace_align, build.packed_format}; }

Status create(lamina_plan &plan, Failure &failure) {
  if (plan.op->kind == LAMINA_PACK && plan.attributes[pack::dtype].index == pack::dtype_is::float64 &&
      !(activation_dtypes & bit(DType::float64)))
    return fail(failure, Status::unsupported, "transition.pack: this build does not take float64");
  return build.create(settings_of(plan), {plan.device.type, plan.device.id}, &plan.state, failure);
}

void destroy(lamina_plan &plan) { build.destroy(plan.state); }

Status forward_need(const lamina_plan &plan, const BoundCall &call, Need &need, Failure &failure) {
  Problem problem;
  LAMINA_TRY(forward_problem(plan, call, problem, failure));
  need.packed_size = build.packed_bytes(problem, plan.state);
  // A descriptor without data says "packed weights will come".
  if (call.has(forward::packed) && !problem.packed) problem.packed = const_cast<char *>(lamina_contract_begin);
  if (problem.M) need.workspace_size = build.workspace_bytes(problem, plan.state, threads_of(plan).threads);
  if (problem.M && problem.settings.save_activations) need.saved_size = build.saved_bytes(problem, plan.state);
  return Status::ok;
}

Status forward_run(const lamina_plan &plan, const BoundCall &call, Failure &failure) {
  Problem problem;
  LAMINA_TRY(forward_problem(plan, call, problem, failure));
  if (!problem.M) return Status::ok;
  return build.forward(problem, {call.workspace, call.stream, threads_of(plan), plan.state}, failure);
}

Status pack_need(const lamina_plan &plan, const BoundCall &call, Need &need, Failure &failure) {
  Problem problem;
  LAMINA_TRY(pack_problem(plan, call, problem, failure));
  need.packed_size = build.packed_bytes(problem, plan.state);
  return Status::ok;
}

Status pack_run(const lamina_plan &plan, const BoundCall &call, Failure &failure) {
  Problem problem;
  LAMINA_TRY(pack_problem(plan, call, problem, failure));
  return build.pack(problem, {call.workspace, call.stream, threads_of(plan), plan.state}, failure);
}

Status backward_need(const lamina_plan &plan, const BoundCall &call, Need &need, Failure &failure) {
  Problem problem;
  Gradients gradients;
  LAMINA_TRY(backward_problem(plan, call, problem, gradients, failure));
  need.workspace_size = build.backward_workspace_bytes(problem, gradients, plan.state, threads_of(plan).threads);
  if (problem.M && problem.settings.save_activations) need.saved_size = build.saved_bytes(problem, plan.state);
  return Status::ok;
}

Status backward_run(const lamina_plan &plan, const BoundCall &call, Failure &failure) {
  Problem problem;
  Gradients gradients;
  LAMINA_TRY(backward_problem(plan, call, problem, gradients, failure));
  return build.backward(problem, gradients, {call.workspace, call.stream, threads_of(plan), plan.state}, failure);
}

constexpr plugin::Hooks forward_hooks = {facts, create, destroy, forward_need, forward_run};
constexpr plugin::Hooks pack_hooks = {facts, create, destroy, pack_need, pack_run};
constexpr plugin::Hooks backward_hooks = {facts, create, destroy, backward_need, backward_run};

// One row of the library's table; `op` is the namespace of its generated tables.
#define LAMINA_OP(op, kind, hooks)                                                                                                        \
  constexpr plugin::Op op##_op = plugin::make_op(contract::layer, #op, kind, op::arguments<activation_dtypes>, op::attributes, op::rules, \
                                                 op::attribute_count, hooks);
LAMINA_OP(forward, LAMINA_FORWARD, forward_hooks)
LAMINA_OP(pack, LAMINA_PACK, pack_hooks)
LAMINA_OP(forward_train, LAMINA_FORWARD_TRAIN, forward_hooks)
LAMINA_OP(backward, LAMINA_BACKWARD, backward_hooks)

// A build lists the ops that it has.
constexpr const lamina_op *ops[] = {&forward_op, &pack_op}, *training_ops[] = {&forward_op, &pack_op, &forward_train_op, &backward_op};
constexpr lamina_library library = plugin::make_library(contract::layer, contract::version, LAMINA_ARCH, contract::size, ops);
constexpr lamina_library training_library =
    plugin::make_library(contract::layer, contract::version, LAMINA_ARCH, contract::size, training_ops);

}  // namespace
}  // namespace lamina::transition

LAMINA_EXPORT const lamina_library *lamina_library_v1(void) {
  using namespace lamina::transition;
  return build.backward ? &training_library : &library;
}
