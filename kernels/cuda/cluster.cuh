// Clusters: CTAs of one launch that run together and reach each other's shared memory (sm_90).
//
// All CTAs of a cluster have the same layout of shared memory, so an address names the same thing in each of them.
#pragma once
#include "tensor_copy.cuh"

namespace lamina::cuda {

__device__ inline int cluster_rank() {
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
}

// All threads of all CTAs of the cluster meet; what they wrote to shared memory before, barriers included, is seen by all after.
__device__ inline void meet_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// The address of `pointer`'s twin in the shared memory of CTA `rank`.
__device__ inline uint32_t address_at(const void *pointer, int rank) {
  uint32_t address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared_address(pointer)), "r"(rank));
  return address;
}

// Into the twin of `to` in CTA `rank`, which sees it after the next meet_cluster.
__device__ inline void store_at(float *to, int rank, float value) {
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(address_at(to, rank)), "f"(value) : "memory");
}

// Arrives at the twin of `barrier` in CTA `rank`, which may be the caller's own.
__device__ inline void arrive_at(Barrier &barrier, int rank) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(address_at(&barrier, rank)) : "memory");
}

// In each of the first `together` CTAs; 1 where there is no cluster.
template <int together>
__device__ void arrive_at_all(Barrier &barrier) {
  if constexpr (together == 1) barrier.arrive();
  else
    for (int rank = 0; rank < together; ++rank) arrive_at(barrier, rank);
}

// One box into the same place of each CTA in `ranks`, a bit mask; each one's own `full` learns of the bytes.
__device__ inline void load_box_for_all(const CUtensorMap &map, Barrier &full, void *to, int x, int y, uint16_t ranks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%3, %4}], [%2], %5;" ::
          "r"(shared_address(to)),
      "l"(&map), "r"(full.address()), "r"(x), "r"(y), "h"(ranks)
      : "memory");
}
__device__ inline void load_box_for_all(const CUtensorMap &map, Barrier &full, void *to, int x, int y, int z, uint16_t ranks) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%3, %4, %5}], [%2], "
      "%6;" ::"r"(shared_address(to)),
      "l"(&map), "r"(full.address()), "r"(x), "r"(y), "r"(z), "h"(ranks)
      : "memory");
}

}  // namespace lamina::cuda
