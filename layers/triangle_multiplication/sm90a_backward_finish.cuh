// From the sums over cells to the gradients of the parameters that the LayerNorms' folding has hidden: sm90a_backward_job.h says how.
#pragma once
#include "cuda_backward_rows.cuh"
#include "kernels/cuda/barrier.cuh"
#include "sm90a_backward_job.h"

namespace lamina::triangle_multiplication::hopper {

// Parts' sums in their order: a quarter of them a thread, the four quarters one after the other.
__device__ inline void total_sums(const TotalsJob &job) {
  constexpr int elements = rows_threads / 4;
  __shared__ float quarters[4][elements];
  cuda::wait_for_previous_kernel();
  const int within = threadIdx.x % elements, quarter = threadIdx.x / elements, at = blockIdx.x * elements + within;
  const int front_size = job.front_blocks * job.size;
  const bool front = at < front_size;  // a CTA's elements are all of one kind: sizes are multiples of 64
  const float *from = front ? job.front + at : job.output + (at - front_size);
  const int parts = front ? job.front_parts : job.output_parts, step = (front ? job.front_blocks : job.output_blocks) * job.size;
  const int share = (parts + 3) / 4, end = (quarter + 1) * share < parts ? (quarter + 1) * share : parts;
  float sum = 0;
#pragma unroll 8
  for (int part = quarter * share; part < end; ++part) sum += from[static_cast<int64_t>(part) * step];
  quarters[quarter][within] = sum;
  __syncthreads();
  if (quarter == 0) job.totals[at] = quarters[0][within] + quarters[1][within] + quarters[2][within] + quarters[3][within];
}
static_assert(sums_of(128) % (rows_threads / 4) == 0 && sums_of(256) % (rows_threads / 4) == 0);

__device__ inline int packed_row_of(int row, bool packed) { return packed ? row / 8 * 16 + row % 8 : row; }

template <int C>
struct TotalsRow {
  const float *weight;
  float bias;
  __device__ TotalsRow(const float *totals, int block, int row)
      : weight(totals + static_cast<int64_t>(block + row / 128) * sums_of(C) + row % 128 * C),
        bias(totals[static_cast<int64_t>(block + row / 128) * sums_of(C) + 128 * C + row % 128]) {}
};

template <int C>
__device__ void finish_linear(const FoldedFinishJob &job, const FoldedItem &item) {
  constexpr int rows_at_once = rows_threads / C;
  const float *norm = job.norm[item.norm];
  const int column = threadIdx.x % C;
  for (int row = blockIdx.x * rows_at_once + threadIdx.x / C; row < C; row += gridDim.x * rows_at_once) {
    const TotalsRow<C> totals(job.totals, item.block, item.first + packed_row_of(row, item.packed_rows));
    if (item.weight.present)
      gpu::store_any(item.weight, row * item.weight.stride[0] + column * item.weight.stride[1],
                     item.factor * fmaf(totals.weight[column], norm[column], totals.bias * norm[C + column]));
    if (item.bias.present && column == 0) gpu::store_any(item.bias, row * item.bias.stride[0], item.factor * totals.bias);
  }
}

// Sixteen columns of a LayerNorm's parameters: a thread sums every 16th row of one column.
template <int C, class T>
__device__ void finish_norm(const FoldedFinishJob &job, int which, int first) {
  constexpr int turns = rows_threads / 16;
  __shared__ float sums[turns][2][16];
  const int lane = threadIdx.x % 16, turn = threadIdx.x / 16, column = first + lane;
  if (!job.norm_weight[which].present && !job.norm_bias[which].present) return;
  float weight = 0, bias = 0;
  const int begin = which ? job.rows_of_pair : 0, end = which ? job.rows_of_pair + job.rows_of_o : job.rows_of_pair;
  for (int at = begin; at < end; ++at) {
    const FoldedRows &rows = job.rows[at];
    const T *weights = static_cast<const T *>(rows.weights);
#pragma unroll 8
    for (int row = turn; row < rows.rows; row += turns) {
      const TotalsRow<C> totals(job.totals, rows.block, row);
      const float w = to_float(weights[packed_row_of(row, rows.packed_rows) * C + column]);
      weight = fmaf(totals.weight[column], w, weight), bias = fmaf(totals.bias, w, bias);
    }
  }
  sums[turn][0][lane] = weight, sums[turn][1][lane] = bias;
  __syncthreads();
  if (turn > 0) return;
  for (int other = 1; other < turns; ++other) weight += sums[other][0][lane], bias += sums[other][1][lane];
  if (job.norm_weight[which].present) gpu::store_any(job.norm_weight[which], column * job.norm_weight[which].stride[0], weight);
  if (job.norm_bias[which].present) gpu::store_any(job.norm_bias[which], column * job.norm_bias[which].stride[0], bias);
}

// blockIdx.y: one of the six linear layers, of which a CTA takes a few rows; then the LayerNorms of pair and of o, by columns.

template <int C, class T>
__device__ void finish(const FoldedFinishJob &job) {
  cuda::wait_for_previous_kernel();
  if (blockIdx.y < 6) finish_linear<C>(job, job.item[blockIdx.y]);
  else finish_norm<C, T>(job, blockIdx.x * 16 / C, blockIdx.x * 16 % C);
}

}  // namespace lamina::triangle_multiplication::hopper
