// One case of cases.json: the build's outputs against the reference's, and everything around them untouched.
#include <algorithm>

#include "conformance/random.h"
#include "conformance/session.h"
#include "manifest/error.h"

namespace lamina::conformance {
namespace {

constexpr double repeat_flop = 5e7;  // cases below run a second time on other threads and another workspace content

// The outputs' bytes, gaps included.
std::vector<std::vector<unsigned char>> output_bytes(const Ready &ready) {
  std::vector<std::vector<unsigned char>> bytes;
  for (const Drawn &drawn : ready.drawn)
    if (const Placed *placed = ready.placement->find(drawn.name); placed && placed->written)
      bytes.push_back(ready.placement->bytes(*placed));
  return bytes;
}

void check_untouched(const Ready &ready) {
  if (const std::string damage = ready.placement->damage(); !damage.empty()) fail(damage);
  if (const std::string damage = ready.workspace->damage(); !damage.empty()) fail("workspace: " + damage);
  if (ready.saved)
    if (const std::string damage = ready.saved->damage(); !damage.empty()) fail("saved: " + damage);
}

// A case that must be refused: the first of plan_create, plan_need and run that says no must say it as expected.
void run_refused(Session &session, const Case &one) {
  const Expectation &expected = *one.expect;
  const lamina_op *op = session.build.op(one.op);
  if (!op) throw Failure{Verdict::unsupported, "the build has no op '" + one.op + "'"};
  const std::vector<Drawn> drawn = draw(*op, one);
  HostThreads host(1);
  const Plan plan(*op, one, session.device_id, host.host());
  Outcome outcome = plan.created();
  std::string step = "plan_create";
  if (outcome.ok()) {
    Placement placement(*op, drawn, one, session.device(), {});
    lamina_need need;
    const Outcome asked = plan.need(placement.call(), need);
    auto workspace = session.device().allocate(asked.ok() ? need.workspace_size : 4096, std::max<uint64_t>(need.workspace_align, 64),
                                               Edge::back, "workspace");
    lamina_call call = placement.call();
    call.workspace = workspace->data(), call.workspace_size = workspace->size();
    outcome = plan.run(call);
    step = "run";
    session.device().synchronise();
    if (outcome.status != asked.status && !asked.ok()) fail("plan_need says " + describe(asked) + "; run says " + describe(outcome));
    if (const std::string damage = placement.damage(); !damage.empty()) fail("refused, but " + damage);
    for (const Drawn &argument : drawn) {
      const Placed *placed = placement.find(argument.name);
      if (placed && placed->written && placed->owned && placement.bytes(*placed) != placed->image)
        fail("refused, but wrote '" + argument.name + "'");
    }
  }
  if (outcome.status != expected.status) fail(step + " says " + describe(outcome) + "; expected " + name_of_status(expected.status));
  const int arg = argument_named(*op, expected.argument);
  if (!expected.argument.empty() && outcome.arg != arg)
    fail(step + " blames argument " + std::to_string(outcome.arg) + ", expected " + std::to_string(arg) + " '" + expected.argument +
         "': " + outcome.message);
  if (expected.dim >= 0 && outcome.dim != expected.dim)
    fail(step + " blames dimension " + std::to_string(outcome.dim) + ", expected " + std::to_string(expected.dim) + ": " + outcome.message);
}

}  // namespace

void run_case(Session &session, const Case &one, Result &result) {
  if (one.expect) return run_refused(session, one);
  // Which page the memory lies against alternates, so that both ends of every argument are watched over the list.
  const Edge edge = Random(one.seed, one.why + one.label).bits(0) % 2 ? Edge::back : Edge::front;
  auto ready = session.prepare(session.build, one, session.host_threads, edge);
  ready->run();
  check_untouched(*ready);
  const auto first = output_bytes(*ready);
  if ((ready->need.flags & LAMINA_DETERMINISTIC) && session.contract.flops(one.op, one.dims) < repeat_flop) {
    ready->placement->reset();
    const std::vector<unsigned char> other(ready->workspace->size(), 0x00);
    if (!other.empty()) ready->workspace->write(other.data());
    ready->run();
    if (output_bytes(*ready) != first) fail("DETERMINISTIC, but a second run on another workspace content gives other bytes");
  }
  const lamina_op &op = ready->plan->op();
  const auto &truth = session.truth(one);
  for (const auto &[name, expected] : truth) {
    const Placed *placed = ready->placement->find(name);
    if (!placed) fail("output '" + name + "' is missing");
    Measures measured;
    const Measures limits = limits_for(session.contract, one, op.kind, name_of(placed->element));
    const std::string wrong = compare(ready->placement->values(*placed), expected, placed->shape, limits, measured);
    if (measured.frobenius >= result.measured.frobenius) result.measured = measured, result.limits = limits;
    if (!wrong.empty()) fail("'" + name + "' " + wrong);
  }
}

void add_case_jobs(Session &session, const CaseList &list, bool on_gpu, std::vector<Job> &jobs) {
  for (const Case &one : list.cases) {
    if (one.on_gpu_only && !on_gpu) continue;
    jobs.push_back(
        {"case", one.why, one.label, [&session, &one](Result &result) { run_case(session, one, result); }, one.on_gpu_only ? 600 : 120});
  }
}

}  // namespace lamina::conformance
