// What the ABI promises beyond right numbers: threads, processes, several copies, packing.
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "conformance/draft.h"
#include "conformance/isolate.h"
#include "manifest/error.h"

namespace lamina::conformance {
namespace {

using Bytes = std::vector<unsigned char>;

Bytes outputs_of(const Ready &ready) {
  Bytes all;
  for (const Drawn &drawn : ready.drawn)
    if (const Placed *placed = ready.placement->find(drawn.name); placed && placed->written) {
      const Bytes one = ready.placement->bytes(*placed);
      all.insert(all.end(), one.begin(), one.end());
    }
  return all;
}

Bytes run_once(Session &session, const Plugin &plugin, const Case &one, int threads) {
  auto ready = session.prepare(plugin, one, threads);
  ready->run();
  return outputs_of(*ready);
}

bool is_deterministic(Session &session, const Case &one) {
  return (session.prepare(session.build, one, 1)->need.flags & LAMINA_DETERMINISTIC) != 0;
}

// The cases that properties are shown on: of each why the dearest below a limit, so that threads have something to share.
std::vector<const Case *> samples(const Session &session, const CaseList &list, double most_flop) {
  std::map<std::string, const Case *> best;
  for (const Case &one : list.cases) {
    if (one.on_gpu_only || one.expect) continue;
    const lamina_op *op = session.build.op(one.op);
    if (!op) continue;
    if (std::string why; !takes_dtypes(*op, one, why)) continue;
    const double flop = session.contract.flops(one.op, one.dims);
    if (flop > most_flop) continue;
    const Case *&known = best[one.why + " " + one.dtype];
    if (!known || flop > session.contract.flops(known->op, known->dims)) known = &one;
  }
  std::vector<const Case *> all;
  for (const auto &[why, one] : best) all.push_back(one);
  return all;
}

void check_threads(Session &session, const Case &one) {
  if (!is_deterministic(session, one)) throw Failure{Verdict::unsupported, "the build doesn't promise LAMINA_DETERMINISTIC"};
  const Bytes first = run_once(session, session.build, one, 1);
  for (const int threads : {2, 7, 16})
    if (run_once(session, session.build, one, threads) != first)
      fail("other bytes with " + std::to_string(threads) + " threads of the host than with 1");
  if (run_once(session, session.build, one, 0) != first) fail("other bytes with the build's own threads than with 1 of the host");
}

void check_own_threads(Session &session, const Case &one) {
  const Bytes first = run_once(session, session.build, one, 0);
  if (!is_deterministic(session, one)) return;
  for (int i = 0; i < 20; ++i)
    if (run_once(session, session.build, one, 0) != first)
      fail("run " + std::to_string(i) + " with the build's own threads gives other bytes");
}

// One plan, many threads at once, each with its own workspace and outputs.
void check_concurrent(Session &session, const Case &one, int host_threads) {
  constexpr int callers = 4, rounds = 8;
  auto shared = session.prepare(session.build, one, host_threads);
  shared->run();
  const Bytes expected = outputs_of(*shared);
  std::vector<std::unique_ptr<Ready>> own;
  for (int i = 0; i < callers; ++i) own.push_back(session.prepare(session.build, one, host_threads));
  std::atomic<const char *> wrong{nullptr};
  std::vector<std::thread> threads;
  for (int i = 0; i < callers; ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < rounds; ++round) {
        if (!one.alias.empty() && round) break;  // in place: the second round would read the first's output
        const lamina_op &op = shared->plan->op();
        if (op.run(shared->plan->get(), &own[static_cast<size_t>(i)]->call, nullptr) != LAMINA_OK) wrong = "a concurrent run failed";
      }
    });
  for (std::thread &thread : threads) thread.join();
  session.device().synchronise();
  if (wrong.load()) fail(wrong.load());
  if (!(shared->need.flags & LAMINA_DETERMINISTIC)) return;
  for (const auto &ready : own)
    if (outputs_of(*ready) != expected) fail("a concurrent run of one plan gives other bytes than a run alone");
}

// Plans created and destroyed on many threads at once.
void check_concurrent_plans(Session &session, const Case &one) {
  const lamina_op &op = *session.build.op(one.op);
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      for (int round = 0; round < 25; ++round) {
        try {
          const Plan plan(op, one, session.device_id, nullptr);
          if (!plan.created().ok()) ++failed;
        } catch (const Failure &) { ++failed; }
      }
    });
  for (std::thread &thread : threads) thread.join();
  if (failed) fail(std::to_string(failed) + " of 200 concurrent plan creations failed");
}

// A child of a process that has used the build can use it too, with the host's threads and with the build's own.
void check_fork(Session &session, const Case &one) {
  auto ready = session.prepare(session.build, one, 0);
  ready->run();
  const Bytes expected = outputs_of(*ready);
  for (int generation = 0; generation < 3; ++generation) {
    const std::string ending = run_in_child(
        [&] {
          if (run_once(session, session.build, one, 0) != expected) fail("the child's run gives other bytes");
          auto inherited = session.prepare(session.build, one, 0);
          inherited->call.struct_size = sizeof(lamina_call);
          if (ready->plan->op().run(ready->plan->get(), &inherited->call, nullptr) != LAMINA_OK)
            fail("the child can't run the parent's plan");
          if (outputs_of(*inherited) != expected) fail("the parent's plan gives other bytes in the child");
        },
        60);
    if (!ending.empty()) fail("after fork: " + ending);
    if (run_once(session, session.build, one, 0) != expected) fail("the parent gives other bytes after its child ran");
  }
}

// A directory that goes away with everything in it.
struct Scratch {
  std::filesystem::path path;
  Scratch() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lamina-conform-XXXXXX").string();
    if (!mkdtemp(pattern.data()))
      throw Error(ErrorKind::io, "can't make a directory in " + std::filesystem::temp_directory_path().string());
    path = pattern;
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

// Many copies of one build in a process: static TLS, symbol clashes, threads.
void check_copies(Session &session, const Case &one) {
  constexpr int copies = 64;
  const Scratch scratch;
  const Bytes expected = run_once(session, session.build, one, 2);
  std::vector<Plugin> plugins;
  for (int i = 0; i < copies; ++i) {
    const std::filesystem::path copy = scratch.path / ("copy" + std::to_string(i) + ".so");
    std::filesystem::copy_file(session.build.path(), copy);
    plugins.emplace_back(copy.string());
    for (int j = 0; j < i; ++j)
      if (&plugins[static_cast<size_t>(j)].library() == &plugins.back().library())
        fail("two copies share one library: a symbol leaks between them");
  }
  for (const Plugin &plugin : plugins)
    if (run_once(session, plugin, one, 2) != expected) fail("a copy of the build gives other bytes");
  // Each with its own threads, alive at once.
  std::vector<std::unique_ptr<Ready>> alive;
  for (const Plugin &plugin : plugins) {
    alive.push_back(session.prepare(plugin, one, 0));
    alive.back()->run();
  }
  for (const auto &ready : alive)
    if (outputs_of(*ready) != expected) fail("a copy of the build gives other bytes while 63 others are alive");
}

// Build and reference are two builds of a layer in one process; their plans must not mix.
void check_two_builds(Session &session, const Case &one) {
  if (!session.reference) throw Failure{Verdict::unsupported, "no other build is given"};
  const lamina_library &a = session.build.library(), &b = session.reference->library();
  if (&a == &b) {  // the reference itself is under test: a copy is the other
    const Scratch scratch;
    const auto copy = scratch.path / "other.so";
    std::filesystem::copy_file(session.build.path(), copy);
    const Plugin other(copy.string());
    if (&other.library() == &a) fail("a copy of the build is the same library: symbols leak");
    return;
  }
  const Bytes before = run_once(session, session.build, one, 2);
  session.truth(one);
  if (run_once(session, session.build, one, 2) != before) fail("gives other bytes after another build of the layer ran");
}

void check_pack_twice(Session &session, const Case &one) {
  const lamina_op &op = *session.build.op(one.op);
  const std::vector<Drawn> drawn = draw(op, one);
  const auto bytes_of = [](const Buffer &buffer) {
    Bytes bytes(buffer.size());
    buffer.read(bytes.data());
    return bytes;
  };
  std::string format, again;
  const Bytes first = bytes_of(*session.pack(session.build, one, drawn, 1, 0xff, &format));
  for (const auto &[threads, poison] : {std::pair{1, 0x00}, {2, 0x5a}, {7, 0xff}, {0, 0xa5}}) {
    if (bytes_of(*session.pack(session.build, one, drawn, threads, static_cast<unsigned char>(poison), &again)) != first)
      fail("packing the same weights again, over memory of 0x" + std::to_string(poison) + " and on " + std::to_string(threads) +
           " threads, gives other bytes");
    if (format != again) fail("the packed format changes from pack to pack");
  }
}

// Packed weights serve every N and B, and give what raw weights give.
void check_packed_and_raw(Session &session, const Case &one) {
  Case raw = one, packed = one;
  raw.packed = false, packed.packed = true;
  const auto bytes = [&](const Case &which) {
    auto ready = session.prepare(session.build, which, 2);
    ready->run();
    return outputs_of(*ready);
  };
  if (bytes(raw) != bytes(packed)) fail("packed and raw weights give different numbers");
}

// Workspace and packed bytes of a plan don't depend on what ran before.
void check_need_is_pure(Session &session, const Case &one) {
  auto ready = session.prepare(session.build, one, 2);
  lamina_need before = ready->need, after;
  ready->run();
  if (!ready->plan->need(ready->placement->call(), after).ok()) fail("plan_need fails after a run");
  if (before.workspace_size != after.workspace_size || before.packed_size != after.packed_size || before.flags != after.flags)
    fail("plan_need answers otherwise after a run");
}

// With nothing saved the argument may be absent or have no bytes.
void check_saved_of_no_bytes(Session &session, const Case &one) {
  const Bytes absent = run_once(session, session.build, one, 2);
  auto ready = session.prepare(session.build, one, 2);
  const auto nothing = session.device().allocate(0, 64, Edge::back, "saved");
  ready->placement->set_saved(nothing.get());
  lamina_call call = ready->placement->call();
  call.workspace = ready->call.workspace, call.workspace_size = ready->call.workspace_size;
  ready->call = call;
  ready->run();
  if (outputs_of(*ready) != absent) fail("saved of 0 bytes gives other bytes than none");
}

// The dearest plain case below a limit: enough work that several threads really share it.
const Case &busy_case(const Session &session, const CaseList &list, const Case &base) {
  const Case *busy = &base;
  for (const Case *one : samples(session, list, 3e7))
    if (one->alias.empty() && one->layout.empty() &&
        session.contract.flops(one->op, one->dims) > session.contract.flops(busy->op, busy->dims))
      busy = one;
  return *busy;
}

using Check = void (*)(Session &, const Case &);

}  // namespace

void add_property_jobs(Session &session, const CaseList &list, std::vector<Job> &jobs) {
  const Case *plain = plain_case(session, list);
  if (!plain) return;
  const Case *base = &busy_case(session, list, *plain);
  const auto packs = [&](const Case &one) {
    const lamina_op &op = *session.build.op(one.op);
    return std::any_of(op.args, op.args + op.arg_count, [](const lamina_arg &arg) { return arg.role == LAMINA_PACKED; });
  };
  const bool on_cpu = session.device_id.type == LAMINA_CPU;
  const auto add = [&](const char *name, const Case &one, Check check, int seconds = 120) {
    jobs.push_back({"property", name, one.why + " " + one.dtype + (one.label.empty() ? "" : " " + one.label),
                    [&session, &one, check](Result &) { check(session, one); }, seconds});
  };
  for (const Case *one : samples(session, list, 3e8)) {
    if (on_cpu) add("any number of threads", *one, check_threads);
    if (packs(*one)) add("packing twice", *one, check_pack_twice);
    if (packs(*one)) add("packed and raw weights", *one, check_packed_and_raw);
    add("plan_need is pure", *one, check_need_is_pure);
    if (!one->attributes.contains("save") && session.build.op(one->op)->kind == LAMINA_BACKWARD)
      add("saved of no bytes", *one, check_saved_of_no_bytes);
  }
  add("concurrent runs, threads of the host", *base, [](Session &s, const Case &one) { check_concurrent(s, one, 2); });
  add("concurrent runs, threads of the build", *base, [](Session &s, const Case &one) { check_concurrent(s, one, 0); });
  add("concurrent plans", *base, check_concurrent_plans);
  add("two builds in one process", *base, check_two_builds);
  add("64 copies in one process", *base, check_copies, 300);
  if (on_cpu) add("threads of the build", *base, check_own_threads);
  if (on_cpu) add("use after fork", *base, check_fork, 300);
}

}  // namespace lamina::conformance
