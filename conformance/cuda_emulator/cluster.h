// The CTAs of one cluster, and the tensor copies that they have under way.  Chance decides who goes on and when a copy happens.
#pragma once
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "conformance/cuda_emulator/cta.h"

namespace lamina::cuda_emulator {

// A launch, as far as the running CTAs see it.
struct Grid {
  const char *kernel;
  void (*function)();  // takes its job by value
  const void *job;
  size_t job_bytes;
  Index blocks;
  unsigned threads, cluster;
  uint32_t shared_bytes;  // dynamic, of a CTA
  bool overlaps_previous;
  std::set<std::pair<uint64_t, uint64_t>> *written;               // tensors that it stores to: begin and end
  const std::set<std::pair<uint64_t, uint64_t>> *written_before;  // by the launch before it
  std::function<char *()> shared_memory;                          // of the thread of the operating system that asks
};

enum class ProductTime { early, late, any };

struct Transfer {
  std::function<void()> work;
  std::shared_ptr<int> stores;  // of a store: the group that counts it
  bool load;
};

class Cluster {
 public:
  Cluster(const Grid &grid, Index first_block, std::mt19937 &dice, ProductTime when);
  void run();  // to the end of every CTA

  const Grid &grid() const { return grid_; }
  ProductTime product_time() const { return when_; }
  int size() const { return static_cast<int>(grid_.cluster); }
  Cta &cta(int rank);  // one that still runs
  // barrier.cluster: the meeting that a thread joins, and how many have taken place.
  unsigned join_meeting();
  unsigned meetings() const { return meetings_; }
  void thread_ends();
  void begin_transfer(Transfer transfer) { transfers_.push_back(std::move(transfer)); }
  unsigned random(unsigned below) { return dice_() % below; }

 private:
  bool run_transfers(bool all);
  bool run_products();
  bool run_round();
  void report_deadlock() const;

  const Grid &grid_;
  const Index first_block_;
  std::mt19937 &dice_;
  const ProductTime when_;
  std::vector<std::unique_ptr<Cta>> ctas_;
  std::vector<Transfer> transfers_;
  unsigned alive_, joined_ = 0, meetings_ = 0;
};

// The CTA whose thread runs now, and its shared memory.
Cta &running_cta();
void make_running(Cta *cta);

}  // namespace lamina::cuda_emulator
