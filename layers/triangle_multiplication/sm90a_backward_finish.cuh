// From the sums over cells to the gradients of the parameters that the LayerNorms' folding has hidden: sm90a_backward_job.h says how.
#pragma once
#include "cuda_backward_rows.cuh"
#include "kernels/cuda/barrier.cuh"
#include "sm90a_backward_job.h"

namespace lamina::triangle_multiplication::hopper {

// Blocks' sums in their order: a quarter of them a thread, the four quarters one after the other.
__device__ inline void total_sums(const TotalsJob &job) {
  constexpr int elements = rows_threads / 4;
  __shared__ float quarters[4][elements];
  cuda::wait_for_previous_kernel();
  const int within = threadIdx.x % elements, quarter = threadIdx.x / elements, at = blockIdx.x * elements + within;
  const bool front = at < 4 * sums_of_128;  // a block's elements are all of one kind: both counts are multiples of 64
  const float *from = front ? job.front + at : job.output + (at - 4 * sums_of_128);
  const int parts = front ? job.front_parts : job.output_parts, step = (front ? 4 : 2) * sums_of_128, share = (parts + 3) / 4;
  const int end = (quarter + 1) * share < parts ? (quarter + 1) * share : parts;
  float sum = 0;
#pragma unroll 8
  for (int part = quarter * share; part < end; ++part) sum += from[static_cast<int64_t>(part) * step];
  quarters[quarter][within] = sum;
  __syncthreads();
  if (quarter == 0) job.totals[at] = quarters[0][within] + quarters[1][within] + quarters[2][within] + quarters[3][within];
}
static_assert(sums_of_128 % (rows_threads / 4) == 0);

struct TotalsRow {  // one packed row's
  const float *weight;
  float bias;
  __device__ TotalsRow(const float *totals, int part, int row)
      : weight(totals + (part + row / 128) * sums_of_128 + row % 128 * 128),
        bias(totals[(part + row / 128) * sums_of_128 + 128 * 128 + row % 128]) {}
};

// blockIdx.y: one of the six linear layers; a block a few of its 128 rows.
__device__ inline void finish_linear(const FoldedFinishJob &job) {
  cuda::wait_for_previous_kernel();
  const FoldedItem &item = job.item[blockIdx.y];
  const float *norm = job.norm[item.part == 5];
  const int column = threadIdx.x % 128;
  for (int row = blockIdx.x * 2 + threadIdx.x / 128; row < 128; row += gridDim.x * 2) {
    const TotalsRow totals(job.totals, item.part, item.packed_rows ? item.first + row / 8 * 16 + row % 8 : row);
    if (item.weight.present)
      gpu::store_any(item.weight, row * item.weight.stride[0] + column * item.weight.stride[1],
                     item.factor * fmaf(totals.weight[column], norm[column], totals.bias * norm[128 + column]));
    if (item.bias.present && column == 0) gpu::store_any(item.bias, row * item.bias.stride[0], item.factor * totals.bias);
  }
}

// blockIdx.x: 32 columns of the LayerNorm of pair, then of that of o.  A thread sums every 32nd row of its column.
__device__ inline void finish_norms(const FoldedFinishJob &job) {
  __shared__ float sums[32][2][32];
  cuda::wait_for_previous_kernel();
  const int which = blockIdx.x / 4, lane = threadIdx.x % 32, column = blockIdx.x % 4 * 32 + lane, turn = threadIdx.x / 32;
  if (!job.norm_weight[which].present && !job.norm_bias[which].present) return;
  float weight = 0, bias = 0;
  const auto add = [&](const void *packed, int part, int rows) {
    const bfloat16 *weights = static_cast<const bfloat16 *>(packed);
#pragma unroll 4
    for (int row = turn; row < rows; row += 32) {
      const TotalsRow totals(job.totals, part, row);
      const float w = to_float(weights[row * 128 + column]);
      weight = fmaf(totals.weight[column], w, weight), bias = fmaf(totals.bias, w, bias);
    }
  };
  if (which == 0) add(job.weights[0], 0, 512), add(job.weights[1], 4, 128);
  else add(job.weights[2], 5, 128);
  sums[turn][0][lane] = weight, sums[turn][1][lane] = bias;
  __syncthreads();
  if (turn > 0) return;
  for (int other = 1; other < 32; ++other) weight += sums[other][0][lane], bias += sums[other][1][lane];
  if (job.norm_weight[which].present) gpu::store_any(job.norm_weight[which], column * job.norm_weight[which].stride[0], weight);
  if (job.norm_bias[which].present) gpu::store_any(job.norm_bias[which], column * job.norm_bias[which].stride[0], bias);
}

}  // namespace lamina::triangle_multiplication::hopper
