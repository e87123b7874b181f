// Step 1: a and b from pair.  A workgroup multiplies its normalised positions with all packed rows, 256 rows a pass.
#pragma once
#include "gpu_finish.cuh"
#include "hip_operands.hip.h"

namespace lamina::triangle_multiplication {

// What a lane knows of its positions: one a column of its wave's sums.
struct LanePositions {
  float mask[WaveSums<1>::columns];
  bool inside[WaveSums<1>::columns];
};

template <class Plane, int rows>
__device__ void store_gated(const FrontJob &job, const WaveSums<rows> &sums, int row, int64_t first, const LanePositions &lane) {
  constexpr int columns = WaveSums<rows>::columns;
#pragma unroll
  for (int r = 0; r < rows; ++r)
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {  // 8 projections, then their 8 gates; a lane has four of each
      const int at = row + r * 32 + pair * 16 + hip::lane_half() * 4, channel = row / 2 + r * 16 + pair * 8 + hip::lane_half() * 4;
      if (channel >= 2 * job.H) continue;
      const float *bias = job.linear.bias + at;
      Plane *plane = static_cast<Plane *>(job.planes) + channel * job.cells.count + first + hip::lane_line();
#pragma unroll
      for (int e = 0; e < 4; ++e)
#pragma unroll
        for (int c = 0; c < columns; ++c) {
          if (first + c * 32 + hip::lane_line() >= job.cells.count) continue;
          const float value = sums.at[r][c][pair * 8 + e] + bias[e], gate = sums.at[r][c][pair * 8 + 4 + e] + bias[e + 8];
          plane[e * job.cells.count + c * 32] = from_float<Plane>(gated(value, gate, lane.mask[c], lane.inside[c]));
        }
    }
}

template <class Io, class Plane, class Operand, int rows>
__device__ void front(const FrontJob &job) {
  const int64_t first = first_position();
  if (first >= job.cells.count) return;
  __shared__ Moments moments[tile_positions];
  const PairTile<Io> tile(job.pair, job.pair_aligned, job.cells, job.norm, job.norm.channels, first);
  tile.measure(moments);
  LanePositions lane;
#pragma unroll
  for (int c = 0; c < WaveSums<rows>::columns; ++c) {
    const Cell cell(job.cells, first + c * 32 + hip::lane_line());
    lane.inside[c] = cell.inside;
    lane.mask[c] = cell.inside ? mask_of(job.pair_mask, job.token_mask, cell) : 0.0f;
  }
  constexpr int pass = tile_waves * rows * 32;
  for (int begin = 0; begin < 4 * job.H; begin += pass) {
    const int row = begin + hip::wave_index() * rows * 32;
    const bool busy = row < 4 * job.H;
    WaveSums<rows> sums;
    multiply_tile<Operand>(sums, job.linear, job.norm.channels, row, busy, tile, moments, begin > 0);
    if (busy) store_gated<Plane>(job, sums, row, first, lane);
  }
}

}  // namespace lamina::triangle_multiplication
