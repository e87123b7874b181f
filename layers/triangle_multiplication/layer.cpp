// Triangle multiplication as a plug-in: turns a checked call into a Problem, refuses what the contract forbids, and hands it to
// the one build that is linked beside this file.  The only file of the layer that includes abi/.
#include "build.h"
#include "contract.h"
#include "plugin/library.h"
#include "training.h"

namespace lamina::triangle_multiplication {
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

// The parameters, and their gradients, have the same names in every op: `op` is the namespace of its generated table.  `into` has the
// members of Problem.
#define LAMINA_READ_PARAMETERS(into, op, suffix)                                                                            \
  into.norm_in = {view_of(call, op::norm_in_weight##suffix), view_of(call, op::norm_in_bias##suffix)};                      \
  into.a_projection = {view_of(call, op::a_projection_weight##suffix), view_of(call, op::a_projection_bias##suffix)};       \
  into.a_gate = {view_of(call, op::a_gate_weight##suffix), view_of(call, op::a_gate_bias##suffix)};                         \
  into.b_projection = {view_of(call, op::b_projection_weight##suffix), view_of(call, op::b_projection_bias##suffix)};       \
  into.b_gate = {view_of(call, op::b_gate_weight##suffix), view_of(call, op::b_gate_bias##suffix)};                         \
  into.norm_out = {view_of(call, op::norm_out_weight##suffix), view_of(call, op::norm_out_bias##suffix)};                   \
  into.out_projection = {view_of(call, op::out_projection_weight##suffix), view_of(call, op::out_projection_bias##suffix)}; \
  into.out_gate = {view_of(call, op::out_gate_weight##suffix), view_of(call, op::out_gate_bias##suffix)};

// Attribute `operands` = ba.
template <class Parameters>
void exchange_operands(Parameters &parameters) {
  const Linear projection = parameters.a_projection, gate = parameters.a_gate;
  parameters.a_projection = parameters.b_projection, parameters.a_gate = parameters.b_gate;
  parameters.b_projection = projection, parameters.b_gate = gate;
}

bool saves_activations(const lamina_plan &plan) {
  return (plan.op->kind == LAMINA_FORWARD_TRAIN || plan.op->kind == LAMINA_BACKWARD) &&
         plan.attributes[backward::save].index == backward::save_is::activations;
}
// Plans that Training made; the others are Build's own.
bool trains(const lamina_plan &plan) { return plan.op->kind == LAMINA_BACKWARD || saves_activations(plan); }

Settings settings_of(const lamina_plan &plan) {
  Settings settings;
  const auto &values = plan.attributes;
  settings.incoming = values[forward::direction].index == forward::direction_is::incoming;
  settings.operands_exchanged = values[forward::operands].index == forward::operands_is::ba;
  settings.gate_before_projection = values[forward::output_gate].index == forward::output_gate_is::before_projection;
  settings.contraction_fp32 = values[forward::contraction].index == forward::contraction_is::fp32;
  settings.compute = static_cast<Compute>(values[forward::compute].index);
  settings.eps = values[forward::eps].f;
  return settings;
}
static_assert(int{forward::eps} == int{pack::eps} && int{forward::compute} == int{pack::compute} &&
                  int{forward::compute} == int{forward_train::compute} && int{forward::compute} == int{backward::compute} &&
                  int{forward_train::save} == int{backward::save},
              "all ops list the attributes in one order");
static_assert(int{forward::pair} == int{forward_train::pair} && int{forward::token_mask} == int{forward_train::token_mask} &&
                  int{forward::a_projection_weight} == int{forward_train::a_projection_weight} &&
                  int{forward::packed} == int{forward_train::packed} && int{forward::out} == int{forward_train::out},
              "forward_train takes forward's arguments, then saved");
static_assert(int{backward::save_is::activations} == static_cast<int>(Save::activations), "Save follows the contract's order of values");
static_assert(int{forward::compute_is::fp16} == static_cast<int>(Compute::fp16), "Compute follows the contract's order of values");

Status refuse(Failure &failure, Status status, int argument, int dim, const char *name, const char *why) {
  failure.arg = argument, failure.dim = dim;
  return fail(failure, status, "triangle_multiplication: argument %d '%s': %s", argument, name, why);
}

// What no argument table can say.
Status check_widths(const Problem &problem, int64_t gate_width, int c_argument, int c_dim, int h_argument, int gate_argument,
                    Failure &failure) {
  for (const bool hidden : {false, true}) {
    const int64_t channels = hidden ? problem.H : problem.C;
    if (channels >= 8 && channels <= 768 && channels % 8 == 0) continue;
    failure.arg = hidden ? h_argument : c_argument, failure.dim = hidden ? 0 : c_dim;
    return fail(failure, Status::unsupported, "triangle_multiplication: %s is %lld, supported are 8 to 768 in steps of 8",
                hidden ? "the hidden width H" : "the pair width C", static_cast<long long>(channels));
  }
  if (gate_width != problem.gate_width()) {
    failure.arg = gate_argument, failure.dim = 0;
    return fail(
        failure, Status::invalid_argument, "triangle_multiplication: out_gate_weight has %lld rows, expected %c = %lld with output_gate %s",
        static_cast<long long>(gate_width), problem.settings.gate_before_projection ? 'H' : 'C',
        static_cast<long long>(problem.gate_width()), problem.settings.gate_before_projection ? "before_projection" : "after_projection");
  }
  return Status::ok;
}

Status check_norm_in(const BoundCall &call, int weight, int bias, Failure &failure) {
  if (call.has(weight) == call.has(bias)) return Status::ok;
  const bool lonely_bias = call.has(bias);
  return refuse(failure, Status::invalid_argument, lonely_bias ? weight : bias, -1, lonely_bias ? "norm_in_weight" : "norm_in_bias",
                "is missing; norm_in_weight and norm_in_bias are given together or not at all");
}

Status check_masks(const BoundCall &call, int pair_mask, int token_mask, Failure &failure) {
  if (!call.has(pair_mask) || !call.has(token_mask)) return Status::ok;
  return refuse(failure, Status::invalid_argument, token_mask, -1, "token_mask", "given beside pair_mask; at most one of the two may be");
}

// Of forward, and of forward_train.
Status forward_problem(const lamina_plan &plan, const BoundCall &call, Problem &problem, Failure &failure) {
  problem.settings = settings_of(plan);
  problem.B = call.extent('B'), problem.N = call.extent('N'), problem.C = call.extent('C'), problem.H = call.extent('H');
  problem.dtype = call.dtype(forward::pair);
  problem.pair = view_of(call, forward::pair);
  problem.pair_mask = view_of(call, forward::pair_mask);
  problem.token_mask = view_of(call, forward::token_mask);
  problem.residual = view_of(call, forward::residual);
  problem.dropout_mask = view_of(call, forward::dropout_mask);
  problem.out = view_of(call, forward::out);
  LAMINA_READ_PARAMETERS(problem, forward, )
  problem.packed = call.data(forward::packed);
  if (problem.settings.operands_exchanged) exchange_operands(problem);
  LAMINA_TRY(check_masks(call, forward::pair_mask, forward::token_mask, failure));
  LAMINA_TRY(check_norm_in(call, forward::norm_in_weight, forward::norm_in_bias, failure));
  LAMINA_TRY(check_widths(problem, call.extent('G'), forward::pair, 3, forward::a_projection_weight, forward::out_gate_weight, failure));
  if (saves_activations(plan)) return build.training->check(problem, Pass::forward, Save::activations, plan.state, failure);
  return build.check(problem, plan.state, failure);
}

Status backward_problem(const lamina_plan &plan, const BoundCall &call, Gradients &gradients, Failure &failure) {
  Problem &problem = gradients.p;
  problem.settings = settings_of(plan);
  problem.B = call.extent('B'), problem.N = call.extent('N'), problem.C = call.extent('C'), problem.H = call.extent('H');
  problem.dtype = call.dtype(backward::pair);
  problem.pair = view_of(call, backward::pair);
  problem.pair_mask = view_of(call, backward::pair_mask);
  problem.token_mask = view_of(call, backward::token_mask);
  problem.dropout_mask = view_of(call, backward::dropout_mask);
  LAMINA_READ_PARAMETERS(problem, backward, )
  LAMINA_READ_PARAMETERS(gradients, backward, _gradient)
  if (problem.settings.operands_exchanged) exchange_operands(problem), exchange_operands(gradients);
  gradients.out = view_of(call, backward::out_gradient);
  gradients.pair = view_of(call, backward::pair_gradient), gradients.residual = view_of(call, backward::residual_gradient);
  gradients.save = saves_activations(plan) ? Save::activations : Save::nothing;
  gradients.saved = call.data(backward::saved);
  LAMINA_TRY(check_masks(call, backward::pair_mask, backward::token_mask, failure));
  LAMINA_TRY(check_norm_in(call, backward::norm_in_weight, backward::norm_in_bias, failure));
  LAMINA_TRY(check_widths(problem, call.extent('G'), backward::pair, 3, backward::a_projection_weight, backward::out_gate_weight, failure));
  return build.training->check(problem, Pass::backward, gradients.save, plan.state, failure);
}

Status pack_problem(const lamina_plan &plan, const BoundCall &call, Problem &problem, Failure &failure) {
  constexpr DType dtypes[] = {DType::float64, DType::float32, DType::float16, DType::bfloat16};
  problem.settings = settings_of(plan);
  problem.C = call.extent('C'), problem.H = call.extent('H');
  problem.dtype = dtypes[plan.attributes[pack::dtype].index];
  LAMINA_READ_PARAMETERS(problem, pack, )
  problem.packed = call.data(pack::packed);
  if (problem.settings.operands_exchanged) exchange_operands(problem);
  for (int i = 0; i < static_cast<int>(plan.op->arg_count); ++i)
    if (plan.op->args[i].role == LAMINA_PARAM && call.has(i) && call.dtype(i) != problem.dtype && call.dtype(i) != DType::float32)
      return refuse(failure, Status::invalid_argument, i, -1, plan.op->args[i].name, "dtype must be that of attribute 'dtype', or float32");
  LAMINA_TRY(check_norm_in(call, pack::norm_in_weight, pack::norm_in_bias, failure));
  LAMINA_TRY(
      check_widths(problem, call.extent('G'), pack::a_projection_weight, 1, pack::a_projection_weight, pack::out_gate_weight, failure));
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
  const Settings settings = settings_of(plan);
  if (plan.op->kind == LAMINA_PACK && plan.attributes[pack::dtype].index == pack::dtype_is::float64 &&
      !(activation_dtypes & bit(DType::float64)))
    return fail(failure, Status::unsupported, "triangle_multiplication.pack: this build does not take float64");
  const Device device = {plan.device.type, plan.device.id};
  if (!trains(plan)) return build.create(settings, device, &plan.state, failure);
  return build.training->create(settings, plan.op->kind == LAMINA_BACKWARD ? Pass::backward : Pass::forward,
                                saves_activations(plan) ? Save::activations : Save::nothing, device, &plan.state, failure);
}

void destroy(lamina_plan &plan) { trains(plan) ? build.training->destroy(plan.state) : build.destroy(plan.state); }

Status forward_need(const lamina_plan &plan, const BoundCall &call, Need &need, Failure &failure) {
  Problem problem;
  LAMINA_TRY(forward_problem(plan, call, problem, failure));
  need.packed_size = build.packed_bytes(problem, plan.state);
  // A descriptor without data says "packed weights will come".
  if (call.has(forward::packed) && !problem.packed) problem.packed = const_cast<char *>(lamina_contract_begin);
  if (!problem.B || !problem.N) return Status::ok;
  const int threads = threads_of(plan).threads;
  if (!saves_activations(plan)) return need.workspace_size = build.workspace_bytes(problem, plan.state, threads), Status::ok;
  need.saved_size = build.training->saved_bytes(problem, plan.state);
  need.workspace_size = build.training->forward_workspace_bytes(problem, plan.state, threads);
  return Status::ok;
}

Status forward_run(const lamina_plan &plan, const BoundCall &call, Failure &failure) {
  Problem problem;
  LAMINA_TRY(forward_problem(plan, call, problem, failure));
  if (!problem.B || !problem.N) return Status::ok;
  const Run run = {call.workspace, call.stream, threads_of(plan), plan.state};
  return saves_activations(plan) ? build.training->forward(problem, call.data(forward_train::saved), run, failure)
                                 : build.forward(problem, run, failure);
}

Status backward_need(const lamina_plan &plan, const BoundCall &call, Need &need, Failure &failure) {
  Gradients gradients;
  LAMINA_TRY(backward_problem(plan, call, gradients, failure));
  if (!gradients.p.B || !gradients.p.N) return Status::ok;
  if (saves_activations(plan)) need.saved_size = build.training->saved_bytes(gradients.p, plan.state);
  need.workspace_size = build.training->backward_workspace_bytes(gradients, plan.state, threads_of(plan).threads);
  return Status::ok;
}

Status backward_run(const lamina_plan &plan, const BoundCall &call, Failure &failure) {
  Gradients gradients;
  LAMINA_TRY(backward_problem(plan, call, gradients, failure));
  return build.training->backward(gradients, {call.workspace, call.stream, threads_of(plan), plan.state}, failure);
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

constexpr plugin::Hooks forward_hooks = {facts, create, destroy, forward_need, forward_run};
constexpr plugin::Hooks pack_hooks = {facts, create, destroy, pack_need, pack_run};
constexpr plugin::Hooks backward_hooks = {facts, create, destroy, backward_need, backward_run};

constexpr plugin::Op forward_op = plugin::make_op(contract::layer, "forward", LAMINA_FORWARD, forward::arguments<activation_dtypes>,
                                                  forward::attributes, forward::rules, forward::attribute_count, forward_hooks);
constexpr plugin::Op pack_op = plugin::make_op(contract::layer, "pack", LAMINA_PACK, pack::arguments<activation_dtypes>, pack::attributes,
                                               pack::rules, pack::attribute_count, pack_hooks);
constexpr plugin::Op forward_train_op =
    plugin::make_op(contract::layer, "forward_train", LAMINA_FORWARD_TRAIN, forward_train::arguments<activation_dtypes>,
                    forward_train::attributes, forward_train::rules, forward_train::attribute_count, forward_hooks);
constexpr plugin::Op backward_op = plugin::make_op(contract::layer, "backward", LAMINA_BACKWARD, backward::arguments<activation_dtypes>,
                                                   backward::attributes, backward::rules, backward::attribute_count, backward_hooks);
// A build lists the ops that it has.
constexpr const lamina_op *ops[] = {&forward_op, &pack_op}, *training_ops[] = {&forward_op, &pack_op, &forward_train_op, &backward_op};
constexpr lamina_library library = plugin::make_library(contract::layer, contract::version, LAMINA_ARCH, contract::size, ops);
constexpr lamina_library training_library =
    plugin::make_library(contract::layer, contract::version, LAMINA_ARCH, contract::size, training_ops);

}  // namespace
}  // namespace lamina::triangle_multiplication

LAMINA_EXPORT const lamina_library *lamina_library_v1(void) {
  using namespace lamina::triangle_multiplication;
  return build.training ? &training_library : &library;
}
