// The operands of the front's and the back's matrix products, brought into shared memory chunk by chunk of k: rows of pair, normalised
// on the way; planes of o, normalised on the way; packed weights.
#pragma once
#include "cuda_job.h"
#include "kernels/cuda/mma.cuh"

namespace lamina::triangle_multiplication {

using cuda::bfloat16, cuda::chunk, cuda::float16, cuda::line_padding;
using gpu::Eight, gpu::from_float, gpu::to_float;

constexpr int tile_threads = 128;

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

// LayerNorm of one value whose mean and 1/deviation are known.
__device__ inline float normalise(const PackedNorm &norm, float x, float mean, float scale, int channel) {
  return norm.weight ? (x - mean) * scale * norm.weight[channel] + norm.bias[channel] : x;
}

// Mean and 1/deviation of every position of a tile.
struct RowStatistics {
  float mean[tile_positions], scale[tile_positions];
};

// 64 rows of the pair tensor as operand [position][k].  A thread brings `groups` times 8 channels of one row a chunk.
template <class Io, class Operand>
class PairRows {
 public:
  static constexpr int groups = chunk<Operand> / 16, line = chunk<Operand> + line_padding<Operand>;

  // `starts` [64] and `statistics` are shared memory; both are filled when the constructor returns on all threads and they have met.
  __device__ PairRows(const View &pair, bool aligned, const Cells &cells, const PackedNorm &norm, int64_t first, int64_t *starts,
                      RowStatistics &statistics)
      : base_(static_cast<const Io *>(pair.data)), starts_(starts), statistics_(statistics), norm_(norm), aligned_(aligned) {
    if (threadIdx.x < tile_positions) {
      const Cell cell(cells, first + threadIdx.x);
      starts[threadIdx.x] = cell.inside ? cell.offset(pair) : -1;
    }
    __syncthreads();
    if (norm.weight) measure_rows();
  }

  __device__ void fetch(int k) {
    const int64_t start = starts_[row()];
#pragma unroll
    for (int g = 0; g < groups; ++g) {
      const int channel = k + first_channel() + g * 8;
      if (start >= 0 && channel < norm_.channels) held_[g] = gpu::load_eight(base_ + start + channel, aligned_);
    }
  }

  __device__ void put(int k, Operand *tile) const {
    const bool inside = starts_[row()] >= 0;
    const float mean = statistics_.mean[row()], scale = statistics_.scale[row()];
#pragma unroll
    for (int g = 0; g < groups; ++g) {
      const int channel = k + first_channel() + g * 8;
      const bool valid = inside && channel < norm_.channels;
      Eight<Operand> z;
#pragma unroll
      for (int e = 0; e < 8; ++e)
        z.value[e] = from_float<Operand>(valid ? normalise(norm_, to_float(held_[g].value[e]), mean, scale, channel + e) : 0.0f);
      *reinterpret_cast<Eight<Operand> *>(tile + row() * line + first_channel() + g * 8) = z;
    }
  }

 private:
  __device__ static int row() { return threadIdx.x / 2; }
  __device__ static int first_channel() { return threadIdx.x % 2 * groups * 8; }

  // Eight lanes take a row; two passes over it, so that a mean far above the deviation costs no digits.
  __device__ void measure_rows() {
    const int lane = threadIdx.x % 8;
    for (int row = threadIdx.x / 8; row < tile_positions; row += tile_threads / 8) {
      const int64_t start = starts_[row];
      float mean = 0, variance = 0;
      for (int pass = 0; pass < 2; ++pass) {
        float sum = 0;
        for (int channel = lane * 8; start >= 0 && channel < norm_.channels; channel += 64) {
          const Eight<Io> eight = gpu::load_eight(base_ + start + channel, aligned_);
#pragma unroll
          for (int e = 0; e < 8; ++e) {
            const float x = to_float(eight.value[e]);
            sum += pass ? (x - mean) * (x - mean) : x;
          }
        }
        for (int step = 1; step < 8; step *= 2) sum += __shfl_xor_sync(~0u, sum, step);
        (pass ? variance : mean) = sum / static_cast<float>(norm_.channels);
      }
      if (lane == 0) statistics_.mean[row] = mean, statistics_.scale[row] = 1.0f / sqrtf(variance + norm_.eps);
    }
    __syncthreads();
  }

  const Io *base_;
  const int64_t *starts_;
  RowStatistics &statistics_;
  const PackedNorm &norm_;
  bool aligned_;
  Eight<Io> held_[groups];
};

// 64 positions of o's planes as operand [k][position], normalised; times the gate's planes where the gate comes before the projection.
// A thread brings `groups` times 8 positions of one channel a chunk.
template <class Storage, class Gate, class Operand>
class PlaneRows {
 public:
  static constexpr int groups = chunk<Operand> / 16, line = tile_positions + line_padding<Operand>;

  __device__ PlaneRows(const void *planes, const void *gate_planes, int64_t plane, const PackedNorm &norm, int64_t first, float *partial,
                       RowStatistics &statistics)
      : planes_(static_cast<const Storage *>(planes) + first),
        gate_(gate_planes ? static_cast<const Gate *>(gate_planes) + first : nullptr),
        plane_(plane),
        left_(plane - first),
        statistics_(statistics),
        norm_(norm) {
    measure(partial);
  }

  __device__ void fetch(int k) {
#pragma unroll
    for (int g = 0; g < groups; ++g) {
      const int channel = k + channel_of(g);
      if (channel >= norm_.channels || position() >= left_) continue;
      held_[g] = gpu::load_eight(planes_ + channel * plane_ + position(), true);
      if (gate_) held_gate_[g] = gpu::load_eight(gate_ + channel * plane_ + position(), true);
    }
  }

  __device__ void put(int k, Operand *tile) const {
#pragma unroll
    for (int g = 0; g < groups; ++g) {
      const int channel = k + channel_of(g);
      const bool valid = channel < norm_.channels && position() < left_;
      Eight<Operand> z;
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const int at = position() + e;
        float x = valid ? normalise(norm_, to_float(held_[g].value[e]), statistics_.mean[at], statistics_.scale[at], channel) : 0.0f;
        if (gate_ && valid) x *= to_float(held_gate_[g].value[e]);
        z.value[e] = from_float<Operand>(x);
      }
      *reinterpret_cast<Eight<Operand> *>(tile + channel_of(g) * line + position()) = z;
    }
  }

 private:
  __device__ static int position() { return threadIdx.x % 8 * 8; }
  __device__ static int channel_of(int g) { return threadIdx.x / 8 + g * (tile_threads / 8); }

  // Two threads take a position, each half of the channels; two passes, like PairRows.
  __device__ void measure(float *partial) {
    const int at = threadIdx.x % tile_positions, part = threadIdx.x / tile_positions;
    const bool inside = at < left_;
    float mean = 0, variance = 0;
    for (int pass = 0; pass < 2; ++pass) {
      float sum = 0;
#pragma unroll 8
      for (int channel = part; channel < norm_.channels; channel += 2) {
        const float x = inside ? to_float(planes_[channel * plane_ + at]) : 0.0f;
        sum += pass ? (x - mean) * (x - mean) : x;
      }
      partial[threadIdx.x] = sum;
      __syncthreads();
      (pass ? variance : mean) = (partial[at] + partial[at + tile_positions]) / static_cast<float>(norm_.channels);
      __syncthreads();
    }
    if (part == 0) statistics_.mean[at] = mean, statistics_.scale[at] = 1.0f / sqrtf(variance + norm_.eps);
    __syncthreads();
  }

  const Storage *planes_;
  const Gate *gate_;
  int64_t plane_, left_;  // left_: positions from here to the plane's end
  RowStatistics &statistics_;
  const PackedNorm &norm_;
  Eight<Storage> held_[groups];
  Eight<Gate> held_gate_[groups];
};

// 128 rows of packed weights [row][depth] as operand [row][k].
template <class Operand>
__device__ void copy_weights(const Operand *rows, int depth, int k, Operand *tile) {
  constexpr int pieces = 4, elements = 16 / sizeof(Operand), line = chunk<Operand> + line_padding<Operand>;  // 64 bytes a row and chunk
  for (int piece = threadIdx.x; piece < tile_outputs * pieces; piece += tile_threads) {
    const int row = piece / pieces, at = piece % pieces * elements;
    const bool valid = k + at < depth;
    cuda::copy_16_async(tile + row * line + at, rows + (valid ? static_cast<int64_t>(row) * depth + k + at : 0), valid);
  }
  cuda::copy_commit();
}

// Two stages of both operands.
template <class Operand>
struct alignas(16) OperandTiles {
  static constexpr int weight_line = chunk<Operand> + line_padding<Operand>;
  static constexpr int by_k = tile_positions * weight_line, by_position = chunk<Operand> * (tile_positions + line_padding<Operand>);
  Operand activations[2][by_k > by_position ? by_k : by_position];
  Operand weights[2][tile_outputs * weight_line];
};

// sum += activations * weights' over the whole depth.  Warps lie 2 x 2 over 64 positions x 128 outputs.  The tiles are free again when
// all threads have met.
template <cuda::Along along, class Operand, class Rows>
__device__ void multiply_tile(Rows &activations, const Operand *weights, int depth, OperandTiles<Operand> &tiles,
                              cuda::WarpTile<2, 8> &sum) {
  constexpr int line = Rows::line, weight_line = OperandTiles<Operand>::weight_line;
  const int warp = threadIdx.x / 32, position = warp % 2 * 32, output = warp / 2 * 64;
  activations.fetch(0);
  copy_weights(weights, depth, 0, tiles.weights[0]);
  for (int k = 0, stage = 0; k < depth; k += chunk<Operand>, stage ^= 1) {
    activations.put(k, tiles.activations[stage]);
    cuda::copy_wait<0>();
    __syncthreads();
    if (k + chunk<Operand> < depth) {
      activations.fetch(k + chunk<Operand>);
      copy_weights(weights, depth, k + chunk<Operand>, tiles.weights[stage ^ 1]);
    }
    const Operand *left = tiles.activations[stage] + (along == cuda::Along::k ? position * line : position);
    sum.template multiply<Operand, along>(left, line, tiles.weights[stage] + output * weight_line, weight_line);
  }
}

}  // namespace lamina::triangle_multiplication
