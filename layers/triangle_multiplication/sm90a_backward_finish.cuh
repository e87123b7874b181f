// From the sums over cells to the gradients of the parameters that the LayerNorms' folding has hidden: sm90a_backward_job.h says how.
#pragma once
#include "cuda_backward_rows.cuh"
#include "kernels/cuda/barrier.cuh"
#include "sm90a_backward_job.h"

namespace lamina::triangle_multiplication::hopper {

__device__ inline int packed_row_of(int row, bool packed) { return packed ? row / 8 * 16 + row % 8 : row; }

// Sums of 256 neighbouring floats over a quarter of all parts: a thread takes four of them, the quarters follow each other.
__device__ inline void sum_quarter(const float *from, int64_t step, int parts, float4 (&quarters)[4][64]) {
  const int within = threadIdx.x % 64, quarter = threadIdx.x / 64, share = (parts + 3) / 4;
  const int end = (quarter + 1) * share < parts ? (quarter + 1) * share : parts;
  float4 sum = {0, 0, 0, 0};
#pragma unroll 8
  for (int part = quarter * share; part < end; ++part) {
    const float4 one = __ldcg(reinterpret_cast<const float4 *>(from + part * step) + within);
    sum.x += one.x, sum.y += one.y, sum.z += one.z, sum.w += one.w;
  }
  quarters[quarter][within] = sum;
}
// This thread's one of the 256.
__device__ inline float sum_of_quarters(const float4 (&quarters)[4][64]) {
  const auto of = [&](int which) { return reinterpret_cast<const float *>(quarters[which])[threadIdx.x]; };
  return of(0) + of(1) + of(2) + of(3);
}

// A CTA's rows of a linear layer: C / totals_ctas, neighbours in sums too.
template <int C, class T>
__device__ void total_sums(const TotalsJob &job) {
  constexpr int rows = C / totals_ctas, rows_at_once = 256 / C;
  static_assert(rows_threads == 256 && rows <= 8 && 8 % rows == 0 && rows % rows_at_once == 0);
  __shared__ float4 quarters[rows / rows_at_once][4][64];
  __shared__ float row_sums[rows], of_norm[2][rows_at_once][C];
  cuda::wait_for_previous_kernel();
  cuda::allow_next_kernel();
  const TotalsItem &item = job.item[blockIdx.y];
  const bool to_norm = job.norm_wanted[item.norm];
  if (!item.weight.present && !item.bias.present && !to_norm) return;
  const int first = blockIdx.x * rows, column = threadIdx.x % C, row_of_thread = threadIdx.x / C;
  const int first_sum = item.first + packed_row_of(first, item.packed_sums);
  const float *block = item.sums + first_sum / 128 * static_cast<int64_t>(sums_of(C));
  if (threadIdx.x / 32 < rows) {  // a warp a row's bias
    const float *from = block + 128 * C + first_sum % 128 + threadIdx.x / 32;
    float sum = 0;
#pragma unroll 4
    for (int part = threadIdx.x % 32; part < item.parts; part += 32) sum += __ldcg(from + part * item.step);
    sum = Row<32>::over_lanes(sum);
    if (threadIdx.x % 32 == 0) row_sums[threadIdx.x / 32] = sum;
  }
  const float weight = job.norm[item.norm][column], bias = job.norm[item.norm][C + column];
  float packed[rows / rows_at_once];
#pragma unroll
  for (int at = 0; at < rows / rows_at_once; ++at) {
    const int row = first + at * rows_at_once + row_of_thread;
    packed[at] = to_float(static_cast<const T *>(item.weights)[packed_row_of(row, item.packed_weights) * C + column]);
    sum_quarter(block + (first_sum % 128 + at * rows_at_once) * C, item.step, item.parts, quarters[at]);
  }
  __syncthreads();
  float for_weight = 0, for_bias = 0;
#pragma unroll
  for (int at = 0; at < rows / rows_at_once; ++at) {
    const int row = first + at * rows_at_once + row_of_thread;
    const float row_sum = row_sums[row - first], total = sum_of_quarters(quarters[at]);
    if (item.weight.present)
      gpu::store_any(item.weight, row * item.weight.stride[0] + column * item.weight.stride[1],
                     item.factor * fmaf(total, weight, row_sum * bias));
    if (item.bias.present && column == 0) gpu::store_any(item.bias, row * item.bias.stride[0], item.factor * row_sum);
    for_weight = fmaf(total, packed[at], for_weight), for_bias = fmaf(row_sum, packed[at], for_bias);
  }
  if (!to_norm) return;
  of_norm[0][row_of_thread][column] = for_weight, of_norm[1][row_of_thread][column] = for_bias;
  __syncthreads();
  for (int at = threadIdx.x; at < 2 * C; at += rows_threads) {
    float sum = 0;
#pragma unroll
    for (int row = 0; row < rows_at_once; ++row) sum += of_norm[at / C][row][at % C];
    job.norm_sums[static_cast<int64_t>(blockIdx.y * totals_ctas + blockIdx.x) * 2 * C + at] = sum;
  }
}

// blockIdx.y: the LayerNorm of pair or of o.  A CTA takes 32 of the 2 C numbers, a thread four of them over every 32nd of the rows.
template <int C>
__device__ void finish(const NormSumsJob &job) {
  constexpr int turns = rows_threads / 8;
  __shared__ float4 shared[turns][8];
  cuda::wait_for_previous_kernel();
  const int which = blockIdx.y, within = threadIdx.x % 8, turn = threadIdx.x / 8, first = blockIdx.x * 32;
  const View &to = first < C ? job.norm_weight[which] : job.norm_bias[which];
  if (!to.present) return;
  const int begin = which ? 5 * totals_ctas : 0, end = which ? 6 * totals_ctas : 5 * totals_ctas;
  float4 sum = {0, 0, 0, 0};
#pragma unroll 10
  for (int row = begin + turn; row < end; row += turns) {
    const float4 one = __ldcg(reinterpret_cast<const float4 *>(job.norm_sums + static_cast<int64_t>(row) * 2 * C + first) + within);
    sum.x += one.x, sum.y += one.y, sum.z += one.z, sum.w += one.w;
  }
  shared[turn][within] = sum;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  float all = 0;
#pragma unroll
  for (int other = 0; other < turns; ++other) all += reinterpret_cast<const float *>(shared[other])[threadIdx.x];
  gpu::store_any(to, (first % C + static_cast<int>(threadIdx.x)) * to.stride[0], all);
}

}  // namespace lamina::triangle_multiplication::hopper
