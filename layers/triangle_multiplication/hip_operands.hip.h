// The operands of front's, gate's and back's matrix products: panels of a tile's channels in LDS, normalised; packed weights in registers.
#pragma once
#include "gpu_cell.cuh"
#include "hip_job.h"
#include "kernels/gpu/rows.cuh"
#include "kernels/hip/panel.h"

namespace lamina::triangle_multiplication {

using gpu::bfloat16, gpu::float16;
using gpu::Eight, gpu::from_float, gpu::to_float;

// The first position of this workgroup's tile; may lie beyond the last.
__device__ inline int64_t first_position() { return (static_cast<int64_t>(hip::block_y()) * grid_width + hip::block_x()) * tile_positions; }

// Dynamic LDS: one panel.
__device__ inline char *panel_memory() {
  extern __shared__ __attribute__((aligned(16))) char dynamic[];
  return dynamic;
}

using gpu::Moments;

// Normalises eight neighbouring channels; without a norm they stay.
__device__ inline void normalise(float (&x)[8], const Moments &moments, const PackedNorm &norm, int channel) {
  if (!norm.weight) return;
  const Eight<float> weight = gpu::load_eight(norm.weight + channel, true), bias = gpu::load_eight(norm.bias + channel, true);
  gpu::normalise(x, moments, weight.value, bias.value);
}

template <class Operand>
__device__ void put_eight(Operand *to, const float (&x)[8]) {
  Eight<Operand> eight;
#pragma unroll
  for (int e = 0; e < 8; ++e) eight.value[e] = from_float<Operand>(x[e]);
  gpu::store_eight(to, eight, true);
}

// A tile of pair: rows of channels.  Sixteen lanes a position.
template <class Io>
class PairTile {
 public:
  __device__ PairTile(const View &pair, bool aligned, const Cells &cells, const PackedNorm &norm, int channels, int64_t first)
      : pair_(pair), aligned_(aligned), cells_(cells), norm_(norm), channels_(channels), first_(first) {}

  __device__ void measure(Moments *moments) const {
    if (!norm_.weight) return;
    const hip::MeanOver16 mean_over(channels_);
    for (int at = hip::thread_index() / 16; at < tile_positions; at += tile_threads / 16) {
      const Cell cell(cells_, first_ + at);
      const Io *row = static_cast<const Io *>(pair_.data) + cell.offset(pair_);
      const Moments found = gpu::row_moments<16>(row, cell.inside ? channels_ : 0, aligned_, hip::thread_index() % 16, norm_.eps, mean_over,
                                                 hip::reciprocal_root);
      if (hip::thread_index() % 16 == 0) moments[at] = found;
    }
  }

  // `depth` channels from `from` on, normalised; zeros beyond the last channel and for padding positions.
  template <class Operand>
  __device__ void load(const Moments *moments, int from, int depth, Operand *panel, int line) const {
    for (int at = hip::thread_index() / 16; at < tile_positions; at += tile_threads / 16) {
      const Cell cell(cells_, first_ + at);
      const Io *row = static_cast<const Io *>(pair_.data) + cell.offset(pair_) + from;
      for (int k = hip::thread_index() % 16 * 8; k < depth; k += 16 * 8) {
        float x[8] = {};
        if (cell.inside && from + k < channels_) {
          const Eight<Io> eight = gpu::load_eight(row + k, aligned_);
#pragma unroll
          for (int e = 0; e < 8; ++e) x[e] = to_float(eight.value[e]);
          normalise(x, norm_.weight ? moments[at] : Moments{}, norm_, from + k);
        }
        put_eight(panel + at * line + k, x);
      }
    }
  }

 private:
  const View &pair_;
  const bool aligned_;
  const Cells &cells_;
  const PackedNorm &norm_;
  const int channels_;
  const int64_t first_;
};

// A tile of planes [channel][count]: columns of channels.  A lane a position, each wave every fourth group of channels.
template <class Plane>
class PlaneTile {
 public:
  __device__ PlaneTile(const void *planes, int64_t count, const PackedNorm &norm, int channels, int64_t first)
      : norm_(norm), channels_(channels), count_(count), inside_(first + hip::lane_index() < count) {
    column_ = static_cast<const Plane *>(planes) + (inside_ ? first + hip::lane_index() : 0);
  }

  // partial: [tile_waves][tile_positions].  Holds barriers: all threads call it.
  __device__ void measure(Moments *moments, float *partial) const {
    if (!norm_.weight) return;
    const int lane = hip::lane_index();
    const float inverse = hip::precise_reciprocal(static_cast<float>(channels_));
    const auto mean_over = [&](float x) {
      partial[hip::wave_index() * tile_positions + lane] = x;
      hip::barrier();
      float sum = 0;
#pragma unroll
      for (int wave = 0; wave < tile_waves; ++wave) sum += partial[wave * tile_positions + lane];
      hip::barrier();
      return sum * inverse;
    };
    const auto each = [&](auto use) { for_channels(use); };
    const Moments found = gpu::moments_of(norm_.eps, each, each, mean_over, hip::reciprocal_root);
    if (hip::wave_index() == 0) moments[lane] = found;
  }

  template <class Operand>
  __device__ void load(const Moments *moments, int from, int depth, Operand *panel, int line) const {
    const int lane = hip::lane_index();
    const Moments own = norm_.weight ? moments[lane] : Moments{};
    for (int k = hip::wave_index() * 8; k < depth; k += tile_waves * 8) {
      float x[8] = {};
      if (from + k < channels_) {
        const Plane *at = column_ + (from + k) * count_;
#pragma unroll
        for (int e = 0; e < 8; ++e) x[e] = to_float(at[e * count_]);
        normalise(x, own, norm_, from + k);
      }
      put_eight(panel + lane * line + k, x);
    }
  }

 private:
  template <class F>
  __device__ void for_channels(F use) const {
    const Plane *at = column_ + hip::wave_index() * count_;
#pragma unroll 4
    for (int channel = hip::wave_index(); channel < channels_; channel += tile_waves, at += tile_waves * count_) use(to_float(*at));
  }

  const PackedNorm &norm_;
  const int channels_;
  const int64_t count_;
  const bool inside_;
  const Plane *column_;
};

// A wave's sums: rows * 32 outputs by the tile's 64 positions.
template <int rows>
struct WaveSums : hip::PanelSums<rows, tile_positions / hip::mma_lines> {
  static constexpr int columns = tile_positions / hip::mma_lines;
};

// sums += weights * tile for this wave's rows from `row` on, panel by panel.  All waves of the workgroup call it; those without rows of
// their own (busy false) help to load.  A tile whose one panel is already there (loaded) is not loaded again.
template <class Operand, int rows, class Tile>
__device__ void multiply_tile(WaveSums<rows> &sums, const PackedLinear &linear, int channels, int row, bool busy, const Tile &tile,
                              const Moments *moments, bool loaded) {
  Operand *panel = reinterpret_cast<Operand *>(panel_memory());
  const int line = panel_line_bytes(channels, sizeof(Operand)) / static_cast<int>(sizeof(Operand));
  const int depth = (channels + hip::mma_depth - 1) / hip::mma_depth * hip::mma_depth, block_size = depth * hip::mma_lines;
  const Operand *weight =
      static_cast<const Operand *>(linear.weight) + row / hip::mma_lines * block_size + hip::lane_index() * hip::lane_depth;
  constexpr int most = panel_channels(sizeof(Operand));
  for (int from = 0; from < depth; from += most) {
    const int here = depth - from < most ? depth - from : most;
    if (!loaded || depth > most) {
      hip::barrier();  // nobody reads the panel before
      tile.load(moments, from, here, panel, line);
      hip::barrier();
    }
    if (busy) sums.multiply(weight + from * hip::mma_lines, block_size, here / hip::mma_depth, panel, line);
  }
}

}  // namespace lamina::triangle_multiplication
