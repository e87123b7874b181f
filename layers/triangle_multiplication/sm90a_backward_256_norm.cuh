// At 256 channels: from the gradient of the output projection through its weights and the LayerNorm of o to the gradient of o.
//
// All weights stay in shared memory; two worker warpgroups walk over tiles of 64 positions of their own, each with a thread that loads and
// stores for it.  The gradient of o leaves from where o came to.
#pragma once
#include "sm90a_backward_256_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

constexpr int norm_256_chunks = wide / 64;  // of the depth
template <class T>
struct Norm256Shared {
  alignas(1024) T weights[wide / 64][wide][64];              // [columns of o / 64][rows: channels of the projection][64]
  alignas(1024) T o[backward_workers][wide][tile];           // [channel][position]
  alignas(1024) T gradients[backward_workers][2][64][tile];  // [channel of the projection][position]
  Barrier weights_full;
  Barrier o_full[backward_workers], staged_full[backward_workers];
  Barrier gradients_full[backward_workers][2], gradients_free[backward_workers][2];
};

template <class T>
__device__ void serve_norm_256(const Norm256Job &job, Norm256Shared<T> &shared, int w, int first, int step) {
  RingIndex<2> slot;
  const auto load_chunks = [&](int t, int from, int to) {
    for (int chunk = from; chunk < to; ++chunk, slot.advance()) {
      shared.gradients_free[w][slot.at].wait(slot.parity ^ 1);
      Barrier &full = shared.gradients_full[w][slot.at];
      full.expect(64 * tile * 2);
      cuda::load_box(job.gradients, full, shared.gradients[w][slot.at], t * tile, chunk * 64);
    }
  };
  const auto load_o = [&](int t) {
    shared.o_full[w].expect(wide * tile * 2);
    cuda::load_box(job.o, shared.o_full[w], shared.o[w], t * tile, 0);
  };
  if (first < job.tiles) load_chunks(first, 0, 2), load_o(first);
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    const bool more = t + step < job.tiles;
    load_chunks(t, 2, norm_256_chunks);
    if (more) load_chunks(t + step, 0, 2);  // while the norm of this tile is computed
    shared.staged_full[w].wait(round & 1);
    cuda::store_box(job.o_gradient, shared.o[w], t * tile, 0);
    cuda::commit_stores();
    cuda::wait_stores_read<0>();
    if (more) load_o(t + step);
  }
  cuda::wait_stores<0>();
}

template <class T>
__device__ void work_norm_256(const Norm256Job &job, Norm256Shared<T> &shared, int w, int first, int step) {
  const Lane lane;
  RingIndex<2> slot;
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    if (round == 0) shared.weights_full.wait(0);
    float sum[128];
#pragma unroll
    for (int chunk = 0; chunk < norm_256_chunks; ++chunk) {
      shared.gradients_full[w][slot.at].wait(slot.parity);
      const uint64_t a = cuda::operand(cuda::shared_address(shared.gradients[w][slot.at]), 8192);
      const uint64_t b = cuda::operand(cuda::shared_address(shared.weights), wide * cuda::line_bytes);
      cuda::begin_products();
#pragma unroll
      for (int k = 0; k < 4; ++k)
        cuda::multiply<Lines::along_rows, T>(sum, cuda::deeper<Lines::along_rows>(a, k), cuda::deeper<Lines::along_rows>(b, chunk * 4 + k),
                                             chunk > 0 || k > 0);
      cuda::commit_products();
      if (chunk > 0) {  // the products of the chunk before are done, in this warp: hand its slot back
        cuda::wait_products<1>();
        if (lane.lane == 0) shared.gradients_free[w][slot.at ^ 1].arrive();
      }
      slot.advance();
    }
    cuda::wait_products<0>();
    if (lane.lane == 0) shared.gradients_free[w][slot.at ^ 1].arrive();
    shared.o_full[w].wait(round & 1);
    through_norm_256<T>(
        sum, job.eps, [&](int k, uint32_t(&x)[4]) { cuda::load_matrices_transposed(x, lane.by_channel(shared.o[w], k * 16)); },
        [&](int k, const uint32_t(&x)[4]) {
          cuda::store_matrices_transposed(lane.by_channel(shared.o[w], k * 16), x[0], x[1], x[2], x[3]);
        });
    cuda::publish_shared();
    __syncwarp();
    if (lane.lane == 0) shared.staged_full[w].arrive();
  }
}

template <class T>
__device__ void norm_256(const Norm256Job &job) {
  extern __shared__ __align__(1024) char dynamic[];
  Norm256Shared<T> &shared = *reinterpret_cast<Norm256Shared<T> *>(dynamic);
  static_assert(sizeof(Norm256Shared<T>) <= norm_256_shape.shared_bytes && cuda::registers_fit(backward_workers, 232, 40));
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4, step = gridDim.x * backward_workers;
  if (threadIdx.x == 0) {
    shared.weights_full.init(1);
    for (int w = 0; w < backward_workers; ++w) {
      shared.o_full[w].init(1), shared.staged_full[w].init(4);
      for (int slot = 0; slot < 2; ++slot) shared.gradients_full[w][slot].init(1), shared.gradients_free[w][slot].init(4);
    }
    cuda::publish_barriers();
    // The packed weights are older than the kernel before this one: all between them wait before they let the next one start.
    shared.weights_full.expect(wide * wide * 2);
    for (int box = 0; box < wide / 64; ++box) cuda::load_box(job.weights, shared.weights_full, shared.weights[box], box * 64, 0);
  }
  cuda::wait_for_previous_kernel();
  if (threadIdx.x == 0) cuda::allow_next_kernel();
  __syncthreads();
  const int w = group < backward_workers ? group : warp, first = blockIdx.x + w * gridDim.x;
  if (group < backward_workers) {
    cuda::raise_registers<232>();
    work_norm_256(job, shared, w, first, step);
  } else {
    cuda::lower_registers<40>();
    if (warp < backward_workers && threadIdx.x % 32 == 0) serve_norm_256(job, shared, w, first, step);
  }
}

}  // namespace lamina::triangle_multiplication::hopper
