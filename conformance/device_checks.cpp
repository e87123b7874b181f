// What only a device with streams can show: two streams, capture into a graph, threads without a context, run() that doesn't wait.
#include "conformance/draft.h"
#include "manifest/error.h"

namespace lamina::conformance {
namespace {

std::vector<double> output_of(const Ready &ready) {
  std::vector<double> all;
  for (const Drawn &drawn : ready.drawn)
    if (const Placed *placed = ready.placement->find(drawn.name); placed && placed->written) {
      const auto values = ready.placement->values(*placed);
      all.insert(all.end(), values.begin(), values.end());
    }
  return all;
}

void require_ok(lamina_status status, const char *what) {
  if (status != LAMINA_OK) fail(std::string(what) + ": " + name_of_status(status));
}

void check_two_streams(Session &session, const Case &one) {
  auto alone = session.prepare(session.build, one, 0);
  alone->run();
  const auto expected = output_of(*alone);
  std::unique_ptr<Ready> both[2];
  for (int i = 0; i < 2; ++i) {
    both[i] = session.prepare(session.build, one, 0);
    both[i]->call.stream = session.device().stream(i);
  }
  const lamina_op &op = alone->plan->op();
  for (int round = 0; round < (one.alias.empty() ? 10 : 1); ++round)
    for (auto &ready : both) require_ok(op.run(alone->plan->get(), &ready->call, nullptr), "run on two streams");
  session.device().synchronise();
  for (auto &ready : both)
    if (output_of(*ready) != expected) fail("two streams at once give other numbers than one");
}

void check_default_stream(Session &session, const Case &one) {
  auto ready = session.prepare(session.build, one, 0);
  ready->run();
  const auto expected = output_of(*ready);
  auto legacy = session.prepare(session.build, one, 0);
  legacy->call.stream = nullptr;
  legacy->run();
  if (output_of(*legacy) != expected) fail("the legacy default stream gives other numbers");
}

// Captured once, replayed with the first inputs and with others.
void check_capture(Session &session, const Case &one) {
  auto ready = session.prepare(session.build, one, 0);
  if (!(ready->need.flags & LAMINA_CAPTURE_SAFE)) throw Failure{Verdict::unsupported, "the build doesn't promise LAMINA_CAPTURE_SAFE"};
  // No run before the capture: nothing may be loaded lazily.
  Outcome outcome;
  const auto replay = session.device().capture([&](void *stream) {
    lamina_call call = ready->call;
    call.stream = stream;
    outcome = ready->plan->run(call);
    return outcome.ok();
  });
  if (!outcome.ok()) fail("run under capture: " + describe(outcome));
  for (const uint64_t seed : {one.seed, one.seed + 1000}) {
    Case other = one;
    other.seed = seed;
    auto plain = session.prepare(session.build, other, 0);
    if (other.packed && seed != one.seed) {  // the graph reads the packed bytes where they lie
      std::vector<unsigned char> bytes(plain->packed->size());
      plain->packed->read(bytes.data());
      ready->packed->write(bytes.data());
    }
    if (ready->saved && seed != one.seed && ready->plan->op().kind == LAMINA_BACKWARD) {
      std::vector<unsigned char> bytes(plain->saved->size());
      plain->saved->read(bytes.data());
      ready->saved->write(bytes.data());
    }
    plain->run();
    ready->placement->reset();
    for (const Drawn &drawn : plain->drawn)
      if (Placed *placed = ready->placement->find(drawn.name); placed && placed->owned && !placed->written && !drawn.values.empty())
        ready->placement->replace(*placed, drawn.values);
    replay();
    if (output_of(*ready) != output_of(*plain))
      fail(seed == one.seed ? "a replayed graph gives other numbers than a run"
                            : "a graph replayed with other inputs gives other numbers than a run with them");
  }
}

void check_worker_thread(Session &session, const Case &one) {
  auto ready = session.prepare(session.build, one, 0);
  ready->run();
  const auto expected = output_of(*ready);
  // The caller's stream, and the default stream, which stands for nothing on such a thread: the plan's device is meant.
  for (void *stream : {session.device().stream(0), static_cast<void *>(nullptr)}) {
    auto again = session.prepare(session.build, one, 0);
    again->call.stream = stream;
    lamina_status status = LAMINA_OK;
    session.device().without_context([&] { status = again->plan->op().run(again->plan->get(), &again->call, nullptr); });
    require_ok(status, stream ? "run on a thread without a context" : "run on the default stream of a thread without a context");
    session.device().synchronise();
    if (output_of(*again) != expected) fail("a thread without a context gives other numbers");
  }
  session.device().without_context([&] {
    const Plan plan(*session.build.op(one.op), one, session.device_id, nullptr);
    if (!plan.created().ok()) fail("plan_create on a thread without a context: " + describe(plan.created()));
  });
}

}  // namespace

void add_device_jobs(Session &session, const CaseList &list, std::vector<Job> &jobs) {
  if (session.device_id.type == LAMINA_CPU) return;
  std::map<std::string, const Case *> chosen;  // the first case of each dtype and kind of weights
  for (const Case &one : list.cases)
    if (!one.on_gpu_only && !one.expect && one.alias.empty() && session.build.op(one.op)) {
      std::string why;
      const lamina_op &op = *session.build.op(one.op);
      const std::string training = op.kind == LAMINA_FORWARD_TRAIN || op.kind == LAMINA_BACKWARD ? one.op + " " : "";
      if (takes_dtypes(op, one, why)) chosen.emplace(training + one.dtype + (one.packed ? " packed" : " raw"), &one);
    }
  using Check = void (*)(Session &, const Case &);
  const std::pair<const char *, Check> checks[] = {{"two streams", check_two_streams},
                                                   {"default stream", check_default_stream},
                                                   {"captured graph", check_capture},
                                                   {"worker thread", check_worker_thread}};
  for (const auto &[name, check] : checks)
    for (const auto &[kind, one] : chosen)
      jobs.push_back({"device", name, kind, [&session, one = one, check = check](Result &) { check(session, *one); }, 120});
}

}  // namespace lamina::conformance
