// From the sums over cells to the gradients of the parameters that the LayerNorms' folding has hidden: sm90a_backward_job.h says how.
#pragma once
#include "cuda_backward_rows.cuh"
#include "sm90a_backward_job.h"

namespace lamina::triangle_multiplication::hopper {

// Blocks' sums in their order; a thread an element.
__device__ inline void total_sums(const TotalsJob &job) {
  const int at = blockIdx.x * rows_threads + threadIdx.x;
  if (at >= 6 * sums_of_128) return;
  const bool front = at < 4 * sums_of_128;
  const float *from = front ? job.front + at : job.output + (at - 4 * sums_of_128);
  const int parts = front ? job.front_parts : job.output_parts, step = (front ? 4 : 2) * sums_of_128;
  float sum = 0;
#pragma unroll 8
  for (int part = 0; part < parts; ++part) sum += from[static_cast<int64_t>(part) * step];
  job.totals[at] = sum;
}

struct TotalsRow {  // one packed row's
  const float *weight;
  float bias;
  __device__ TotalsRow(const float *totals, int part, int row)
      : weight(totals + (part + row / 128) * sums_of_128 + row % 128 * 128),
        bias(totals[(part + row / 128) * sums_of_128 + 128 * 128 + row % 128]) {}
};

// blockIdx.y: one of the six linear layers; a block a few of its 128 rows.
__device__ inline void finish_linear(const FoldedFinishJob &job) {
  const FoldedItem &item = job.item[blockIdx.y];
  const float *norm = job.norm[item.part == 5];
  const int column = threadIdx.x % 128;
  for (int row = blockIdx.x * 2 + threadIdx.x / 128; row < 128; row += gridDim.x * 2) {
    const TotalsRow totals(job.totals, item.part, item.packed_rows ? item.first + row / 8 * 16 + row % 8 : row);
    if (item.weight.present)
      store_any(item.weight, row * item.weight.stride[0] + column * item.weight.stride[1],
                item.factor * fmaf(totals.weight[column], norm[column], totals.bias * norm[128 + column]));
    if (item.bias.present && column == 0) store_any(item.bias, row * item.bias.stride[0], item.factor * totals.bias);
  }
}

// blockIdx.x: the LayerNorm of pair, of o.  A thread sums every eighth row of its column.
__device__ inline void finish_norms(const FoldedFinishJob &job) {
  __shared__ float sums[8][2][128];
  const int which = blockIdx.x, column = threadIdx.x % 128, turn = threadIdx.x / 128;
  if (!job.norm_weight[which].present && !job.norm_bias[which].present) return;
  float weight = 0, bias = 0;
  const auto add = [&](const void *packed, int part, int rows) {
    const bfloat16 *weights = static_cast<const bfloat16 *>(packed);
#pragma unroll 4
    for (int row = turn; row < rows; row += 8) {
      const TotalsRow totals(job.totals, part, row);
      const float w = to_float(weights[row * 128 + column]);
      weight = fmaf(totals.weight[column], w, weight), bias = fmaf(totals.bias, w, bias);
    }
  };
  if (which == 0) add(job.weights[0], 0, 512), add(job.weights[1], 4, 128);
  else add(job.weights[2], 5, 128);
  sums[turn][0][column] = weight, sums[turn][1][column] = bias;
  __syncthreads();
  if (turn > 0) return;
  for (int other = 1; other < 8; ++other) weight += sums[other][0][column], bias += sums[other][1][column];
  if (job.norm_weight[which].present) store_any(job.norm_weight[which], column * job.norm_weight[which].stride[0], weight);
  if (job.norm_bias[which].present) store_any(job.norm_bias[which], column * job.norm_bias[which].stride[0], bias);
}

}  // namespace lamina::triangle_multiplication::hopper
