// Host services as an awkward host gives them: a parallel_for on real threads that hands out pieces of uneven size in an order
// that nobody may rely on.
#pragma once
#include <atomic>

#include "abi/lamina_abi.h"

namespace lamina::conformance {

class HostThreads {
 public:
  explicit HostThreads(int threads);
  HostThreads(const HostThreads &) = delete;
  const lamina_host *host() const { return &host_; }
  int calls() const { return calls_; }
  // How the plug-in misused the loop or log, or NULL.
  const char *misuse() const { return misuse_; }

 private:
  static void parallel_for(void *ctx, int64_t n, int64_t grain, void (*body)(void *, int64_t, int64_t), void *arg);
  lamina_host host_{};
  int threads_;
  std::atomic<int> calls_{0};
  std::atomic<const char *> misuse_{nullptr};
};

}  // namespace lamina::conformance
