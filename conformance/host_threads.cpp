#include "conformance/host_threads.h"

#include <algorithm>
#include <thread>
#include <vector>

namespace lamina::conformance {

HostThreads::HostThreads(int threads) : threads_(threads) {
  host_.struct_size = sizeof host_;
  host_.num_threads = static_cast<uint32_t>(threads);
  host_.ctx = this;
  host_.parallel_for = parallel_for;
}

void HostThreads::parallel_for(void *ctx, int64_t n, int64_t grain, void (*body)(void *, int64_t, int64_t), void *arg) {
  auto &self = *static_cast<HostThreads *>(ctx);
  ++self.calls_;
  if (n < 0 || grain < 1) self.misuse_ = n < 0 ? "called parallel_for with n < 0" : "called parallel_for with grain < 1";
  if (n <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  // Cuts at multiples of `grain`, the last pieces first; every third piece is two grains long.
  std::vector<std::pair<int64_t, int64_t>> pieces;
  for (int64_t begin = 0; begin < n;) {
    int64_t end = begin + grain * (pieces.size() % 3 == 2 ? 2 : 1);
    if (n - end < grain) end = n;
    pieces.emplace_back(begin, end);
    begin = end;
  }
  std::atomic<int64_t> next{static_cast<int64_t>(pieces.size())};
  const auto work = [&] {
    for (int64_t at; (at = --next) >= 0;) body(arg, pieces[static_cast<size_t>(at)].first, pieces[static_cast<size_t>(at)].second);
  };
  std::vector<std::thread> helpers;
  const int64_t wanted = std::min<int64_t>(self.threads_, static_cast<int64_t>(pieces.size()));
  for (int64_t i = 1; i < wanted; ++i) helpers.emplace_back(work);
  work();
  for (std::thread &helper : helpers) helper.join();
}

}  // namespace lamina::conformance
