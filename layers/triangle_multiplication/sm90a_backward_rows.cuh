// What the Hopper kernels of the backward have in common.
#pragma once
#include "kernels/cuda/wgmma_mixed.cuh"
#include "sm90a_backward_job.h"
#include "sm90a_front.cuh"
#include "sm90a_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

using cuda::Lines;

// A lane's place among the sums of its warpgroup, and the addresses of 8 x 8 matrices for four of them at a time.
struct Lane {
  int warp, lane, matrix, within, row, column;
  __device__ Lane()
      : warp(threadIdx.x / 32 % 4),
        lane(threadIdx.x % 32),
        matrix(lane / 8),
        within(lane % 8),
        row(warp * 16 + lane / 4),
        column(lane % 4 * 2) {}

  // Column tiles j, which is even, and j + 1 of a box [64 positions][64]: upper and lower rows of the first, then of the second.
  __device__ uint32_t by_position(const void *box, int j) const {
    return cuda::swizzled(cuda::shared_address(box), warp * 16 + matrix % 2 * 8 + within, matrix / 2) ^ j << 4;
  }
  // The same of a box [channels][64 positions], for the transposing forms; `channel` is the first of 16.
  __device__ uint32_t by_channel(const void *box, int channel) const {
    return cuda::swizzled(cuda::shared_address(box), channel + matrix / 2 * 8 + within, warp * 2 + matrix % 2);
  }
};

// Among the 128 threads of one warpgroup.
__device__ inline void meet_group(int group) { cuda::meet_threads<128>(group + 1); }

__device__ inline float over_quad(float x) {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}

// 1 / deviation; 0 for padding, whose rows are zeros.
__device__ inline float inverse_deviation(float mean, float square, float eps) {
  const float variance = fmaxf(fmaf(-mean, mean, square), 0.0f) + eps;
  return variance > 0 ? rsqrtf(variance) : 0.0f;
}

// One warpgroup's sums of 64 rows and 128 columns to [row][128] in memory.
__device__ inline void write_sums(const float (&sum)[64], float *to, bool add) {
  const Lane at;
#pragma unroll
  for (int j = 0; j < 16; ++j)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float2 *two = reinterpret_cast<float2 *>(to + (at.row + half * 8) * 128 + j * 8 + at.column);
      float2 before = {0, 0};
      if (add) before = *two;
      *two = {before.x + sum[4 * j + 2 * half], before.y + sum[4 * j + 2 * half + 1]};
    }
}
// The products with ones: every column is the same.
__device__ inline void write_row_sums(const float (&sum)[4], float *to, bool add) {
  const Lane at;
  if (at.column) return;
  for (int half = 0; half < 2; ++half) {
    float &one = to[at.row + half * 8];
    one = (add ? one : 0) + sum[2 * half];
  }
}

// Scales of rows that have no deviation, as those of padding where eps is 0, become 0: no infinity times zero.
__device__ inline Statistics finite(Statistics of) {
  of.scale.upper = of.scale.upper < 3e38f ? of.scale.upper : 0.0f, of.scale.lower = of.scale.lower < 3e38f ? of.scale.lower : 0.0f;
  return of;
}

// A position's two factors as sums of two 16-bit numbers each, in the order of the factors' planes.
template <class T>
__device__ void store_factors(void *factors, int64_t count, int64_t position, float mean, float scale) {
  if (position >= count) return;
  T *to = static_cast<T *>(factors) + position;
  const float deviation = scale > 0 ? 1.0f / scale : 0.0f;
#pragma unroll
  for (int which = 0; which < 2; ++which) {
    const float value = which ? mean : deviation;
    const T high = gpu::from_float<T>(value);
    to[2 * which * count] = high, to[(2 * which + 1) * count] = gpu::from_float<T>(value - gpu::to_float(high));
  }
}

// One warpgroup's sums of 64 rows times raw columns, and times the columns' factors: to weights [row][columns] less the means' share, and
// to biases.
template <int sums>
__device__ void write_scaled_sums(const float (&sum)[sums], const float (&factor)[4], float *weights, float *biases, bool add) {
  constexpr int columns = 2 * sums;
  const Lane at;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    // High and low part: of the bias in a quad's first lane, of the mean's share in its second.
    const float own = factor[2 * half] + factor[2 * half + 1], mean = __shfl_sync(~0u, own, at.lane / 4 * 4 + 1);
    const int row = at.row + half * 8;
    if (at.column == 0) biases[row] = add ? biases[row] + own : own;
#pragma unroll
    for (int j = 0; j < columns / 8; ++j) {
      float2 *two = reinterpret_cast<float2 *>(weights + row * columns + j * 8 + at.column);
      float2 before = {0, 0};
      if (add) before = *two;
      *two = {before.x + (sum[4 * j + 2 * half] - mean), before.y + (sum[4 * j + 2 * half + 1] - mean)};
    }
  }
}

template <class Job>
__device__ RowPair half_masks(const Job &job, int64_t first) {
  const Lane at;
  const auto of = [&](int64_t position) {
    if (position >= job.cells.count) return 0.0f;
    if (job.flat_mask) return 0.5f * gpu::load_any(job.flat_mask, job.pair_mask.dtype, position);
    const triangle_multiplication::Cell cell(job.cells, position);
    return cell.inside ? 0.5f * mask_of(job.pair_mask, job.token_mask, cell) : 0.0f;
  };
  return {of(first + at.row), of(first + at.row + 8)};
}

// `sum` holds column tiles of 8 projections, then their 8 halved gates, without scale and bias; `gradients` is a box [64 channels][64 positions]
// of a's or b's, of which this takes 16 * groups channels from `first` on.  Out come the gradients of both, as operand of the next product:
// of each 16 packed rows one a[4].
template <int groups, class T>
__device__ void gate_backward(const float *sum, const float *bias, RowPair scale, RowPair half_mask, const void *gradients, int first,
                              uint32_t (&out)[groups * 2][4]) {
  const Lane at;
#pragma unroll
  for (int k = 0; k < groups; ++k) {  // 16 channels: 32 packed rows
    uint32_t incoming[4];             // upper and lower of the first 8 channels, then of the next
    cuda::load_matrices_transposed(incoming, at.by_channel(gradients, first + k * 16));
#pragma unroll
    for (int group = 0; group < 2; ++group) {
      const int j = 4 * k + 2 * group;  // column tile of the projections; the gates' follows
      const float2 value_bias = *reinterpret_cast<const float2 *>(bias + j * 8 + at.column);
      const float2 gate_bias = *reinterpret_cast<const float2 *>(bias + j * 8 + 8 + at.column);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float mask = half ? half_mask.lower : half_mask.upper, s = half ? scale.lower : scale.upper;
        const uint32_t pair = mask != 0 ? incoming[group * 2 + half] : 0;  // what lies in padding may be no number
        const float *value = sum + j * 4 + half * 2, *gate = value + 4;
        const float d0 = cuda::low_half<T>(pair) * mask, d1 = cuda::high_half<T>(pair) * mask;
        const float t0 = cuda::tanh_approximate(fmaf(gate[0], s, gate_bias.x)), t1 = cuda::tanh_approximate(fmaf(gate[1], s, gate_bias.y));
        out[2 * k + group][half] = cuda::pack<T>(fmaf(d0, t0, d0), fmaf(d1, t1, d1));
        out[2 * k + group][2 + half] = cuda::pack<T>(d0 * fmaf(value[0], s, value_bias.x) * fmaf(-t0, t0, 1.0f),
                                                     d1 * fmaf(value[1], s, value_bias.y) * fmaf(-t1, t1, 1.0f));
      }
    }
  }
}

}  // namespace lamina::triangle_multiplication::hopper
