// Step 1: a and b from pair.  A CTA normalises its positions once and multiplies them with all packed rows, 64 channels at a time.
#pragma once
#include "cuda_operands.cuh"
#include "gpu_finish.cuh"

namespace lamina::triangle_multiplication {

// Column tiles are 8 projections, then their 8 halved gates: (value) * sigmoid(gate) * mask, into [channel][position].
template <int positions, class Plane, class Tile>
__device__ void gate_and_stage(const Tile &sum, const float *bias, const float *mask, const int *inside, Plane *staged) {
  using Layout = WarpLayout<positions>;
  constexpr int line = staged_line(positions, sizeof(Plane));
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int m = 0; m < Layout::rows / 16; ++m)
#pragma unroll
    for (int n = 0; n < Layout::columns / 8; n += 2)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = Layout::row() + m * 16 + lane / 4 + e / 2 * 8, within = lane % 4 * 2 + e % 2,
                  column = Layout::column() + n * 8 + within;
        const float value = sum.sum[m][n][e] + bias[column], gate = sum.sum[m][n + 1][e] + bias[column + 8];
        staged[(column / 16 * 8 + within) * line + row] = from_float<Plane>(gated(value, gate / gate_factor, mask[row], inside[row]));
      }
}

template <class Io, class Plane, class Operand, int positions>
__device__ void front(const FrontJob &job) {
  using Layout = WarpLayout<positions>;
  constexpr int channels = tile_outputs / 2, line = staged_line(positions, sizeof(Plane));
  extern __shared__ __align__(128) char dynamic[];
  const int C = job.norm.channels, tile_line = line_bytes(C, sizeof(Operand)) / static_cast<int>(sizeof(Operand));
  Operand *tile = reinterpret_cast<Operand *>(dynamic + stage_count * stage_bytes);
  Plane *staged = reinterpret_cast<Plane *>(tile + positions * tile_line);
  float *mask = reinterpret_cast<float *>(staged + channels * line);
  int *inside = reinterpret_cast<int *>(mask + positions);

  const int64_t first = static_cast<int64_t>(blockIdx.x) * positions;
  const int chunks = (C + cuda::chunk<Operand> - 1) / cuda::chunk<Operand>, blocks = (4 * job.H + tile_outputs - 1) / tile_outputs;
  WeightStream<Operand> weights(dynamic);
  const Operand *coming = static_cast<const Operand *>(job.linear.weight);
  int coming_block = 0, coming_chunk = 0;
  const auto fetch = [&] {
    weights.fetch(coming_block < blocks ? coming : nullptr, C, coming_chunk * cuda::chunk<Operand>);
    if (++coming_chunk == chunks) coming_chunk = 0, ++coming_block, coming += tile_outputs * C;
  };
  for (int stage = 0; stage < stage_count - 1; ++stage) fetch();
  if (threadIdx.x < positions) {
    const Cell cell(job.cells, first + threadIdx.x);
    inside[threadIdx.x] = cell.inside;
    mask[threadIdx.x] = cell.inside ? mask_of(job.pair_mask, job.token_mask, cell) : 0.0f;
  }
  load_pair<positions, Io>(job.pair, job.pair_aligned, job.cells, job.norm, first, tile);

  Plane *planes = static_cast<Plane *>(job.planes) + first;
  for (int block = 0; block < blocks; ++block) {
    typename Layout::Tile sum;
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const Operand *stage = weights.next();
      fetch();
      sum.template multiply<Operand, cuda::Along::k>(tile + Layout::row() * tile_line + chunk * cuda::chunk<Operand>, tile_line,
                                                     stage + Layout::column() * weights.line, weights.line);
    }
    gate_and_stage<positions>(sum, job.linear.bias + block * tile_outputs, mask, inside, staged);
    __syncthreads();
    for (int piece = threadIdx.x; piece < channels * (positions / 8); piece += tile_threads) {
      const int channel = piece / (positions / 8), at = piece % (positions / 8) * 8;
      if (block * channels + channel >= 2 * job.H || first + at >= job.cells.count) continue;
      const Eight<Plane> eight = *reinterpret_cast<const Eight<Plane> *>(staged + channel * line + at);
      gpu::store_eight(planes + (block * channels + channel) * job.cells.count + at, eight, true);
    }
  }
}

}  // namespace lamina::triangle_multiplication
