// Tiles of 64 positions: their way to and from device memory, as operand of wgmma, and their LayerNorm.
//
// As register operand, lane l of warp w holds positions 16 w + l/4 ("upper") and eight further ("lower"); of each 16 channels the pairs 2*(l%4) and
// 8 + 2*(l%4): a[k] = {upper low pair, lower low pair, upper high pair, lower high pair}.
#pragma once
#include "gpu_cell.cuh"
#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/turns.cuh"
#include "kernels/cuda/wgmma.cuh"
#include "sm90a_job.h"
#include "tiles.h"

namespace lamina::triangle_multiplication::hopper {

using cuda::Barrier;
using bfloat16 = __nv_bfloat16;
using float16 = __half;

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
  template <class T>
  __device__ void add(const uint32_t (&a)[4]) {
#pragma unroll
    for (int half = 0; half < 4; half += 2) {
      add<T>(a[half], sum_.upper, square_.upper);
      add<T>(a[half + 1], sum_.lower, square_.lower);
    }
  }
  // 64 channels of the tile: a box [64 positions][64 channels], or [64 channels][64 positions].
  template <class T, bool by_channel>
  __device__ void add_box(const void *box) {
    const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, matrix = lane / 8, within = lane % 8;
    const uint32_t from = cuda::shared_address(box);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      uint32_t a[4];
      if constexpr (by_channel)
        cuda::load_matrices_transposed(a, cuda::swizzled(from, k * 16 + matrix / 2 * 8 + within, warp * 2 + matrix % 2));
      else cuda::load_matrices(a, cuda::swizzled(from, warp * 16 + matrix % 2 * 8 + within, k * 2 + matrix / 2));
      add<T>(a);
    }
  }
  // Made of all numbers added, for arrive_behind_loads.
  __device__ uint32_t mark() const { return mixed(square_); }
  // Mean and 1 / deviation, in one pass.  Float sums of squares lose (mean / deviation)^2 * 2^-24 of the variance; of bf16 numbers with a
  // mean of 256 deviations nothing but their own rounding is left.
  __device__ Statistics over(float channels, float eps) const {
    const RowPair mean{over_quad(sum_.upper) / channels, over_quad(sum_.lower) / channels};
    return {mean,
            {inverse_deviation(over_quad(square_.upper) / channels, mean.upper, eps),
             inverse_deviation(over_quad(square_.lower) / channels, mean.lower, eps)}};
  }

 private:
  template <class T>
  __device__ static void add(uint32_t pair, float &sum, float &square) {
    const float low = cuda::low_half<T>(pair), high = cuda::high_half<T>(pair);
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

// A position in lines of `pitch`, kept up from step to step: divisions would hold up the one thread that feeds all others.
class Walk {
 public:
  int line, j;  // of the position
  int position;
  __device__ Walk(const Cells &cells, int from, int step)
      : line(from / cells.pitch),
        j(from % cells.pitch),
        position(from),
        pitch_(cells.pitch),
        step_(step),
        lines_(step / pitch_),
        rest_(step % pitch_) {}
  __device__ void advance() {
    position += step_, line += lines_, j += rest_;
    if (j >= pitch_) j -= pitch_, ++line;
  }
  // So many positions on, less than a few lines.
  __device__ void move(int positions) {
    position += positions, j += positions;
    while (j >= pitch_) j -= pitch_, ++line;
  }
  // Lane 0's, in all lanes.
  __device__ Walk of_first_lane() const {
    Walk first = *this;
    first.position = __shfl_sync(~0u, position, 0), first.line = __shfl_sync(~0u, line, 0), first.j = __shfl_sync(~0u, j, 0);
    return first;
  }

 private:
  int pitch_, step_, lines_, rest_;
};

// How a tile of 64 positions lies in maps of [lines][N][C]: as one box of `whole`, or, where it crosses the end of a padded row, as pieces of
// 8 positions, which never cross it.  One way through for both kinds of maps: the thread that loads holds all others up.
struct TilePlace {
  int x, y;  // of the box, or of the first piece
  bool crosses;
  __device__ TilePlace(const PositionMaps &maps, int pitch, const Walk &at)
      : x(maps.flat ? at.position : at.j), y(maps.flat ? 0 : at.line), crosses(!maps.flat && at.j + tile > pitch) {}
};

// 64 positions, 64 channels from `channel` on, into [64][64].  What lies outside reads as zero.
__device__ inline void load_positions(const PositionMaps &maps, const Cells &cells, Barrier &full, void *to, int channel, const Walk &at) {
  const TilePlace place(maps, cells.pitch, at);
  if (!place.crosses) return cuda::load_box(maps.whole, full, to, channel, place.x, place.y);
  int j = place.x, line = place.y;
#pragma unroll 1
  for (int piece = 0; piece < tile; piece += 8) {
    cuda::load_box(maps.pieces, full, static_cast<char *>(to) + piece * cuda::line_bytes, channel, j, line);
    j += 8;
    if (j == cells.pitch) j = 0, ++line;
  }
}
// `boxes` times 64 channels from 0 on, into [boxes][64][64], by all lanes of a warp; lane 0 counts the bytes.  `at` is the same in all lanes.
template <int boxes>
__device__ void load_tile(const PositionMaps &maps, const Cells &cells, Barrier &full, void *to, const Walk &at) {
  const TilePlace place(maps, cells.pitch, at);
  const int lane = threadIdx.x % 32;
  if (lane == 0) full.expect(boxes * tile * 64 * 2);
  if (!place.crosses) {
    if (lane == 0)
      for (int box = 0; box < boxes; ++box)
        cuda::load_box(maps.whole, full, static_cast<char *>(to) + box * tile * 128, box * 64, place.x, place.y);
    return;
  }
  __syncwarp();
#pragma unroll 1
  for (int piece = lane; piece < boxes * 8; piece += 32) {
    int j = place.x + piece % 8 * 8, line = place.y;
    while (j >= cells.pitch) j -= cells.pitch, ++line;
    cuda::load_box(maps.pieces, full, static_cast<char *>(to) + piece * 8 * cuda::line_bytes, piece / 8 * 64, j, line);
  }
}
// And back: what lies outside is not written, so the first row's part goes as one box.  The rows that follow take pieces: a box that is stored may
// hang over a tensor's end, but not begin before its beginning (CUDA C++ programming guide, tensor memory access; the H200 traps).
__device__ inline void store_positions(const PositionMaps &maps, const Cells &cells, void *from, int channel, const Walk &at) {
  const TilePlace place(maps, cells.pitch, at);
  cuda::store_box(maps.whole, from, channel, place.x, place.y);
  if (!place.crosses) return;
  int j = 0, line = place.y + 1;
#pragma unroll 1
  for (int piece = cells.pitch - place.x; piece < tile; piece += 8) {
    cuda::store_box(maps.pieces, static_cast<char *>(from) + piece * cuda::line_bytes, channel, j, line);
    j += 8;
    if (j == cells.pitch) j = 0, ++line;
  }
}

template <int C, class T>
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
    for (int k = 0; k < C / 16; ++k) moments.add<T>(a[k]);
    return moments.over(C, eps);
  }

  // LayerNorm in place.
  __device__ void normalise(const NormPair *norm, float eps) {
    normalise(norm, eps, [](uint32_t &pair, int, int, float low, float high) { pair = cuda::pack<T>(low, high); });
  }
  // put(a[k][i], k, i, low, high) rounds what it makes of them.
  template <class Put>
  __device__ void normalise(const NormPair *norm, float eps, Put put) {
    const auto [m, s] = statistics(eps);
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < C / 16; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const NormPair n = norm[k * 8 + i / 2 * 4 + lane % 4];
        const float scale = i % 2 ? s.lower : s.upper, shift = -(i % 2 ? m.lower : m.upper) * scale;
        const uint32_t x = a[k][i];
        put(a[k][i], k, i, fmaf(fmaf(cuda::low_half<T>(x), scale, shift), n.weight[0], n.bias[0]),
            fmaf(fmaf(cuda::high_half<T>(x), scale, shift), n.weight[1], n.bias[1]));
      }
  }

  // sum = rows * weights' for 2 * sums rows of weights, boxes [C / 64][2 * sums][64].  Asynchronous: wait_products follows.
  template <int sums>
  __device__ void multiply(float (&sum)[sums], const void *weights) {
    cuda::begin_products();
#pragma unroll
    for (int k = 0; k < C / 16; ++k) {
      const uint64_t box = cuda::operand(cuda::shared_address(weights) + k / 4 * (2 * sums * 128));
      cuda::multiply<T>(sum, a[k], cuda::deeper<cuda::Lines::along_k>(box, k % 4), k > 0);
    }
    cuda::commit_products();
  }
};

// The same statistics straight from boxes [C / 64][64 positions][64 channels], where wgmma takes the tile from shared memory.
template <int C, class T>
__device__ Statistics statistics_of(const void *boxes, float eps) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, matrix = lane / 8, line = warp * 16 + matrix % 2 * 8 + lane % 8;
  Moments moments;
#pragma unroll 4
  for (int k = 0; k < C / 16; ++k) {
    uint32_t a[4];
    cuda::load_matrices(a, cuda::swizzled(cuda::shared_address(boxes) + k / 4 * 8192, line, k % 4 * 2 + matrix / 2));
    moments.add<T>(a);
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
