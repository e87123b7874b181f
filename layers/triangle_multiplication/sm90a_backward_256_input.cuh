// At 256 channels: from the gradients of all sums that pair feeds to that of pair: one product of depth 1280, then the LayerNorm's gradient.
//
// The contraction's pipeline, 128 positions by all 256 channels a tile, so that a warpgroup has whole rows.  A tile of pair comes to where
// its gradient leaves from, by a thread a warpgroup.
#pragma once
#include "sm90a_backward_256_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

constexpr int input_256_stages = 3, input_256_chunks = 5 * wide / 64;
template <class T>
struct Input256Shared {
  alignas(1024) T gradients[input_256_stages][2][64][tile];      // of positions 0..63 and 64..127: [plane][position]
  alignas(1024) T weights[input_256_stages][wide / 64][64][64];  // [channels / 64][row][64]
  alignas(1024) T pair[2][wide / 64][tile][64];
  Barrier full[input_256_stages], free[input_256_stages];
  Barrier pair_full[2], staged_full[2];
};

// The rows of the packed, folded weights that belong to 64 planes of the five slots.
template <class T>
__device__ void load_input_weights(const Input256Job &job, Barrier &full, T (&to)[wide / 64][64][64], int chunk) {
  const int slot = chunk / 4, within = chunk % 4;
  for (int box = 0; box < wide / 64; ++box) {
    if (slot == 4) {
      cuda::load_box(job.gate, full, to[box], box * 64, within * 64);
    } else {  // eight groups, of eight rows each
      const bool projections = slot == 1 || slot == 3, of_b = slot == 1 || slot == 2;
      cuda::load_box(projections ? job.projections : job.gates, full, to[box], box * 64, 0, (of_b ? wide / 8 : 0) + within * 8);
    }
  }
}

template <class T>
__device__ void serve_input_256(const Input256Job &job, Input256Shared<T> &shared) {
  RingIndex<input_256_stages> stage;
  for (int t = blockIdx.x; t < job.tiles; t += gridDim.x)
    for (int chunk = 0; chunk < input_256_chunks; ++chunk, stage.advance()) {
      shared.free[stage.at].wait(stage.parity ^ 1);
      Barrier &full = shared.full[stage.at];
      full.expect((2 * tile + wide) * 64 * 2);
      for (int half = 0; half < 2; ++half)
        cuda::load_box(job.planes, full, shared.gradients[stage.at][half], (2 * t + half) * tile, chunk * 64);
      load_input_weights(job, full, shared.weights[stage.at], chunk);
    }
}

template <class T>
__device__ void serve_pair_256(const Input256Job &job, Input256Shared<T> &shared, int group) {
  Walk at(job.cells, (2 * static_cast<int>(blockIdx.x) + group) * tile, 2 * static_cast<int>(gridDim.x) * tile);
  for (int t = blockIdx.x, round = 0; t < job.tiles; t += gridDim.x, ++round, at.advance()) {
    shared.pair_full[group].expect(tile * wide * 2);
    for (int box = 0; box < wide / 64; ++box)
      load_positions(job.pair, job.cells, shared.pair_full[group], shared.pair[group][box], box * 64, at);
    shared.staged_full[group].wait(round & 1);
    for (int box = 0; box < wide / 64; ++box) store_positions(job.out, job.cells, shared.pair[group][box], box * 64, at);
    cuda::commit_stores();
    cuda::wait_stores_read<0>();
  }
  cuda::wait_stores<0>();
}

template <class T>
__device__ void work_input_256(const Input256Job &job, Input256Shared<T> &shared, int group) {
  const Lane lane;
  RingIndex<input_256_stages> stage;
  int before = 0;
  for (int t = blockIdx.x, round = 0; t < job.tiles; t += gridDim.x, ++round) {
    float sum[128];
    for (int chunk = 0; chunk < input_256_chunks; ++chunk, stage.advance()) {
      shared.full[stage.at].wait(stage.parity);
      const uint64_t a = cuda::operand(cuda::shared_address(shared.gradients[stage.at][group]), 8192);
      const uint64_t b = cuda::operand(cuda::shared_address(shared.weights[stage.at]), 8192);
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
    shared.pair_full[group].wait(round & 1);
    const auto address = [&](int k) { return lane.by_position(shared.pair[group][k / 4], k % 4 * 2); };
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
  if (threadIdx.x == 0) {
    for (Barrier &barrier : shared.full) barrier.init(1);
    for (Barrier &barrier : shared.free) barrier.init(8);
    for (int half = 0; half < 2; ++half) shared.pair_full[half].init(1), shared.staged_full[half].init(4);
    cuda::publish_barriers();
  }
  cuda::wait_for_previous_kernel();
  if (threadIdx.x == 0) cuda::allow_next_kernel();
  __syncthreads();
  if (group == 2) {
    cuda::lower_registers<40>();
    if (threadIdx.x % 32 == 0) {
      if (warp == 0) serve_input_256(job, shared);
      else if (warp < 3) serve_pair_256(job, shared, warp - 1);
    }
  } else {
    cuda::raise_registers<232>();
    work_input_256(job, shared, group);
  }
}

}  // namespace lamina::triangle_multiplication::hopper
