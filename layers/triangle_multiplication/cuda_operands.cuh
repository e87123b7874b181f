// The operands of the front's and the back's matrix products in shared memory: a tile of positions, normalised and resident; packed
// weights, streamed past it.
#pragma once
#include "cuda_job.h"
#include "kernels/cuda/mma.cuh"

namespace lamina::triangle_multiplication {

using cuda::bfloat16, cuda::float16;
using gpu::Eight, gpu::from_float, gpu::to_float;

// Where position `index` of the cells lies in a [batch, N, N, ...] tensor, or not at all: padding of a row, or beyond the end.
struct Cell {
  int batch, i, j;
  bool inside;

  Cell() = default;
  __device__ Cell(const Cells &cells, int64_t index) {
    batch = static_cast<int>(index / cells.per_batch);
    const int within = static_cast<int>(index - static_cast<int64_t>(batch) * cells.per_batch), x = within / cells.pitch,
              y = within - x * cells.pitch;
    inside = index < cells.count && y < cells.N;
    i = cells.exchanged ? y : x, j = cells.exchanged ? x : y;
  }
  __device__ int64_t offset(const View &view) const { return batch * view.stride[0] + i * view.stride[1] + j * view.stride[2]; }
};

__device__ inline float over_warp(float x) {
  for (int step = 1; step < 32; step *= 2) x += __shfl_xor_sync(~0u, x, step);
  return x;
}

// LayerNorm of one row by a warp: each lane holds groups of 8 channels, 256 apart.  Two passes over registers, so that a mean far above the
// deviation costs no digits.
constexpr int most_groups = 3;  // of 8 channels a lane: 768 channels

__device__ inline void normalise_row(float (&x)[most_groups][8], const PackedNorm &norm) {
  if (!norm.weight) return;
  const int first = threadIdx.x % 32 * 8;
  float sum = 0;
#pragma unroll
  for (int group = 0; group < most_groups; ++group)
    if (first + group * 256 < norm.channels)
#pragma unroll
      for (int e = 0; e < 8; ++e) sum += x[group][e];
  const float mean = over_warp(sum) / static_cast<float>(norm.channels);
  float square = 0;
#pragma unroll
  for (int group = 0; group < most_groups; ++group)
    if (first + group * 256 < norm.channels)
#pragma unroll
      for (int e = 0; e < 8; ++e) square += (x[group][e] - mean) * (x[group][e] - mean);
  const float scale = 1.0f / sqrtf(over_warp(square) / static_cast<float>(norm.channels) + norm.eps);
#pragma unroll
  for (int group = 0; group < most_groups; ++group) {
    const int channel = first + group * 256;
    if (channel >= norm.channels) continue;
    const float4 *weight = reinterpret_cast<const float4 *>(norm.weight + channel),
                 *bias = reinterpret_cast<const float4 *>(norm.bias + channel);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float4 w = weight[half], b = bias[half];
      const float ws[4] = {w.x, w.y, w.z, w.w}, bs[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int e = 0; e < 4; ++e) x[group][half * 4 + e] = (x[group][half * 4 + e] - mean) * scale * ws[e] + bs[e];
    }
  }
}

// A row of the tile, zeros behind its channels up to the end of the line's last 64 bytes.
template <class Operand>
__device__ void put_row(Operand *line, const float (&x)[most_groups][8], int channels) {
  const int whole = (channels + cuda::chunk<Operand> - 1) / cuda::chunk<Operand> * cuda::chunk<Operand>;
#pragma unroll
  for (int group = 0; group < most_groups; ++group) {
    const int channel = threadIdx.x % 32 * 8 + group * 256;
    if (channel >= whole) continue;
    Eight<Operand> eight;
#pragma unroll
    for (int e = 0; e < 8; ++e) eight.value[e] = from_float<Operand>(channel < channels ? x[group][e] : 0.0f);
    *reinterpret_cast<Eight<Operand> *>(line + channel) = eight;
  }
}

// Normalised rows of pair, [positions][line]; padding positions are zeros.
template <int positions, class Io, class Operand>
__device__ void load_pair(const View &pair, bool aligned, const Cells &cells, const PackedNorm &norm, int64_t first, Operand *tile) {
  const int line = line_bytes(norm.channels, sizeof(Operand)) / static_cast<int>(sizeof(Operand));
  for (int row = threadIdx.x / 32; row < positions; row += tile_threads / 32) {
    const Cell cell(cells, first + row);
    float x[most_groups][8] = {};
    if (cell.inside) {
      const Io *from = static_cast<const Io *>(pair.data) + cell.offset(pair);
#pragma unroll
      for (int group = 0; group < most_groups; ++group) {
        const int channel = threadIdx.x % 32 * 8 + group * 256;
        if (channel >= norm.channels) continue;
        const Eight<Io> eight = gpu::load_eight(from + channel, aligned);
#pragma unroll
        for (int e = 0; e < 8; ++e) x[group][e] = to_float(eight.value[e]);
      }
      normalise_row(x, norm);
    }
    put_row(tile + row * line, x, norm.channels);
  }
}

// Normalised rows from planes [channel][count], transposed on the way and normalised in place.
template <int positions, class Plane, class Operand>
__device__ void load_planes(const Plane *planes, int64_t count, const PackedNorm &norm, int64_t first, char *tile) {
  constexpr int widest = sizeof(Plane) > sizeof(Operand) ? sizeof(Plane) : sizeof(Operand), groups = positions / 8;
  const int bytes = line_bytes(norm.channels, widest);
  // Neighbouring lanes take the same 8 positions of neighbouring channels: their elements lie side by side in the tile.
  for (int piece = threadIdx.x; piece < norm.channels * groups; piece += tile_threads) {
    const int channel = piece % norm.channels, position = piece / norm.channels * 8;
    Eight<Plane> eight{};
    if (first + position < count) eight = gpu::load_eight(planes + channel * count + first + position, true);
#pragma unroll
    for (int e = 0; e < 8; ++e) reinterpret_cast<Plane *>(tile + (position + e) * bytes)[channel] = eight.value[e];
  }
  __syncthreads();
  for (int row = threadIdx.x / 32; row < positions; row += tile_threads / 32) {
    const Plane *from = reinterpret_cast<const Plane *>(tile + row * bytes);
    float x[most_groups][8] = {};
#pragma unroll
    for (int group = 0; group < most_groups; ++group) {
      const int channel = threadIdx.x % 32 * 8 + group * 256;
      if (channel >= norm.channels) continue;
      const Eight<Plane> eight = *reinterpret_cast<const Eight<Plane> *>(from + channel);
#pragma unroll
      for (int e = 0; e < 8; ++e) x[group][e] = to_float(eight.value[e]);
    }
    normalise_row(x, norm);
    __syncwarp();  // the row is in registers before narrower elements overwrite it
    put_row(reinterpret_cast<Operand *>(tile + row * bytes), x, norm.channels);
  }
}

// How a CTA's 8 warps lie over a tile of positions x 128 outputs.
template <int positions>
struct WarpLayout {
  static constexpr int down = positions == 64 ? 2 : 1, across = 8 / down;
  static constexpr int rows = positions / down, columns = tile_outputs / across;
  using Tile = cuda::WarpTile<rows / 16, columns / 8>;

  __device__ static int row() { return threadIdx.x / 32 % down * rows; }
  __device__ static int column() { return threadIdx.x / 32 / down * columns; }
};

// Packed weights, 128 rows x 64 bytes a stage, in the order in which the kernel multiplies with them.  The stream runs ahead over the
// boundaries of blocks and linear layers, so that it never drains.
template <class Operand>
class WeightStream {
 public:
  static constexpr int line = cuda::chunk<Operand> + cuda::line_padding<Operand>;

  __device__ explicit WeightStream(char *stages) : stages_(stages) {}

  // Fetches chunk `k` of 128 rows of `depth`; null: nothing, but the count goes on.
  __device__ void fetch(const Operand *rows, int depth, int k) {
    if (rows) {
      Operand *stage = stage_at(fetched_);
      constexpr int elements = 16 / sizeof(Operand);
      for (int piece = threadIdx.x; piece < tile_outputs * 4; piece += tile_threads) {
        const int row = piece / 4, at = piece % 4 * elements;
        const bool valid = k + at < depth;
        cuda::copy_16_async(stage + row * line + at, rows + (valid ? static_cast<int64_t>(row) * depth + k + at : 0), valid);
      }
    }
    cuda::copy_commit();
    ++fetched_;
  }
  // The next stage is complete for all threads, and the one before it may be overwritten.
  __device__ const Operand *next() {
    cuda::copy_wait<stage_count - 2>();
    __syncthreads();
    return stage_at(used_++);
  }

 private:
  __device__ Operand *stage_at(int index) const { return reinterpret_cast<Operand *>(stages_ + index % stage_count * stage_bytes); }
  char *stages_;
  int fetched_ = 0, used_ = 0;
};

}  // namespace lamina::triangle_multiplication
