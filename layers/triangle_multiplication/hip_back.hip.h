// Step 3: out from o and pair; and the output gate by itself, for the layers whose back cannot take it along.
#pragma once
#include "gpu_finish.cuh"
#include "hip_operands.hip.h"

namespace lamina::triangle_multiplication {

// Gates of this wave's rows: sigmoid(sums + bias), 16 neighbouring channels a lane and block.
template <int rows>
__device__ void gate_in_place(WaveSums<rows> &sums, const float *bias, int row) {
#pragma unroll
  for (int r = 0; r < rows; ++r)
#pragma unroll
    for (int e = 0; e < 16; ++e) {
      const float shift = bias[row + r * 32 + hip::lane_half() * 16 + e];
#pragma unroll
      for (int c = 0; c < WaveSums<rows>::columns; ++c) sums.at[r][c][e] = gpu::sigmoid(sums.at[r][c][e] + shift);
    }
}

template <class Io, class Plane, class Operand, int rows>
__device__ void gate(const HipGateJob &job) {
  const int64_t first = first_position();
  if (first >= job.cells.count) return;
  __shared__ Moments moments[tile_positions], moments_of_o[tile_positions];
  __shared__ float partial[tile_waves * tile_positions];
  const PairTile<Io> tile(job.pair, job.pair_aligned, job.cells, job.norm_in, job.norm_in.channels, first);
  tile.measure(moments);
  if (job.times_norm) PlaneTile<Plane>(job.o, job.cells.count, job.norm_out, job.norm_out.channels, first).measure(moments_of_o, partial);
  constexpr int pass = tile_waves * rows * 32;
  for (int begin = 0; begin < job.width; begin += pass) {
    const int row = begin + hip::wave_index() * rows * 32;
    const bool busy = row < job.width;
    WaveSums<rows> sums;
    multiply_tile<Operand>(sums, job.gate, job.norm_in.channels, row, busy, tile, moments, begin > 0);
    if (!busy) continue;
    gate_in_place(sums, job.gate.bias, row);
#pragma unroll
    for (int r = 0; r < rows; ++r)
#pragma unroll
      for (int e = 0; e < 16; ++e) {
        const int channel = row + r * 32 + hip::lane_half() * 16 + e;
        if (channel >= job.width) continue;
#pragma unroll
        for (int c = 0; c < WaveSums<rows>::columns; ++c) {
          const int position = c * 32 + hip::lane_line();
          if (first + position >= job.cells.count) continue;
          const int64_t at = channel * job.cells.count + first + position;
          float value = sums.at[r][c][e];
          if (job.times_norm) {
            const float o = to_float(static_cast<const Plane *>(job.o)[at]);
            const float hat = gpu::standardised(o, moments_of_o[position]);
            value *= __builtin_fmaf(hat, job.norm_out.weight[channel], job.norm_out.bias[channel]);
          }
          static_cast<Plane *>(job.planes)[at] = from_float<Plane>(value);
        }
      }
  }
}

// out may be the memory of pair or residual: where back reads pair, one pass takes all channels, so that the tile has been read by all
// waves before any of them writes.
template <class Io, class Plane, class Operand, int rows>
__device__ void back(const HipBackJob &all) {
  const BackJob &job = all.back;
  constexpr int columns = WaveSums<rows>::columns;
  const int64_t first = first_position();
  if (first >= job.cells.count) return;
  __shared__ Moments moments_of_pair[tile_positions], moments_of_o[tile_positions];
  __shared__ float partial[tile_waves * tile_positions];
  const bool computes_gate = !job.gate_before_projection && !all.gate_planes;
  const PairTile<Io> pair(job.pair, job.pair_aligned, job.cells, job.norm_in, job.C, first);
  const PlaneTile<Plane> o(job.o, job.cells.count, job.norm_out, job.H, first);
  if (computes_gate) pair.measure(moments_of_pair);
  o.measure(moments_of_o, partial);

  constexpr int pass = tile_waves * rows * 32;
  for (int begin = 0; begin < job.C; begin += pass) {
    const int row = begin + hip::wave_index() * rows * 32;
    const bool busy = row < job.C;
    WaveSums<rows> gates, sums;
    if (computes_gate) {
      multiply_tile<Operand>(gates, job.gate, job.C, row, busy, pair, moments_of_pair, false);
      if (busy) gate_in_place(gates, job.gate.bias, row);
    }
    multiply_tile<Operand>(sums, job.linear, job.H, row, busy, o, moments_of_o, begin > 0 && !computes_gate);
    if (!busy) continue;
#pragma unroll
    for (int c = 0; c < columns; ++c) {
      const int64_t position = first + c * 32 + hip::lane_line();
      const Cell cell(job.cells, position);
      if (!cell.inside) continue;
#pragma unroll
      for (int r = 0; r < rows; ++r)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int channel = row + r * 32 + hip::lane_half() * 16 + half * 8;
          if (channel >= job.C) continue;
          const Eight<float> bias = gpu::load_eight(job.linear.bias + channel, true);
          float u[8];
#pragma unroll
          for (int e = 0; e < 8; ++e) {
            u[e] = sums.at[r][c][half * 8 + e] + bias.value[e];
            if (computes_gate) u[e] *= gates.at[r][c][half * 8 + e];
            else if (all.gate_planes)
              u[e] *= to_float(static_cast<const Plane *>(all.gate_planes)[(channel + e) * job.cells.count + position]);
          }
          finish<Io>(job, RowOffsets(job, cell), channel, u);
        }
    }
  }
}

}  // namespace lamina::triangle_multiplication
