// The backward's second half on Hopper: from the gradients of a and b to those of pair and of the front's weights.
//
// Both kernels compute the front's sums again.  front_backward keeps all weights in shared memory and turns their sums' gradients, still in
// registers, into the gradient of x; front_weights keeps a quarter of the weights' gradients in registers, two warpgroups one each.
#pragma once
#include "sm90a_backward_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

struct FrontBackwardShared {
  alignas(1024) bfloat16 weights[4][2][128][64];
  alignas(1024) bfloat16 x[backward_workers][2][tile][64];
  alignas(1024) bfloat16 rows[backward_workers][2][tile][64];  // the gradient of x so far, then that of pair
  alignas(1024) bfloat16 gradients[backward_workers][2][64][tile];
  float bias[512];
  Barrier weights_full, x_full[backward_workers], x_free[backward_workers], rows_full[backward_workers], rows_done[backward_workers];
  Barrier gradients_full[backward_workers][2], gradients_free[backward_workers][2];
};

// One thread a worker, in the order in which that needs things.
__device__ inline void serve_front_backward(const FrontBackwardJob &job, FrontBackwardShared &shared, int w, int first, int step) {
  if (w == 0) {
    shared.weights_full.expect(sizeof shared.weights);
    for (int pass = 0; pass < 4; ++pass)
      for (int box = 0; box < 2; ++box) cuda::load_box(job.weights, shared.weights_full, shared.weights[pass][box], box * 64, pass * 128);
  }
  const auto load_rows = [&](const CUtensorMap &map, Barrier &full, bfloat16(&to)[2][tile][64], int t) {
    full.expect(tile * 128 * 2);
    for (int box = 0; box < 2; ++box) cuda::load_box(map, full, to[box], box * 64, t * tile);
  };
  RingIndex<2> slot;
  if (first < job.tiles) load_rows(job.x, shared.x_full[w], shared.x[w], first);
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    for (int pass = 0; pass < 4; ++pass, slot.advance()) {
      shared.gradients_free[w][slot.at].wait(slot.parity ^ 1);
      Barrier &full = shared.gradients_full[w][slot.at];
      full.expect(64 * tile * 2);
      cuda::load_box(job.gradients[pass / 2], full, shared.gradients[w][slot.at], t * tile, pass % 2 * 64);
      if (pass == 0) {
        if (round) cuda::wait_stores_read<0>();
        load_rows(job.x_gradient, shared.rows_full[w], shared.rows[w], t);
      }
      if (pass == 1 && t + step < job.tiles) {
        shared.x_free[w].wait(round & 1);
        load_rows(job.x, shared.x_full[w], shared.x[w], t + step);
      }
    }
    shared.rows_done[w].wait(round & 1);
    for (int box = 0; box < 2; ++box) store_positions(job.out, job.cells, shared.rows[w][box], box * 64, t * tile);
    cuda::commit_stores();
  }
  cuda::wait_stores<0>();
}

__device__ inline void work_front_backward(const FrontBackwardJob &job, FrontBackwardShared &shared, int w, int first, int step) {
  const Lane at;
  RingIndex<2> slot;
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    const int64_t position = static_cast<int64_t>(t) * tile;
    const RowPair half_mask = half_masks(job, position);
    const auto scale_of = [&](int row) { return position + row < job.cells.count ? job.scale[position + row] : 0.0f; };
    const RowPair scale{scale_of(at.row), scale_of(at.row + 8)};
    Rows<128> x;
    shared.x_full[w].wait(round & 1);
    x.load_by_position(shared.x[w]);
    x.release(shared.x_free[w], mixed(scale));
    if (round == 0) shared.weights_full.wait(0);
    float sum[64], dx[64];
    x.multiply(sum, shared.weights[0]);
#pragma unroll
    for (int pass = 0; pass < 4; ++pass, slot.advance()) {
      uint32_t of_sums[8][4];
      shared.gradients_full[w][slot.at].wait(slot.parity);
      cuda::wait_products<0>();
      gate_backward(sum, shared.bias + pass * 128, half_mask, shared.gradients[w][slot.at], of_sums);
      uint32_t read = 0;
#pragma unroll
      for (int k = 0; k < 8; ++k) read ^= of_sums[k][0] ^ of_sums[k][1];
      arrive_behind_loads(shared.gradients_free[w][slot.at], read);
      cuda::begin_products();
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const uint64_t b = cuda::deeper<Lines::along_rows>(cuda::operand(cuda::shared_address(shared.weights[pass]), 16384), k);
        cuda::multiply_by_rows(dx, of_sums[k], b, pass > 0 || k > 0);
      }
      cuda::commit_products();
      if (pass < 3) x.multiply(sum, shared.weights[pass + 1]);
    }
    cuda::wait_products<0>();

    // The output gate's part; then through the LayerNorm.
    shared.rows_full[w].wait(round & 1);
    float slope[2] = {0, 0}, product[2] = {0, 0};
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      uint32_t more[4];
      cuda::load_matrices(more, at.by_position(shared.rows[w][k / 4], k % 4 * 2));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float *d = dx + (2 * k + i / 2) * 4 + i % 2 * 2;
        d[0] += cuda::low_half(more[i]), d[1] += cuda::high_half(more[i]);
        slope[i % 2] += d[0] + d[1];
        product[i % 2] = fmaf(d[0], cuda::low_half(x.a[k][i]), fmaf(d[1], cuda::high_half(x.a[k][i]), product[i % 2]));
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) slope[r] = over_quad(slope[r]) / 128, product[r] = over_quad(product[r]) / 128;
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      uint32_t result[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float *d = dx + (2 * k + i / 2) * 4 + i % 2 * 2;
        const float s = i % 2 ? scale.lower : scale.upper;
        result[i] = cuda::pack(s * (d[0] - slope[i % 2] - cuda::low_half(x.a[k][i]) * product[i % 2]),
                               s * (d[1] - slope[i % 2] - cuda::high_half(x.a[k][i]) * product[i % 2]));
      }
      cuda::store_matrices(at.by_position(shared.rows[w][k / 4], k % 4 * 2), result[0], result[1], result[2], result[3]);
    }
    cuda::publish_shared();
    __syncwarp();
    if (at.lane == 0) shared.rows_done[w].arrive();
  }
}

__device__ inline void front_backward(const FrontBackwardJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  FrontBackwardShared &shared = *reinterpret_cast<FrontBackwardShared *>(dynamic);
  static_assert(sizeof(FrontBackwardShared) <= front_backward_shape.shared_bytes);
  if (threadIdx.x == 0) {
    shared.weights_full.init(1);
    for (int w = 0; w < backward_workers; ++w) {
      shared.x_full[w].init(1), shared.x_free[w].init(4), shared.rows_full[w].init(1), shared.rows_done[w].init(4);
      for (int slot = 0; slot < 2; ++slot) shared.gradients_full[w][slot].init(1), shared.gradients_free[w][slot].init(4);
    }
    cuda::publish_barriers();
  }
  for (int row = threadIdx.x; row < 512; row += blockDim.x) shared.bias[row] = job.bias[row];
  __syncthreads();
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4, step = gridDim.x * backward_workers;
  if (group < backward_workers) {
    cuda::raise_registers<232>();
    work_front_backward(job, shared, group, blockIdx.x + group * gridDim.x, step);
  } else {
    cuda::lower_registers<40>();
    if (warp < backward_workers && threadIdx.x % 32 == 0) serve_front_backward(job, shared, warp, blockIdx.x + warp * gridDim.x, step);
  }
}

struct FrontWeightsShared {
  alignas(1024) bfloat16 weights[2][128][64];
  alignas(1024) bfloat16 x[backward_workers][2][2][tile][64];
  alignas(1024) bfloat16 gradients[backward_workers][2][64][tile];
  alignas(1024) bfloat16 of_sums[backward_workers][2][tile][64];  // [position][packed row]
  alignas(1024) bfloat16 ones[8][64];
  float bias[128];
  Barrier weights_full, full[backward_workers][2], free[backward_workers][2];
};

__device__ inline void serve_front_weights(const FrontWeightsJob &job, FrontWeightsShared &shared, int w, int quarter, int first,
                                           int step) {
  if (w == 0) {
    shared.weights_full.expect(sizeof shared.weights);
    for (int box = 0; box < 2; ++box) cuda::load_box(job.weights, shared.weights_full, shared.weights[box], box * 64, quarter * 128);
  }
  RingIndex<2> slot;
  for (int t = first; t < job.tiles; t += step, slot.advance()) {
    shared.free[w][slot.at].wait(slot.parity ^ 1);
    Barrier &full = shared.full[w][slot.at];
    full.expect(tile * (128 + 64) * 2);
    for (int box = 0; box < 2; ++box) cuda::load_box(job.x, full, shared.x[w][slot.at][box], box * 64, t * tile);
    cuda::load_box(job.gradients[quarter / 2], full, shared.gradients[w][slot.at], t * tile, quarter % 2 * 64);
  }
}

__device__ inline void meet_group(int group) { asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory"); }

__device__ inline void work_front_weights(const FrontWeightsJob &job, FrontWeightsShared &shared, int w, int quarter, int first, int step) {
  const Lane at;
  float upper[64], lower[64], upper_sums[4], lower_sums[4];  // of packed rows 0..63 and 64..127
#pragma unroll
  for (int i = 0; i < 64; ++i) upper[i] = 0, lower[i] = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) upper_sums[i] = 0, lower_sums[i] = 0;
  RingIndex<2> slot;
  shared.weights_full.wait(0);
#pragma unroll 1
  for (int t = first; t < job.tiles; t += step, slot.advance()) {
    const RowPair half_mask = half_masks(job, static_cast<int64_t>(t) * tile);
    const bfloat16(&x)[2][tile][64] = shared.x[w][slot.at];
    shared.full[w][slot.at].wait(slot.parity);
    uint32_t of_sums[8][4];
    {
      float sum[64];
      cuda::begin_products();
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const uint64_t a = cuda::deeper<Lines::along_k>(cuda::operand(cuda::shared_address(x[k / 4])), k % 4);
        const uint64_t b = cuda::deeper<Lines::along_k>(cuda::operand(cuda::shared_address(shared.weights[k / 4])), k % 4);
        cuda::multiply_mixed<Lines::along_k, Lines::along_k>(sum, a, b, k > 0);
      }
      cuda::commit_products();
      cuda::wait_products<0>();
      gate_backward(sum, shared.bias, half_mask, shared.gradients[w][slot.at], of_sums);
    }
#pragma unroll
    for (int k = 0; k < 8; ++k)
      cuda::store_matrices(at.by_position(shared.of_sums[w][k / 4], k % 4 * 2), of_sums[k][0], of_sums[k][1], of_sums[k][2], of_sums[k][3]);
    cuda::publish_shared();
    meet_group(w);
    cuda::begin_products();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const uint64_t b = cuda::deeper<Lines::along_rows>(cuda::operand(cuda::shared_address(x), 8192), k);
      const uint64_t one = cuda::deeper<Lines::along_k>(cuda::operand(cuda::shared_address(shared.ones)), k);
      const uint64_t first_rows = cuda::deeper<Lines::along_rows>(cuda::operand(cuda::shared_address(shared.of_sums[w][0]), 8192), k);
      const uint64_t more_rows = cuda::deeper<Lines::along_rows>(cuda::operand(cuda::shared_address(shared.of_sums[w][1]), 8192), k);
      cuda::multiply_mixed<Lines::along_rows, Lines::along_rows>(upper, first_rows, b, true);
      cuda::multiply_mixed<Lines::along_rows, Lines::along_rows>(lower, more_rows, b, true);
      cuda::multiply_mixed<Lines::along_rows, Lines::along_k>(upper_sums, first_rows, one, true);
      cuda::multiply_mixed<Lines::along_rows, Lines::along_k>(lower_sums, more_rows, one, true);
    }
    cuda::commit_products();
    cuda::wait_products<0>();
    meet_group(w);  // all four warps' products and loads are done
    if (threadIdx.x % 128 == 0) shared.free[w][slot.at].arrive();
  }
  float *to = job.sums + (static_cast<int64_t>(blockIdx.x / 4 * backward_workers + w) * 4 + quarter) * sums_of_128;
  write_sums(upper, to, job.add), write_sums(lower, to + 64 * 128, job.add);
  write_row_sums(upper_sums, to + 128 * 128, job.add), write_row_sums(lower_sums, to + 128 * 128 + 64, job.add);
}

__device__ inline void front_weights(const FrontWeightsJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  FrontWeightsShared &shared = *reinterpret_cast<FrontWeightsShared *>(dynamic);
  static_assert(sizeof(FrontWeightsShared) <= front_weights_shape.shared_bytes);
  const int quarter = blockIdx.x % 4, ctas = gridDim.x / 4, first = blockIdx.x / 4, step = ctas * backward_workers;
  if (threadIdx.x == 0) {
    shared.weights_full.init(1);
    for (int w = 0; w < backward_workers; ++w)
      for (int slot = 0; slot < 2; ++slot) shared.full[w][slot].init(1), shared.free[w][slot].init(1);
    cuda::publish_barriers();
  }
  for (int row = threadIdx.x; row < 128; row += blockDim.x) shared.bias[row] = job.bias[quarter * 128 + row];
  for (int one = threadIdx.x; one < 8 * 64; one += blockDim.x) shared.ones[0][one] = __float2bfloat16_rn(1.0f);
  cuda::publish_shared();
  __syncthreads();
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  if (group < backward_workers) {
    cuda::raise_registers<232>();
    work_front_weights(job, shared, group, quarter, first + group * ctas, step);
  } else {
    cuda::lower_registers<40>();
    if (warp < backward_workers && threadIdx.x % 32 == 0) serve_front_weights(job, shared, warp, quarter, first + warp * ctas, step);
  }
}

}  // namespace lamina::triangle_multiplication::hopper
