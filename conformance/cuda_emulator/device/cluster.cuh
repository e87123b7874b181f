// Stands in for kernels/cuda/cluster.cuh.
#pragma once
#include "tensor_copy.cuh"

namespace lamina::cuda {

inline int cluster_rank() { return cuda_emulator::cluster_rank(); }
inline void meet_cluster() { cuda_emulator::meet_cluster(); }
inline void arrive_at(Barrier &barrier, int rank) { cuda_emulator::barrier_arrive(&barrier, rank); }
template <int together>
void arrive_at_all(Barrier &barrier) {
  if constexpr (together == 1) barrier.arrive();
  else
    for (int rank = 0; rank < together; ++rank) arrive_at(barrier, rank);
}
inline void load_box_for_all(const CUtensorMap &map, Barrier &full, void *to, int x, int y, uint16_t ranks) {
  cuda_emulator::load_box(&map, &full, to, {x, y, 0}, 2, ranks);
}
inline void load_box_for_all(const CUtensorMap &map, Barrier &full, void *to, int x, int y, int z, uint16_t ranks) {
  cuda_emulator::load_box(&map, &full, to, {x, y, z}, 3, ranks);
}

}  // namespace lamina::cuda
