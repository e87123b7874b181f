// A warpgroup's tile of 64 positions as register operand of wgmma: loaded from swizzled shared memory; its LayerNorm.
//
// Lane l of warp w holds positions 16 w + l/4 ("upper") and eight further ("lower"); of each 16 channels the pairs 2*(l%4) and
// 8 + 2*(l%4): a[k] = {upper low pair, lower low pair, upper high pair, lower high pair}.
#pragma once
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

  // Frees the tile's shared memory once all of it is surely in registers.  An arrive right behind ldmatrix can overtake the loads, so it
  // hangs on a vote that needs them all.
  __device__ void release(Barrier &free) const {
    uint32_t mixed = 0;
#pragma unroll
    for (int k = 0; k < C / 16; ++k) mixed ^= a[k][3];
    const bool unlikely = __any_sync(~0u, mixed == 0x7fc17fc3u);
    if (threadIdx.x % 32 == (unlikely ? 1 : 0)) free.arrive();
  }

  // Mean and 1 / deviation of each position, in one pass.  Float sums of squares lose (mean / deviation)^2 * 2^-24 of the variance; of
  // bf16 numbers with a mean of 256 deviations nothing but their own rounding is left.  May run while wgmma reads the registers.
  __device__ Statistics statistics(float eps) const {
    RowPair sum{0, 0}, square{0, 0};
#pragma unroll
    for (int k = 0; k < C / 16; ++k)
#pragma unroll
      for (int half = 0; half < 4; half += 2) {
        add(a[k][half], sum.upper, square.upper);
        add(a[k][half + 1], sum.lower, square.lower);
      }
    const RowPair mean{over_quad(sum.upper) / C, over_quad(sum.lower) / C};
    return {
        mean,
        {inverse_deviation(over_quad(square.upper) / C, mean.upper, eps), inverse_deviation(over_quad(square.lower) / C, mean.lower, eps)}};
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
  __device__ static void apply(uint32_t &pair, float scale, float shift, const NormPair &n) {
    pair = cuda::pack(fmaf(fmaf(cuda::low_half(pair), scale, shift), n.weight[0], n.bias[0]),
                      fmaf(fmaf(cuda::high_half(pair), scale, shift), n.weight[1], n.bias[1]));
  }
};

}  // namespace lamina::triangle_multiplication::hopper
