// What the threads of a warp, a CTA or a cluster do together.
#include <cstring>

#include "conformance/cuda_emulator/cluster.h"
#include "conformance/cuda_emulator/failure.h"

namespace lamina::cuda_emulator {

void gather(uint64_t mine, uint64_t (&all)[32]) {
  Cta &cta = running_cta();
  Warp &warp = cta.warp();
  const unsigned generation = warp.generation;
  warp.given[cta.thread().index % 32] = mine;
  if (++warp.arrived == 32) {
    std::memcpy(warp.taken[generation % 2], warp.given, sizeof warp.given);
    warp.arrived = 0, ++warp.generation;
  } else {
    const auto passed = [](const void *what, uint64_t before) { return static_cast<const Warp *>(what)->generation != before; };
    cta.wait({passed, &warp, generation, "its other lanes, after meeting"});
  }
  std::memcpy(all, warp.taken[generation % 2], sizeof all);
}

void meet(int index, int threads) {
  Cta &cta = running_cta();
  if (index < 0 || index > 15 || threads % 32) fail("bar.sync %d, %d", index, threads);
  NamedBarrier &barrier = cta.named_barrier(index);
  if (barrier.arrived && barrier.threads != threads)
    fail("bar.sync %d of %d threads, while others meet there as %d", index, threads, barrier.threads);
  barrier.threads = threads;
  const unsigned generation = barrier.generation;
  if (++barrier.arrived == threads) {
    barrier.arrived = 0, ++barrier.generation;
    return;
  }
  const auto passed = [](const void *what, uint64_t before) { return static_cast<const NamedBarrier *>(what)->generation != before; };
  cta.wait({passed, &barrier, generation, "bar.sync, of turn"});
}

int cluster_rank() { return running_cta().rank(); }

void meet_cluster() {
  Cta &cta = running_cta();
  const unsigned meeting = cta.cluster().join_meeting();
  const auto passed = [](const void *what, uint64_t mine) { return static_cast<const Cluster *>(what)->meetings() > mine; };
  cta.wait({passed, &cta.cluster(), meeting, "barrier.cluster, of turn"});
}

void set_registers(int count, bool raise) {
  Cta &cta = running_cta();
  int &asked = cta.registers_asked[cta.thread().index / 128];
  if (count % 8 || count < 24 || count > 256) fail("setmaxnreg of %d: not a multiple of 8 from 24 to 256", count);
  if (asked && asked != count) fail("setmaxnreg.%s of %d in a warpgroup that asked for %d", raise ? "inc" : "dec", count, asked);
  asked = count;
  uint64_t all[32];
  gather(0, all);  // .sync.aligned
}

void allow_next_kernel() {}
void wait_for_previous_kernel() { running_cta().waited_for_previous = true; }

}  // namespace lamina::cuda_emulator
