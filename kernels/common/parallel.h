// Threads as a kernel sees them: somebody else's loop.  The host's parallel_for, or kernels/cpu's own pool.
#pragma once
#include <cstdint>
#include <type_traits>

namespace lamina {

struct Parallel {
  using Body = void (*)(void *argument, int64_t begin, int64_t end);
  void *context = nullptr;
  void (*loop)(void *context, int64_t count, int64_t grain, Body body, void *argument) = nullptr;
  int threads = 1;  // how many bodies may run at once: the number of per-thread scratch areas that are needed

  // Calls body(begin, end) over [0, count) in pieces of at least `grain`; returns when all are done.
  template <class F>
  void for_each(int64_t count, int64_t grain, F &&body) const {
    if (count <= 0) return;
    if (!loop || threads == 1) return body(int64_t{0}, count);
    using Function = std::remove_reference_t<F>;
    loop(
        context, count, grain, [](void *argument, int64_t begin, int64_t end) { (*static_cast<Function *>(argument))(begin, end); },
        const_cast<void *>(static_cast<const void *>(&body)));
  }
};

}  // namespace lamina
