// Step 3: out from o.  One CTA makes 64 positions x 128 channels of out.
//
// Where C is at most 128 it computes the output gate itself, from its own rows of pair: nobody else needs these rows, so out may be the
// memory of pair.  Wider layers, and a gate before the projection, read the gate from planes that the front has written.
#pragma once
#include "cuda_operands.cuh"

namespace lamina::triangle_multiplication {

// Adds dropout mask and residual to eight neighbouring results and writes them.
template <class Io>
__device__ void finish_eight(const BackJob &job, const Cell &cell, int channel, const float *result) {
  const Io *residual = static_cast<const Io *>(job.residual.data);
  Eight<Io> before, after;
  if (job.residual.present) before = gpu::load_eight(residual + cell.offset(job.residual) + channel, job.out_aligned);
#pragma unroll
  for (int e = 0; e < 8; ++e) {
    float u = result[e];
    if (job.dropout_mask.present) {
      const View &mask = job.dropout_mask;
      u *= gpu::load_any(mask.data, mask.dtype, cell.offset(mask) + (channel + e) * mask.stride[3]);
    }
    after.value[e] = from_float<Io>(job.residual.present ? u + to_float(before.value[e]) : u);
  }
  gpu::store_eight(static_cast<Io *>(job.out.data) + cell.offset(job.out) + channel, after, job.out_aligned);
}

template <class Io, class Storage, class Gate, class Operand>
__device__ void back(const BackJob &job) {
  constexpr int line = tile_outputs + 4;
  union Shared {
    OperandTiles<Operand> operands;
    alignas(16) float result[tile_positions * line];
    __device__ Shared() {}
  };
  __shared__ Shared shared;
  __shared__ int64_t starts[tile_positions];
  __shared__ RowStatistics statistics;
  __shared__ float partial[tile_threads];

  const int blocks = (job.C + tile_outputs - 1) / tile_outputs, block = static_cast<int>(blockIdx.x % blocks);
  const int64_t first = static_cast<int64_t>(blockIdx.x / blocks) * tile_positions;
  const int warp = threadIdx.x / 32, position = warp % 2 * 32, output = warp / 2 * 64;

  cuda::WarpTile<2, 8> gate;
  if (!job.gate_planes) {
    PairRows<Io, Operand> rows(job.pair, job.pair_aligned, job.cells, job.norm_in, first, starts, statistics);
    multiply_tile<cuda::Along::k>(rows, static_cast<const Operand *>(job.gate.weight), job.norm_in.channels, shared.operands, gate);
    const float *bias = job.gate.bias + output;
    gate.for_each([&](int, int column, float &value) { value = gpu::sigmoid(value + bias[column]); });
    __syncthreads();
  }

  cuda::WarpTile<2, 8> sum;
  PlaneRows<Storage, Gate, Operand> rows(job.o, job.gate_before_projection ? job.gate_planes : nullptr, job.cells.count, job.norm_out,
                                         first, partial, statistics);
  const Operand *weights = static_cast<const Operand *>(job.linear.weight) + static_cast<int64_t>(block) * tile_outputs * job.H;
  multiply_tile<cuda::Along::rows>(rows, weights, job.H, shared.operands, sum);
  __syncthreads();

  const float *bias = job.linear.bias + block * tile_outputs + output;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int lane = threadIdx.x % 32, row = position + m * 16 + lane / 4 + e / 2 * 8, column = n * 8 + lane % 4 * 2 + e % 2;
        float u = sum.sum[m][n][e] + bias[column];
        if (!job.gate_planes) u *= gate.sum[m][n][e];
        shared.result[row * line + output + column] = u;
      }
  __syncthreads();

  const bool gate_after = job.gate_planes && !job.gate_before_projection;
  for (int piece = threadIdx.x; piece < tile_positions * (tile_outputs / 8); piece += tile_threads) {
    const int row = piece / (tile_outputs / 8), at = piece % (tile_outputs / 8) * 8, channel = block * tile_outputs + at;
    const Cell cell(job.cells, first + row);
    if (!cell.inside || channel >= job.C) continue;
    float result[8];
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      result[e] = shared.result[row * line + at + e];
      if (gate_after) result[e] *= to_float(static_cast<const Gate *>(job.gate_planes)[(channel + e) * job.cells.count + first + row]);
    }
    finish_eight<Io>(job, cell, channel, result);
  }
}

}  // namespace lamina::triangle_multiplication
