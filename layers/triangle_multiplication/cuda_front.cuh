// Step 1: a and b from pair.  One CTA makes 64 positions of the planes of 64 channels; or of 128 channels of the output gate alone.
#pragma once
#include "cuda_operands.cuh"

namespace lamina::triangle_multiplication {

__device__ inline float mask_of(const View &pair_mask, const View &token_mask, const Cell &cell) {
  if (pair_mask.present) return gpu::load_any(pair_mask.data, pair_mask.dtype, cell.offset(pair_mask));
  if (!token_mask.present) return 1.0f;
  const int64_t batch = cell.batch * token_mask.stride[0];
  return gpu::load_any(token_mask.data, token_mask.dtype, batch + cell.i * token_mask.stride[1]) *
         gpu::load_any(token_mask.data, token_mask.dtype, batch + cell.j * token_mask.stride[1]);
}

// paired: packed rows are 8 projections, then their 8 gates: (value) * sigmoid(gate) * mask.  Otherwise: sigmoid(row).
template <class Io, class Plane, class Operand, bool paired>
__device__ void front(const FrontJob &job) {
  constexpr int channels = paired ? tile_outputs / 2 : tile_outputs, line = tile_positions + line_padding<Plane>;
  union Shared {
    OperandTiles<Operand> operands;
    alignas(16) Plane result[channels * line];
    __device__ Shared() {}
  };
  __shared__ Shared shared;
  __shared__ int64_t starts[tile_positions];
  __shared__ RowStatistics statistics;
  __shared__ float mask[tile_positions];

  // Neighbouring CTAs take the same positions: the pair rows stay in the L2 cache.
  const int blocks = (job.channels + channels - 1) / channels, block = static_cast<int>(blockIdx.x % blocks);
  const int64_t first = static_cast<int64_t>(blockIdx.x / blocks) * tile_positions;
  if (threadIdx.x < tile_positions) {
    const Cell cell(job.cells, first + threadIdx.x);
    mask[threadIdx.x] = paired && cell.inside ? mask_of(job.pair_mask, job.token_mask, cell) : 1.0f;
  }
  PairRows<Io, Operand> rows(job.pair, job.pair_aligned, job.cells, job.norm, first, starts, statistics);
  cuda::WarpTile<2, 8> sum;
  const Operand *weights = static_cast<const Operand *>(job.linear.weight) + static_cast<int64_t>(block) * tile_outputs * job.norm.channels;
  multiply_tile<cuda::Along::k>(rows, weights, job.norm.channels, shared.operands, sum);
  __syncthreads();

  const int warp = threadIdx.x / 32, position = warp % 2 * 32, output = warp / 2 * 64;
  const float *bias = job.linear.bias + block * tile_outputs + output;
  if constexpr (paired) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < 8; n += 2)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int row = position + m * 16 + lane / 4 + e / 2 * 8, within = lane % 4 * 2 + e % 2;
          const float value = sum.sum[m][n][e] + bias[n * 8 + within], gate = sum.sum[m][n + 1][e] + bias[n * 8 + 8 + within];
          // The padding of a row is zero by choice, not by product: it meets the other operand's padding in the contraction.
          const float result = starts[row] >= 0 ? value * gpu::sigmoid(gate / gate_factor) * mask[row] : 0.0f;
          shared.result[(output / 2 + n / 2 * 8 + within) * line + row] = from_float<Plane>(result);
        }
  } else {
    sum.for_each([&](int row, int column, float &value) {
      shared.result[(output + column) * line + position + row] = from_float<Plane>(gpu::sigmoid(value + bias[column]));
    });
  }
  __syncthreads();

  Plane *planes = static_cast<Plane *>(job.planes) + first;
  for (int piece = threadIdx.x; piece < channels * (tile_positions / 8); piece += tile_threads) {
    const int channel = piece / 8, at = piece % 8 * 8;
    if (block * channels + channel >= job.channels || first + at >= job.cells.count) continue;
    const Eight<Plane> eight = *reinterpret_cast<const Eight<Plane> *>(shared.result + channel * line + at);
    gpu::store_eight(planes + (block * channels + channel) * job.cells.count + at, eight, true);
  }
}

}  // namespace lamina::triangle_multiplication
