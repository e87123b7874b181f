// At 256 channels: from the gradients of all sums that pair feeds to that of pair: one product of depth 1280, then the LayerNorm's gradient.
//
// The contraction's pipeline, 128 positions by all 256 channels a tile, so that a warpgroup has whole rows.  Two CTAs form a cluster: each
// brings half of the weights to both, which is half of what the products ask L2 for otherwise.  Pair's tile comes through the same ring of
// stages, behind the last weights, and its gradient leaves from there; so the ring is as deep as shared memory is large, and the next tile's
// operands come while the LayerNorm's gradient is computed.
#pragma once
#include "kernels/cuda/cluster.cuh"
#include "sm90a_backward_256_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

constexpr int input_256_stages = 4, input_256_chunks = 5 * wide / 64, input_256_together = 2;
template <class T>
struct alignas(1024) Input256Stage {
  T gradients[2][64][tile];      // of positions 0..63 and 64..127: [plane][position]
  T weights[wide / 64][64][64];  // [channels / 64][row][64]
  // Instead, one warpgroup's rows of pair, then of its gradient: [channels / 64][position][64].
  __device__ void *pair(int box) { return reinterpret_cast<char *>(this) + box * tile * cuda::line_bytes; }
};
template <class T>
struct Input256Shared {
  Input256Stage<T> stages[input_256_stages];
  // twin_free: the other CTA's stage may be filled, said by the thread that fills it.
  Barrier full[input_256_stages], free[input_256_stages], twin_free[input_256_stages], staged_full[2];
};
// Both CTAs of a cluster take as many tiles; one beyond the last reads zeros and writes nothing.
__device__ inline int input_256_tiles(const Input256Job &job) {
  return (job.tiles + input_256_together - 1) / input_256_together * input_256_together;
}

// This CTA's half of the rows of the packed, folded weights that belong to 64 planes of the five slots, to both CTAs.
template <class T>
__device__ void load_input_weights(const Input256Job &job, Barrier &full, T (&to)[wide / 64][64][64], int chunk) {
  constexpr uint16_t all = (1 << input_256_together) - 1;
  constexpr int share = wide / 64 / input_256_together;
  const int slot = chunk / 4, within = chunk % 4, first = cuda::cluster_rank() * share;
  for (int box = first; box < first + share; ++box) {
    if (slot == 4) {
      cuda::load_box_for_all(job.gate, full, to[box], box * 64, within * 64, all);
    } else {  // eight groups, of eight rows each
      const bool projections = slot == 1 || slot == 3, of_b = slot == 1 || slot == 2;
      cuda::load_box_for_all(projections ? job.projections : job.gates, full, to[box], box * 64, 0, (of_b ? wide / 8 : 0) + within * 8,
                             all);
    }
  }
}

template <class T>
__device__ void serve_input_256(const Input256Job &job, Input256Shared<T> &shared) {
  const int twin = cuda::cluster_rank() ^ 1, tiles = input_256_tiles(job);
  RingIndex<input_256_stages> stage;
  Walk at(job.cells, 2 * static_cast<int>(blockIdx.x) * tile, 2 * static_cast<int>(gridDim.x) * tile);
  for (int t = blockIdx.x; t < tiles; t += gridDim.x, at.advance())
    for (int chunk = 0; chunk < input_256_chunks + 2; ++chunk, stage.advance()) {
      Barrier &full = shared.full[stage.at];
      Input256Stage<T> &to = shared.stages[stage.at];
      shared.free[stage.at].wait(stage.parity ^ 1);
      cuda::arrive_at(shared.twin_free[stage.at], twin);
      if (chunk < input_256_chunks) {
        full.expect(sizeof to);
        for (int half = 0; half < 2; ++half) cuda::load_box(job.planes, full, to.gradients[half], (2 * t + half) * tile, chunk * 64);
      } else {
        Walk of_group = at;
        of_group.move((chunk - input_256_chunks) * tile);
        full.expect(tile * wide * 2);
        for (int box = 0; box < wide / 64; ++box) load_positions(job.pair, job.cells, full, to.pair(box), box * 64, of_group);
      }
      // Waited for in any case, so that neither CTA is a round ahead.
      shared.twin_free[stage.at].wait(stage.parity);
      if (chunk < input_256_chunks) load_input_weights(job, full, to.weights, chunk);
    }
}

// Stores a warpgroup's rows, and then frees their stage in place of its four warps.
template <class T>
__device__ void store_input_256(const Input256Job &job, Input256Shared<T> &shared, int group) {
  const int tiles = input_256_tiles(job);
  RingIndex<input_256_stages> stage;
  stage.advance(input_256_chunks + group);
  Walk at(job.cells, (2 * static_cast<int>(blockIdx.x) + group) * tile, 2 * static_cast<int>(gridDim.x) * tile);
  for (int t = blockIdx.x, round = 0; t < tiles; t += gridDim.x, ++round, at.advance(), stage.advance(input_256_chunks + 2)) {
    shared.staged_full[group].wait(round & 1);
    for (int box = 0; box < wide / 64; ++box) store_positions(job.out, job.cells, shared.stages[stage.at].pair(box), box * 64, at);
    cuda::commit_stores();
    cuda::wait_stores_read<0>();
    for (int warp = 0; warp < 4; ++warp) shared.free[stage.at].arrive();
  }
  cuda::wait_stores<0>();
}

template <class T>
__device__ void work_input_256(const Input256Job &job, Input256Shared<T> &shared, int group) {
  const Lane lane;
  const int tiles = input_256_tiles(job);
  RingIndex<input_256_stages> stage;
  int before = 0;
  for (int t = blockIdx.x; t < tiles; t += gridDim.x) {
    float sum[128];
    for (int chunk = 0; chunk < input_256_chunks; ++chunk, stage.advance()) {
      shared.full[stage.at].wait(stage.parity);
      const uint64_t a = cuda::operand(cuda::shared_address(shared.stages[stage.at].gradients[group]), 8192);
      const uint64_t b = cuda::operand(cuda::shared_address(shared.stages[stage.at].weights), 8192);
      cuda::begin_products();
#pragma unroll
      for (int k = 0; k < 4; ++k)
        cuda::multiply<Lines::along_rows, T>(sum, cuda::deeper<Lines::along_rows>(a, k), cuda::deeper<Lines::along_rows>(b, k),
                                             chunk > 0 || k > 0);
      cuda::commit_products();
      if (chunk > 0) {  // the products of the stage before are done, in this warp: hand it back
        cuda::wait_products<1>();
        if (lane.lane == 0) shared.free[before].arrive();
      }
      before = stage.at;
    }
    cuda::wait_products<0>();
    if (lane.lane == 0) shared.free[before].arrive();
    int own = 0;
#pragma unroll
    for (int of_group = 0; of_group < 2; ++of_group, stage.advance()) {
      shared.full[stage.at].wait(stage.parity);
      if (of_group == group) own = stage.at;
      else if (lane.lane == 0) shared.free[stage.at].arrive();  // it is not this warp's; its owners' part comes from who stores
    }
    const auto address = [&](int k) { return lane.by_position(shared.stages[own].pair(k / 4), k % 4 * 2); };
    through_norm_256<T>(
        sum, job.eps, [&](int k, uint32_t(&x)[4]) { cuda::load_matrices(x, address(k)); },
        [&](int k, const uint32_t(&x)[4]) { cuda::store_matrices(address(k), x[0], x[1], x[2], x[3]); });
    cuda::publish_shared();
    __syncwarp();
    if (lane.lane == 0) shared.staged_full[group].arrive();
  }
}

template <class T>
__device__ void input_256(const Input256Job &job) {
  extern __shared__ __align__(1024) char dynamic[];
  Input256Shared<T> &shared = *reinterpret_cast<Input256Shared<T> *>(dynamic);
  static_assert(sizeof(Input256Shared<T>) <= input_256_shape.shared_bytes && cuda::registers_fit(2, 232, 40));
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  cuda::wait_for_previous_kernel();
  if (threadIdx.x == 0) {
    cuda::allow_next_kernel();
    for (Barrier &barrier : shared.full) barrier.init(1);
    for (Barrier &barrier : shared.free) barrier.init(8);
    for (Barrier &barrier : shared.twin_free) barrier.init(1);
    for (Barrier &barrier : shared.staged_full) barrier.init(4);
    cuda::publish_barriers();
  }
  cuda::meet_cluster();
  if (group == 2) {
    cuda::lower_registers<40>();
    if (threadIdx.x % 32 == 0) {
      if (warp == 0) serve_input_256(job, shared);
      else if (warp < 3) store_input_256(job, shared, warp - 1);
    }
  } else {
    cuda::raise_registers<232>();
    work_input_256(job, shared, group);
  }
  __syncwarp();
  cuda::meet_cluster();  // nobody leaves while the other may still write to its shared memory
}

}  // namespace lamina::triangle_multiplication::hopper
