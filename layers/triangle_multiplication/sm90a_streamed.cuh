// Weights that do not fit shared memory, streamed through it (steps 1 and 3 on Hopper for wide layers).
//
// Two CTAs form a cluster.  Each works on tiles of 128 positions, a worker warpgroup on 64 of them; the weights' rows of one pass after the
// other come 64 channels at a time through a ring of stages, each CTA bringing half of a stage to both.  Both CTAs of a cluster walk over
// equally many tiles; a tile beyond the last one reads zeros and writes nothing.
#pragma once
#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/wgmma_product.cuh"
#include "sm90a_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

using cuda::Lines;

// The tiles of 128 positions that a CTA takes: `index`, index + step, ... below total, which both CTAs of a cluster see alike.
struct StreamedWalk {
  int index, step, total;
  int split;  // which part of the passes
  __device__ StreamedWalk(int tiles, int splits) {
    constexpr int together = streamed_together;
    const int cluster = blockIdx.x / together, clusters = gridDim.x / together, wide = (tiles + streamed_workers - 1) / streamed_workers;
    split = cluster % splits;
    index = cluster / splits * together + blockIdx.x % together;
    step = clusters / splits * together;
    total = (wide + together - 1) / together * together;
  }
  __device__ int tile_of(int worker) const { return index * streamed_workers + worker; }
  __device__ bool more() const { return index < total; }
  __device__ void advance() { index += step; }
};

// The thread that fills the ring.
template <class Shared>
class WeightFeed {
 public:
  __device__ explicit WeightFeed(Shared &shared) : shared_(shared), rank_(cuda::cluster_rank()) {}

  // 64 channels from `channel` on of all rows of a stage from `row` on, of a map whose boxes are this CTA's share of them.  A stage is free
  // when the workers of both CTAs have read theirs, so the twin's is free too; its barrier counts the bytes of both halves.
  __device__ void bring(const CUtensorMap &map, int channel, int row) {
    constexpr int rows = sizeof shared_.weights[0] / (64 * 2), share = rows / streamed_together;
    shared_.weights_free[stage_.at].wait(stage_.parity ^ 1);
    shared_.weights_full[stage_.at].expect(sizeof shared_.weights[0]);
    cuda::load_box_for_all(map, shared_.weights_full[stage_.at], shared_.weights[stage_.at][rank_ * share], channel, row + rank_ * share, 0,
                           (1 << streamed_together) - 1);
    stage_.advance();
  }

 private:
  Shared &shared_;
  const int rank_;
  RingIndex<Shared::stages> stage_;
};

// A worker's products with stage after stage.
template <class Shared>
class StreamedProducts {
  using T = typename Shared::Element;

 public:
  __device__ explicit StreamedProducts(Shared &shared) : shared_(shared) {}

  // sum (+)= 64 positions x 64 channels in `box` times the next stage.  Asynchronous.
  template <Lines lines, int sums>
  __device__ void add(float (&sum)[sums], const void *box, bool first) {
    shared_.weights_full[stage_.at].wait(stage_.parity);
    const uint64_t a = cuda::operand(cuda::shared_address(box), 8192), b = cuda::operand(cuda::shared_address(shared_.weights[stage_.at]));
    cuda::begin_products();
#pragma unroll
    for (int k = 0; k < 4; ++k)
      cuda::product<T, lines, Lines::along_k>(sum, cuda::deeper<lines>(a, k), cuda::deeper<Lines::along_k>(b, k), !first || k > 0);
    cuda::commit_products();
    stage_.advance();
  }
  // Waits for all products but the last `pending` (0 or 1), and hands the stage of the youngest one that is done back to both CTAs.
  template <int pending>
  __device__ void finish() {
    cuda::wait_products<pending>();
    if (threadIdx.x % 128 == 0)
      for (int rank = 0; rank < streamed_together; ++rank)
        cuda::arrive_at(shared_.weights_free[(stage_.at + 2 * Shared::stages - 1 - pending) % Shared::stages], rank);
  }

 private:
  Shared &shared_;
  RingIndex<Shared::stages> stage_;
};

template <class Shared>
__device__ void init_ring(Shared &shared) {
  for (Barrier &barrier : shared.weights_full) barrier.init(1);
  for (Barrier &barrier : shared.weights_free) barrier.init(streamed_workers * streamed_together);
}

}  // namespace lamina::triangle_multiplication::hopper
