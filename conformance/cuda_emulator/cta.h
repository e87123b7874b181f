// One CTA while it runs: its threads as fibers, its warps, named barriers, store groups and products.  One CTA runs at a time, on the
// operating system's thread that holds its shared memory.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "conformance/cuda_emulator/device_calls.h"
#include "conformance/cuda_emulator/fiber.h"
#include "conformance/cuda_emulator/product.h"

namespace lamina::cuda_emulator {

class Cluster;

// What a thread waits for; `ready` is asked until it is true.
struct Waiting {
  bool (*ready)(const void *what, uint64_t value) = nullptr;
  const void *what = nullptr;
  uint64_t value = 0;
  const char *name = "";
};

struct Thread {
  Fiber fiber;
  unsigned index = 0;
  bool finished = false;
  Waiting waiting;
  std::shared_ptr<int> open_stores;  // of the group not yet committed: how many have not read their shared memory
  std::deque<std::shared_ptr<int>> store_groups;
  std::vector<uint32_t> written;  // lines of 16 bytes that it wrote and did not publish
  struct Copy {
    void *to;
    const void *from;
    bool valid;
  };
  std::vector<Copy> open_copies;
  std::deque<std::vector<Copy>> copy_groups;
};

struct Warp {
  uint64_t given[32], taken[2][32];
  int arrived = 0;
  unsigned generation = 0;
};

struct NamedBarrier {
  int arrived = 0, threads = 0;
  unsigned generation = 0;
};

class Cta {
 public:
  Cta(Cluster &cluster, int rank, Index block, unsigned threads, char *shared, uint32_t shared_bytes);

  // Lets every thread that can go on run once or more.  False: none could.
  bool run_threads();
  bool finished() const { return alive_ == 0; }
  void check_end();           // what a CTA may not leave behind
  std::string state() const;  // where its threads stand, a line a place

  // By the running thread.
  void wait(const Waiting &waiting);
  bool in_thread() const { return running_; }
  Thread &thread() { return *running_; }
  Warp &warp() { return warps_[running_->index / 32]; }
  NamedBarrier &named_barrier(int index) { return named_barriers_[index]; }
  Warpgroup &warpgroup() { return warpgroups_[running_->index / 128]; }
  std::vector<Warpgroup> &warpgroups() { return warpgroups_; }

  // Shared memory.
  char *pointer(uint32_t address) { return shared_ + static_cast<int32_t>(address); }
  uint32_t address(const void *pointer) const { return static_cast<uint32_t>(static_cast<const char *>(pointer) - shared_); }
  void write(uint32_t address, int bytes);      // by the running thread, with ordinary instructions
  void publish();                               // by the running thread
  void overwrite(uint32_t address, int bytes);  // by a tensor copy
  void require_published(uint32_t address, int bytes, const char *reader) const;

  Cluster &cluster() { return cluster_; }
  int rank() const { return rank_; }
  Index block() const { return block_; }
  bool waited_for_previous = false;  // any thread of it
  int registers_asked[8] = {};       // by warpgroup, 0: as launched

 private:
  bool is_static(uint32_t address) const;
  static void begin(void *thread);
  void resume(Thread &thread);
  bool run_warp(unsigned warp);

  Cluster &cluster_;
  const int rank_;
  const Index block_;
  char *const shared_;
  const uint32_t shared_bytes_;
  unsigned alive_;
  Thread *running_ = nullptr;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<Warpgroup> warpgroups_;
  NamedBarrier named_barriers_[16];
  std::vector<uint16_t>
      writer_;  // by line of 16 bytes of dynamic shared memory: the thread whose ordinary write is not published, plus one
};

}  // namespace lamina::cuda_emulator
