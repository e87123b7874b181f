#include "conformance/cuda_emulator/cluster.h"

#include <algorithm>

#include "conformance/cuda_emulator/failure.h"
#include "conformance/cuda_emulator/memory_threads.h"

namespace lamina::cuda_emulator {
namespace {
constexpr int most_idle_rounds = 3;
}

Cluster::Cluster(const Grid &grid, Index first_block, std::mt19937 &dice, ProductTime when)
    : grid_(grid), first_block_(first_block), dice_(dice), when_(when), alive_(grid.threads * grid.cluster) {
  for (int rank = 0; rank < size(); ++rank)
    on_memory_thread(rank, [&] {
      const Index block{first_block.x + static_cast<unsigned>(rank), first_block.y, first_block.z};
      ctas_.push_back(std::make_unique<Cta>(*this, rank, block, grid.threads, grid.shared_memory(), grid.shared_bytes));
    });
}

Cta &Cluster::cta(int rank) {
  if (rank < 0 || rank >= size()) fail("CTA %d of a cluster of %d", rank, size());
  if (ctas_[rank]->finished()) fail("an access to the shared memory of CTA %d of the cluster, which has ended", rank);
  return *ctas_[rank];
}

unsigned Cluster::join_meeting() {
  const unsigned mine = meetings_;
  if (++joined_ == alive_) joined_ = 0, ++meetings_;
  return mine;
}

// Who has ended is not waited for.
void Cluster::thread_ends() {
  if (--alive_ && joined_ == alive_) joined_ = 0, ++meetings_;
}

// Some of the copies under way, or all.
bool Cluster::run_transfers(bool all) {
  bool any = false;
  for (size_t i = 0; i < transfers_.size();) {
    if (!all && random(4)) {
      ++i;
      continue;
    }
    std::swap(transfers_[i], transfers_.back());
    const Transfer transfer = std::move(transfers_.back());
    transfers_.pop_back();
    transfer.work();
    if (transfer.stores) --*transfer.stores;
    any = true;
  }
  return any;
}

bool Cluster::run_products() {
  bool any = false;
  if (when_ == ProductTime::late) return false;
  for (const auto &cta : ctas_)
    for (Warpgroup &warpgroup : cta->warpgroups())
      if (!cta->finished() && (when_ == ProductTime::early || random(3) == 0)) any |= warpgroup.execute_next(*cta);
  return any;
}

// Each CTA once, in any order.
bool Cluster::run_round() {
  std::vector<int> order(ctas_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  std::shuffle(order.begin(), order.end(), dice_);
  bool any = false;
  for (const int rank : order)
    if (!ctas_[rank]->finished()) on_memory_thread(rank, [&] { any |= ctas_[rank]->run_threads(); });
  return any;
}

void Cluster::run() {
  const auto running = [&] { return std::any_of(ctas_.begin(), ctas_.end(), [](const auto &cta) { return !cta->finished(); }); };
  for (int idle = 0; running();) {
    bool any = run_round();
    make_running(nullptr);
    any |= run_products();
    any |= run_transfers(!any);
    idle = any ? 0 : idle + 1;
    if (idle >= most_idle_rounds) report_deadlock();
  }
  for (const Transfer &transfer : transfers_)
    fail(transfer.load ? "a CTA ends with a tensor load under way" : "a CTA ends before a tensor store has read its shared memory");
  for (const auto &cta : ctas_) cta->check_end();
}

void Cluster::report_deadlock() const {
  std::string text;
  for (const auto &cta : ctas_) text += cta->state();
  fail("deadlock: nothing can go on%s", text.c_str());
}

}  // namespace lamina::cuda_emulator
