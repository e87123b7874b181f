// Work cut into tasks that workers take as they come.
#pragma once
#include <atomic>

#include "kernels/common/parallel.h"

namespace lamina::cpu {

// Runs task(index, scratch) for every index below count; each worker has `scratch_bytes` of its own at `scratch`, which holds
// parallel.threads of them.  No task sees which worker runs it, so results do not depend on the number of threads.
template <class F>
void run_tasks(const Parallel &parallel, int64_t count, char *scratch, int64_t scratch_bytes, F task) {
  std::atomic<int64_t> next{0};
  parallel.for_each(parallel.threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker)
      for (int64_t index; (index = next.fetch_add(1, std::memory_order_relaxed)) < count;)
        task(index, reinterpret_cast<float *>(scratch + worker * scratch_bytes));
  });
}

}  // namespace lamina::cpu
