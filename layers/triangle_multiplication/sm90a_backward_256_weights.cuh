// At 256 channels: gradients of weights, sums over positions of 128 planes times a tensor of 256 channels, and of what the tensor's norm
// adds.  The contraction's pipeline; a CTA keeps its sums for good and writes them once.  Parts take turns with the chunks, so that what
// neighbouring CTAs read at a time lies side by side in each plane.
#pragma once
#include "sm90a_backward_256_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

constexpr int weights_256_stages = 4;
template <class T>
struct Weights256Shared {
  alignas(1024) T rows[weights_256_stages][128][64];
  alignas(1024) T columns[weights_256_stages][wide * 64];  // boxes [64 positions][64 channels] of pair; [256 channels][64 positions] of o
  alignas(1024) T factors[weights_256_stages][8][64];      // the last four lines are zeros
  Barrier full[weights_256_stages], free[weights_256_stages];
};

template <class T, bool of_pair>
__device__ void serve_weights_256(const Weights256Job &job, Weights256Shared<T> &shared, int block, int first) {
  RingIndex<weights_256_stages> stage;
  Walk at(job.cells, first * tile, job.parts * tile);
  for (int chunk = first; chunk < job.chunks; chunk += job.parts, stage.advance(), at.advance()) {
    shared.free[stage.at].wait(stage.parity ^ 1);
    Barrier &full = shared.full[stage.at];
    full.expect((128 + wide + 8) * 64 * 2);
    cuda::load_box(job.rows, full, shared.rows[stage.at], chunk * tile, block * 128);
    if constexpr (of_pair) {
      for (int box = 0; box < wide / 64; ++box)
        load_positions(job.pair, job.cells, full, shared.columns[stage.at] + box * tile * 64, box * 64, at);
    } else {
      cuda::load_box(job.columns, full, shared.columns[stage.at], chunk * tile, 0);
    }
    cuda::load_box(job.factors, full, shared.factors[stage.at], chunk * tile, 0);
  }
}

template <class T, bool of_pair>
__device__ void work_weights_256(const Weights256Job &job, Weights256Shared<T> &shared, int group, int first) {
  constexpr Lines lines = of_pair ? Lines::along_rows : Lines::along_k;
  const Lane lane;
  RingIndex<weights_256_stages> stage;
  float sum[128], factor[4];  // every part has a chunk at least
  int before = 0;
  for (int chunk = first; chunk < job.chunks; chunk += job.parts, stage.advance()) {
    shared.full[stage.at].wait(stage.parity);
    const uint64_t a = cuda::operand(cuda::shared_address(shared.rows[stage.at][group * 64]));
    const uint64_t b = cuda::operand(cuda::shared_address(shared.columns[stage.at]), 8192);
    const uint64_t f = cuda::operand(cuda::shared_address(shared.factors[stage.at]));
    cuda::begin_products();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      cuda::multiply_mixed<Lines::along_k, lines, T>(sum, cuda::deeper<Lines::along_k>(a, k), cuda::deeper<lines>(b, k),
                                                     chunk > first || k > 0);
      cuda::multiply_mixed<Lines::along_k, Lines::along_k, T>(factor, cuda::deeper<Lines::along_k>(a, k),
                                                              cuda::deeper<Lines::along_k>(f, k), chunk > first || k > 0);
    }
    cuda::commit_products();
    if (chunk > first) {  // the products of the stage before are done, in this warp: hand it back
      cuda::wait_products<1>();
      if (lane.lane == 0) shared.free[before].arrive();
    }
    before = stage.at;
  }
  cuda::wait_products<0>();
  float *to_sums = job.sums + static_cast<int64_t>(blockIdx.x) * sums_of(wide);
  write_scaled_sums(sum, factor, to_sums + group * 64 * wide, to_sums + 128 * wide + group * 64, job.add);
}

template <class T, bool of_pair>
__device__ void weights_256(const Weights256Job &job) {
  extern __shared__ __align__(1024) char dynamic[];
  Weights256Shared<T> &shared = *reinterpret_cast<Weights256Shared<T> *>(dynamic);
  static_assert(sizeof(Weights256Shared<T>) <= weights_256_shape.shared_bytes && cuda::registers_fit(2, 232, 40));
  const int group = threadIdx.x / 128, part = blockIdx.x / job.blocks, block = blockIdx.x % job.blocks;
  if (threadIdx.x == 0) {
    for (Barrier &barrier : shared.full) barrier.init(1);
    for (Barrier &barrier : shared.free) barrier.init(8);
    cuda::publish_barriers();
  }
  cuda::wait_for_previous_kernel();
  if (threadIdx.x == 0) cuda::allow_next_kernel();
  __syncthreads();
  if (group == 2) {
    cuda::lower_registers<40>();
    if (threadIdx.x % 128 == 0) serve_weights_256<T, of_pair>(job, shared, block, part);
  } else {
    cuda::raise_registers<232>();
    work_weights_256<T, of_pair>(job, shared, group, part);
  }
}

}  // namespace lamina::triangle_multiplication::hopper
