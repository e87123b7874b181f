// Tiles of 64 positions: their way to and from device memory, as operand of wgmma, and their LayerNorm.
//
// As register operand, lane l of warp w holds positions 16 w + l/4 ("upper") and eight further ("lower"); of each 16 channels the pairs 2*(l%4) and
// 8 + 2*(l%4): a[k] = {upper low pair, lower low pair, upper high pair, lower high pair}.
#pragma once
#include "gpu_cell.cuh"
#include "kernels/cuda/wgmma.cuh"
#include "sm90a_job.h"

namespace lamina::triangle_multiplication::hopper {

using cuda::Barrier;
using bfloat16 = __nv_bfloat16;

struct alignas(16) NormPair {  // of two neighbouring channels
  float weight[2], bias[2];
};

template <int C>
__device__ void load_norm(NormPair *to, const float *weight, const float *bias) {
  for (int pair = threadIdx.x; pair < C / 2; pair += blockDim.x)
    to[pair] = {{weight[2 * pair], weight[2 * pair + 1]}, {bias[2 * pair], bias[2 * pair + 1]}};
}

struct RowPair {  // one number for each of a lane's two positions
  float upper, lower;
};
struct Statistics {
  RowPair mean, scale;
};

__device__ inline uint32_t mixed(RowPair pair) { return __float_as_uint(pair.upper) ^ __float_as_uint(pair.lower); }

// One arrival for the warp, behind all its loads from shared memory.  An arrival right behind ldmatrix can overtake the loads, so it hangs on
// a vote that needs them: `read` is made of every one of them.
__device__ inline void arrive_behind_loads(Barrier &free, uint32_t read) {
  const bool unlikely = __any_sync(~0u, read == 0x7fc17fc3u);
  __syncwarp();
  if (threadIdx.x % 32 == (unlikely ? 1 : 0)) free.arrive();
}

// Sums over channels of a lane's share of its two positions.
class Moments {
 public:
  __device__ void add(const uint32_t (&a)[4]) {
#pragma unroll
    for (int half = 0; half < 4; half += 2) {
      add(a[half], sum_.upper, square_.upper);
      add(a[half + 1], sum_.lower, square_.lower);
    }
  }
  // Mean and 1 / deviation, in one pass.  Float sums of squares lose (mean / deviation)^2 * 2^-24 of the variance; of bf16 numbers with a
  // mean of 256 deviations nothing but their own rounding is left.
  __device__ Statistics over(float channels, float eps) const {
    const RowPair mean{over_quad(sum_.upper) / channels, over_quad(sum_.lower) / channels};
    return {mean,
            {inverse_deviation(over_quad(square_.upper) / channels, mean.upper, eps),
             inverse_deviation(over_quad(square_.lower) / channels, mean.lower, eps)}};
  }

 private:
  __device__ static void add(uint32_t pair, float &sum, float &square) {
    const float low = cuda::low_half(pair), high = cuda::high_half(pair);
    sum += low, square = fmaf(low, low, square);
    sum += high, square = fmaf(high, high, square);
  }
  __device__ static float inverse_deviation(float square, float mean, float eps) {
    return rsqrtf(fmaxf(fmaf(-mean, mean, square), 0.0f) + eps);
  }
  __device__ static float over_quad(float x) {
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
  }
  RowPair sum_{0, 0}, square_{0, 0};
};

// 64 positions from `first` on, 64 channels from `channel` on, into [64][64].  A tile across the end of a padded row comes as boxes of 8
// positions, which never cross it.  What lies outside reads as zero.
__device__ inline void load_positions(const PositionMaps &maps, const Cells &cells, Barrier &full, void *to, int channel, int first) {
  if (cells.pitch == cells.N) return cuda::load_box(maps.whole, full, to, channel, first, 0);
  int line = first / cells.pitch, j = first - line * cells.pitch;
  if (j + tile <= cells.pitch) return cuda::load_box(maps.whole, full, to, channel, j, line);
  for (int at = 0; at < tile; at += 8) {
    cuda::load_box(maps.pieces, full, static_cast<char *>(to) + at * cuda::line_bytes, channel, j, line);
    j += 8;
    if (j == cells.pitch) j = 0, ++line;
  }
}
// And back: what lies outside is not written.
__device__ inline void store_positions(const PositionMaps &maps, const Cells &cells, const void *from, int channel, int first) {
  if (cells.pitch == cells.N) return cuda::store_box(maps.whole, from, channel, first, 0);
  int line = first / cells.pitch, j = first - line * cells.pitch;
  if (j + tile <= cells.pitch) return cuda::store_box(maps.whole, from, channel, j, line);
  for (int at = 0; at < tile; at += 8) {
    cuda::store_box(maps.pieces, static_cast<const char *>(from) + at * cuda::line_bytes, channel, j, line);
    j += 8;
    if (j == cells.pitch) j = 0, ++line;
  }
}

template <int C>
struct Rows {
  uint32_t a[C / 16][4];

  // Of boxes [C / 64][64 positions][64 channels].
  __device__ void load_by_position(const void *boxes) {
    const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, matrix = lane / 8, within = lane % 8;
#pragma unroll
    for (int k = 0; k < C / 16; ++k)
      cuda::load_matrices(
          a[k], cuda::swizzled(cuda::shared_address(boxes) + k / 4 * 8192, warp * 16 + matrix % 2 * 8 + within, k % 4 * 2 + matrix / 2));
  }
  // Of one box [C channels][64 positions]: the transposition comes with the load.
  __device__ void load_by_channel(const void *box) {
    const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, matrix = lane / 8, within = lane % 8;
#pragma unroll
    for (int k = 0; k < C / 16; ++k)
      cuda::load_matrices_transposed(a[k],
                                     cuda::swizzled(cuda::shared_address(box), k * 16 + matrix / 2 * 8 + within, warp * 2 + matrix % 2));
  }

  // Frees the tile's shared memory once all of it, and what `more` is made of, is surely in registers.
  __device__ void release(Barrier &free, uint32_t more = 0) const {
    uint32_t read = more;
#pragma unroll
    for (int k = 0; k < C / 16; ++k) read ^= a[k][3];
    arrive_behind_loads(free, read);
  }

  // May run while wgmma reads the registers.
  __device__ Statistics statistics(float eps) const {
    Moments moments;
#pragma unroll
    for (int k = 0; k < C / 16; ++k) moments.add(a[k]);
    return moments.over(C, eps);
  }

  // LayerNorm in place.
  __device__ void normalise(const NormPair *norm, float eps) {
    const auto [m, s] = statistics(eps);
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < C / 16; ++k)
#pragma unroll
      for (int half = 0; half < 4; half += 2) {
        const NormPair n = norm[k * 8 + half * 2 + lane % 4];
        apply(a[k][half], s.upper, -m.upper * s.upper, n), apply(a[k][half + 1], s.lower, -m.lower * s.lower, n);
      }
  }

  // sum = rows * weights' for 128 rows of weights, boxes [C / 64][128][64].  Asynchronous: wait_products follows.
  __device__ void multiply(float (&sum)[64], const void *weights) {
    cuda::begin_products();
#pragma unroll
    for (int k = 0; k < C / 16; ++k) {
      const uint64_t box = cuda::operand(cuda::shared_address(weights) + k / 4 * 16384);
      cuda::multiply(sum, a[k], cuda::deeper<cuda::Lines::along_k>(box, k % 4), k > 0);
    }
    cuda::commit_products();
  }

 private:
  __device__ static void apply(uint32_t &pair, float scale, float shift, const NormPair &n) {
    pair = cuda::pack(fmaf(fmaf(cuda::low_half(pair), scale, shift), n.weight[0], n.bias[0]),
                      fmaf(fmaf(cuda::high_half(pair), scale, shift), n.weight[1], n.bias[1]));
  }
};

// The same statistics straight from boxes [C / 64][64 positions][64 channels], where wgmma takes the tile from shared memory.
template <int C>
__device__ Statistics statistics_of(const void *boxes, float eps) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, matrix = lane / 8, line = warp * 16 + matrix % 2 * 8 + lane % 8;
  Moments moments;
#pragma unroll 4
  for (int k = 0; k < C / 16; ++k) {
    uint32_t a[4];
    cuda::load_matrices(a, cuda::swizzled(cuda::shared_address(boxes) + k / 4 * 8192, line, k % 4 * 2 + matrix / 2));
    moments.add(a);
  }
  return moments.over(C, eps);
}

// A lane's two of 64 numbers in shared memory, one a position.
__device__ inline RowPair pair_of(const float *values) {
  const int row = threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
  return {values[row], values[row + 8]};
}

// A position in a ring of barriers: which one, and the parity of its current phase.
template <int count>
struct RingIndex {
  int at = 0, parity = 0;
  __device__ void advance(int steps = 1) {
    at += steps;
    while (at >= count) at -= count, parity ^= 1;
  }
};

}  // namespace lamina::triangle_multiplication::hopper
