// The operands of the front's and the back's matrix products in shared memory: a tile of positions, normalised and resident; packed
// weights, streamed past it.
#pragma once
#include "cuda_job.h"
#include "gpu_cell.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/gpu/rows.cuh"

namespace lamina::triangle_multiplication {

using cuda::bfloat16, cuda::float16;
using gpu::Eight, gpu::from_float, gpu::to_float;

__device__ inline float reciprocal_root(float x) { return rsqrtf(x); }

// One row of channels in the registers of `lanes` neighbouring lanes, 16 or 32: each holds groups of 8 channels.
template <int lanes>
struct Row {
  static constexpr int stride = lanes * 8, groups = lanes == 16 ? 1 : 3;  // up to 128 channels, or up to 768
  float x[groups][8];

  __device__ static int first() { return threadIdx.x % lanes * 8; }
  // Calls use(group, channel) for every group of this lane below `channels`; the outer test is the same for all lanes.
  template <class F>
  __device__ static void for_groups(int channels, F use) {
#pragma unroll
    for (int group = 0; group < groups; ++group)
      if (group * stride < channels && first() + group * stride < channels) use(group, first() + group * stride);
  }
  __device__ static float over_lanes(float sum) {
#pragma unroll
    for (int step = 1; step < lanes; step *= 2) sum += __shfl_xor_sync(~0u, sum, step);
    return sum;
  }

  struct MeanOver {  // for gpu::moments_of
    int channels;
    __device__ float operator()(float sum) const { return over_lanes(sum) / static_cast<float>(channels); }
  };
  template <class F>
  __device__ void for_elements(int channels, F use) {
    for_groups(channels, [&](int group, int) {
#pragma unroll
      for (int e = 0; e < 8; ++e) use(x[group][e]);
    });
  }

  template <class T>
  __device__ void load(const T *from, int channels, bool aligned) {
    for_groups(channels, [&](int group, int channel) {
      const Eight<T> eight = gpu::load_eight(from + channel, aligned);
#pragma unroll
      for (int e = 0; e < 8; ++e) x[group][e] = to_float(eight.value[e]);
    });
  }

  // All lanes of a warp call these two.
  __device__ gpu::Moments moments(int channels, float eps) {
    const auto each = [&](auto use) { for_elements(channels, use); };
    return gpu::moments_of(eps, each, each, MeanOver{channels}, reciprocal_root);
  }
  __device__ void normalise(const PackedNorm &norm) {
    if (!norm.weight) return;
    const float scale =
        gpu::centre(norm.eps, [&](auto use) { for_elements(norm.channels, use); }, MeanOver{norm.channels}, reciprocal_root);
    for_groups(norm.channels, [&](int group, int channel) {
      const Eight<float> weight = gpu::load_eight(norm.weight + channel, true), bias = gpu::load_eight(norm.bias + channel, true);
#pragma unroll
      for (int e = 0; e < 8; ++e) x[group][e] = gpu::scaled(x[group][e], scale, weight.value[e], bias.value[e]);
    });
  }

  // Zeros follow the channels up to the end of the line's last 64 bytes; `inside` false: zeros alone.
  template <class Operand>
  __device__ void put(Operand *line, int channels, bool inside) const {
    const int whole = (channels + cuda::chunk<Operand> - 1) / cuda::chunk<Operand> * cuda::chunk<Operand>;
    for_groups(whole, [&](int group, int channel) {
      Eight<Operand> eight;
#pragma unroll
      for (int e = 0; e < 8; ++e) eight.value[e] = from_float<Operand>(inside && channel < channels ? x[group][e] : 0.0f);
      *reinterpret_cast<Eight<Operand> *>(line + channel) = eight;
    });
  }
};

// Normalised rows of pair, [positions][line]; padding positions are zeros.
template <int positions, int lanes, class Io, class Operand>
__device__ void load_pair_rows(const View &pair, bool aligned, const Cells &cells, const PackedNorm &norm, int64_t first, Operand *tile) {
  const int line = line_bytes(norm.channels, sizeof(Operand)) / static_cast<int>(sizeof(Operand));
#pragma unroll 2
  for (int at = threadIdx.x / lanes; at < positions; at += tile_threads / lanes) {
    const Cell cell(cells, first + at);
    Row<lanes> row{};
    if (cell.inside) row.load(static_cast<const Io *>(pair.data) + cell.offset(pair), norm.channels, aligned);
    row.normalise(norm);
    row.put(tile + at * line, norm.channels, cell.inside);
  }
}
template <int positions, class Io, class Operand>
__device__ void load_pair(const View &pair, bool aligned, const Cells &cells, const PackedNorm &norm, int64_t first, Operand *tile) {
  if (norm.channels <= 128) load_pair_rows<positions, 16, Io>(pair, aligned, cells, norm, first, tile);
  else load_pair_rows<positions, 32, Io>(pair, aligned, cells, norm, first, tile);
}

// Rows that lie in `tile` as Plane elements become normalised Operand elements, in place.
template <int positions, int lanes, class Plane, class Operand>
__device__ void normalise_rows(const PackedNorm &norm, char *tile, int bytes) {
#pragma unroll 2
  for (int at = threadIdx.x / lanes; at < positions; at += tile_threads / lanes) {
    Row<lanes> row{};
    row.load(reinterpret_cast<const Plane *>(tile + at * bytes), norm.channels, true);
    row.normalise(norm);
    __syncwarp();  // the row is in registers before narrower elements overwrite it
    row.put(reinterpret_cast<Operand *>(tile + at * bytes), norm.channels, true);
  }
}

// Normalised rows from planes [channel][count], transposed on the way.
template <int positions, class Plane, class Operand>
__device__ void load_planes(const Plane *planes, int64_t count, const PackedNorm &norm, int64_t first, char *tile) {
  constexpr int widest = sizeof(Plane) > sizeof(Operand) ? sizeof(Plane) : sizeof(Operand), groups = positions / 8;
  const int bytes = line_bytes(norm.channels, widest);
  // A warp takes 16 positions of 16 channels: whole sectors of memory, neighbouring elements of the tile.
  const int lane = threadIdx.x % 32, pairs = groups / 2, blocks = (norm.channels + 15) / 16;
  for (int block = threadIdx.x / 32; block < blocks * pairs; block += tile_threads / 32) {
    const int channel = block / pairs * 16 + lane / 2, position = block % pairs * 16 + lane % 2 * 8;
    if (channel >= norm.channels) continue;
    Eight<Plane> eight{};
    if (first + position < count) eight = gpu::load_eight(planes + channel * count + first + position, true);
#pragma unroll
    for (int e = 0; e < 8; ++e) reinterpret_cast<Plane *>(tile + (position + e) * bytes)[channel] = eight.value[e];
  }
  __syncthreads();
  if (norm.channels <= 128) normalise_rows<positions, 16, Plane, Operand>(norm, tile, bytes);
  else normalise_rows<positions, 32, Plane, Operand>(norm, tile, bytes);
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

  // Each thread copies 16 bytes of row thread/4 and of the row 64 below.
  __device__ explicit WeightStream(char *stages)
      : stages_(stages), row_(threadIdx.x / 4), at_(threadIdx.x % 4 * (16 / static_cast<int>(sizeof(Operand)))) {}

  // Fetches chunk `k` of 128 rows of `depth`; null: nothing, but the count goes on.
  __device__ void fetch(const Operand *rows, int depth, int k) {
    if (rows) {
      Operand *to = stage(fetched_) + row_ * line + at_;
      const bool valid = k + at_ < depth;
      const Operand *from = rows + (valid ? row_ * depth + k + at_ : 0);
      cuda::copy_16_async(to, from, valid);
      cuda::copy_16_async(to + 64 * line, from + (valid ? 64 * depth : 0), valid);
    }
    cuda::copy_commit();
    advance(fetched_);
  }
  // The next stage is complete for all threads, and the one before it may be overwritten.
  __device__ const Operand *next() {
    cuda::copy_wait<stage_count - 2>();
    __syncthreads();
    const Operand *ready = stage(used_);
    advance(used_);
    return ready;
  }

 private:
  __device__ Operand *stage(int index) const { return reinterpret_cast<Operand *>(stages_ + index * stage_bytes); }
  __device__ static void advance(int &index) { index = index == stage_count - 1 ? 0 : index + 1; }
  char *stages_;
  int row_, at_, fetched_ = 0, used_ = 0;
};

}  // namespace lamina::triangle_multiplication
