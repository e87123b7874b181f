// Gradients without anyone's derivatives: in float64 what backward says along a random direction is what forward_train's output changes
// by, taken from two nearby calls.  For builds that take float64 everywhere: the reference, which every other build is measured against.
#include <algorithm>
#include <cmath>

#include "conformance/random.h"
#include "conformance/session.h"

namespace lamina::conformance {
namespace {

constexpr double step = 1e-5, tolerance = 1e-6;  // a central difference is wrong by step^2 and by rounding over step: 1e-10 and 1e-11

using Values = std::map<std::string, std::vector<double>>;

// The op's outputs in float64, from `drawn`.
Values run_exactly(Session &session, const lamina_op &op, const Case &one, const std::vector<Drawn> &drawn) {
  Case plain = one;
  plain.op = op.name, plain.packed = false;
  plain.attributes.erase("gradient_dtype"), plain.attributes.erase("save");
  HostThreads host(1);
  const Plan plan(op, plain, session.device_id, host.host());
  if (!plan.created().ok()) fail(std::string(op.name) + ": plan_create: " + describe(plan.created()));
  Placement placement(op, drawn, plain, session.device(), {true, true, false, Edge::back});
  lamina_need need;
  if (const Outcome asked = plan.need(placement.call(), need); !asked.ok()) fail(std::string(op.name) + ": plan_need: " + describe(asked));
  const auto workspace =
      session.device().allocate(need.workspace_size, std::max<uint64_t>(need.workspace_align, 1), Edge::back, "workspace");
  lamina_call call = placement.call();
  call.workspace = workspace->data(), call.workspace_size = need.workspace_size;
  if (const Outcome done = plan.run(call); !done.ok()) fail(std::string(op.name) + ": run: " + describe(done));
  Values outputs;
  for (const Drawn &argument : drawn)
    if (argument.role == LAMINA_OUTPUT) outputs[argument.name] = placement.values(*placement.find(argument.name));
  return outputs;
}

double dot(const std::vector<double> &a, const std::vector<double> &b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

void check_differences(Session &session, const lamina_op &train, const Case &one) {
  const lamina_op &op = *session.build.op(one.op);
  const std::vector<Drawn> drawn = draw(op, one);
  const Values gradients = run_exactly(session, op, one, drawn);
  Case before = one;
  before.op = train.name, before.alias.clear();
  std::vector<Drawn> forward = draw(train, before);
  // What comes in is named after the output: out_gradient of out.  A loss is the sum of out * out_gradient over all such.
  const auto loss = [&] {
    double sum = 0;
    for (const auto &[name, values] : run_exactly(session, train, before, forward))
      for (const Drawn &incoming : drawn)
        if (incoming.name == name + "_gradient") sum += dot(values, incoming.values);
    return sum;
  };
  int compared = 0;
  for (Drawn &argument : forward) {
    const auto found = gradients.find(argument.name + "_gradient");
    if (found == gradients.end() || argument.role == LAMINA_OUTPUT) continue;
    const Random random(one.seed, argument.name + " direction");
    std::vector<double> direction(argument.values.size());
    for (size_t i = 0; i < direction.size(); ++i) direction[i] = random.normal(i);
    const std::vector<double> here = argument.values;
    double ends[2];
    for (const int side : {0, 1}) {
      for (size_t i = 0; i < here.size(); ++i) argument.values[i] = here[i] + (side ? step : -step) * direction[i];
      ends[side] = loss();
    }
    argument.values = here;
    const double change = (ends[1] - ends[0]) / (2 * step), said = dot(found->second, direction);
    const double size = std::sqrt(dot(found->second, found->second));
    if (!(std::fabs(change - said) <= tolerance * (size + std::fabs(change))))
      fail("along a random direction of '" + argument.name + "' the loss changes by " + std::to_string(change) + ", backward says " +
           std::to_string(said) + " (the gradient's length is " + std::to_string(size) + ")");
    ++compared;
  }
  if (!compared) fail("no gradient of the case belongs to an argument of '" + before.op + "'");
}

}  // namespace

void add_difference_jobs(Session &session, const CaseList &list, std::vector<Job> &jobs) {
  const lamina_op *train = nullptr;
  for (uint32_t i = 0; i < session.build.library().op_count; ++i)
    if (session.build.library().ops[i]->kind == LAMINA_FORWARD_TRAIN) train = session.build.library().ops[i];
  if (!train || !(train->args[0].dtypes & LAMINA_BIT_FLOAT64)) return;
  std::map<std::string, const Case *> chosen;  // by truth: dtypes, layouts and what is saved change nothing in float64
  for (const Case &one : list.cases) {
    const lamina_op *op = session.build.op(one.op);
    if (!op || op->kind != LAMINA_BACKWARD || one.on_gpu_only || one.expect || one.dtype != "float32") continue;
    if (session.contract.flops(one.op, one.dims) > 6e6 ||
        std::none_of(one.given.begin(), one.given.end(), [](const std::string &pattern) { return pattern == "*_gradient"; }))
      continue;
    if (std::any_of(one.dims.begin(), one.dims.end(), [](const auto &dim) { return dim.second == 0; })) continue;
    chosen.emplace(truth_key(one), &one);
  }
  for (const auto &[key, one] : chosen)
    jobs.push_back(
        {"difference", one->why, one->label, [&session, train, one = one](Result &) { check_differences(session, *train, *one); }});
}

}  // namespace lamina::conformance
