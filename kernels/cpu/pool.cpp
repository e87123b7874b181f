#include "pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

extern "C" int __register_atfork(void (*)(void), void (*)(void), void (*)(void), void *);

namespace lamina::cpu {
namespace {

// Long enough to meet the next region of the same run, short enough not to steal a core from the host's own threads.
constexpr int spins = 2000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

void wait_while(std::atomic<uint32_t> &word, uint32_t value) {
  for (int i = 0; i < spins; ++i, pause())
    if (word.load(std::memory_order_acquire) != value) return;
  while (word.load(std::memory_order_acquire) == value) syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void wake(std::atomic<uint32_t> &word) { syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1 << 30, nullptr, nullptr, 0); }

struct Pool {
  std::atomic<uint32_t> busy{0};        // a region runs
  std::atomic<uint32_t> generation{0};  // counts regions; workers wait for it to change
  std::atomic<uint32_t> working{0};     // workers that have not finished the region
  std::atomic<int64_t> next{0};         // first index that nobody has taken
  uint32_t workers = 0;                 // beside the caller
  bool started = false;
  int64_t count = 0, grain = 1;
  Parallel::Body body = nullptr;
  void *argument = nullptr;

  void take() {
    for (int64_t begin; (begin = next.fetch_add(grain, std::memory_order_relaxed)) < count;)
      body(argument, begin, begin + grain < count ? begin + grain : count);
  }
};
constinit Pool pool;
constinit std::atomic<int> processors{0};

int processor_count() {
  int known = processors.load(std::memory_order_relaxed);
  if (known) return known;
  cpu_set_t set;
  known = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  if (known < 1) known = 1;
  processors.store(known, std::memory_order_relaxed);
  return known;
}

void *work(void *) {
  for (uint32_t seen = 0;;) {
    wait_while(pool.generation, seen);
    seen = pool.generation.load(std::memory_order_acquire);
    pool.take();
    if (pool.working.fetch_sub(1, std::memory_order_acq_rel) == 1) wake(pool.working);
  }
}

// The threads of the parent do not exist in the child, and a region that ran in the parent has no end here.
void forget_in_child() {
  pool.busy.store(0), pool.generation.store(0), pool.working.store(0), pool.workers = 0, pool.started = false;
  processors.store(0);
}

void start() {
  static constinit std::atomic<bool> registered{false};
  if (!registered.exchange(true)) __register_atfork(nullptr, nullptr, forget_in_child, nullptr);
  pool.started = true;
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  // The host's signals are the host's: no handler runs on a worker.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (int i = 1; i < processor_count(); ++i) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, work, nullptr) != 0) break;
    ++pool.workers;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
}

void loop(void *, int64_t count, int64_t grain, Parallel::Body body, void *argument) {
  if (pool.busy.exchange(1, std::memory_order_acquire)) return body(argument, 0, count);
  if (!pool.started) start();
  pool.count = count, pool.grain = grain < 1 ? 1 : grain, pool.body = body, pool.argument = argument;
  pool.next.store(0, std::memory_order_relaxed);
  pool.working.store(pool.workers, std::memory_order_relaxed);
  pool.generation.fetch_add(1, std::memory_order_release);
  if (pool.workers) wake(pool.generation);
  pool.take();
  for (uint32_t left; (left = pool.working.load(std::memory_order_acquire)) != 0;) wait_while(pool.working, left);
  pool.busy.store(0, std::memory_order_release);
}

}  // namespace

Parallel own_threads() { return {nullptr, loop, processor_count()}; }

}  // namespace lamina::cpu
