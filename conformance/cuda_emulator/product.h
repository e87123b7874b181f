// The products (wgmma) of one warpgroup: issued by its 128 threads one after another, executed once for all of them.
#pragma once
#include <cstdint>
#include <deque>
#include <vector>

#include "conformance/cuda_emulator/device_calls.h"

namespace lamina::cuda_emulator {

class Cta;

struct Product {
  ProductOperands operands;
  float *sums[128] = {};
  uint32_t registers[128][4];
};

class Warpgroup {
 public:
  // By `thread`, 0 to 127.
  void fence(int thread) { fenced_[thread] = true; }
  void issue(int thread, float *sums, const ProductOperands &operands);
  void commit(int thread);
  bool all_committed(uint64_t groups) const;  // the first `groups` of them, by every thread
  uint64_t committed(int thread) const { return commits_[thread]; }

  // Executes what lies in the first `groups` groups.
  void execute(Cta &cta, uint64_t groups);
  bool execute_next(Cta &cta);  // one group that every thread has committed; false: there is none
  bool idle() const { return products_.empty(); }
  void read_sums(int thread) { fenced_[thread] = false; }  // the thread waited: it may touch its registers

 private:
  std::deque<Product> products_;  // not yet executed
  uint64_t executed_ = 0;         // products before products_
  uint64_t groups_executed_ = 0;
  std::vector<uint64_t> ends_;   // of each group: the products up to it
  std::vector<int> committers_;  // of each group: the threads that have committed it, in the order of groups
  uint64_t issued_[128] = {}, commits_[128] = {};
  bool fenced_[128] = {};
};

}  // namespace lamina::cuda_emulator
