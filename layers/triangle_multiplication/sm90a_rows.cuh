// A warpgroup's tile of 64 positions as register operand of wgmma: loaded from swizzled shared memory, normalised in place.
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

// Where normalise() finds them: copied to shared memory, or, where that is full, in device memory by way of the L1 cache.
struct SharedNorm {
  const NormPair *pairs;
  __device__ NormPair operator()(int pair) const { return pairs[pair]; }
};
struct GlobalNorm {
  const float *weight, *bias;
  __device__ NormPair operator()(int pair) const {
    const float2 w = __ldg(reinterpret_cast<const float2 *>(weight) + pair), b = __ldg(reinterpret_cast<const float2 *>(bias) + pair);
    return {{w.x, w.y}, {b.x, b.y}};
  }
};

template <int C>
__device__ void load_norm(NormPair *to, const float *weight, const float *bias) {
  for (int pair = threadIdx.x; pair < C / 2; pair += blockDim.x)
    to[pair] = {{weight[2 * pair], weight[2 * pair + 1]}, {bias[2 * pair], bias[2 * pair + 1]}};
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

  // LayerNorm of each position; four lanes share one.  Frees the tile's shared memory as soon as all of it is surely in registers: an
  // arrive right behind ldmatrix can overtake the loads, so it hangs on the mean, which needs them all.
  template <class Norm>
  __device__ void normalise(const Norm &norm, float eps, Barrier &free) {
    float upper = 0, lower = 0;
#pragma unroll
    for (int k = 0; k < C / 16; ++k) {
      upper += (cuda::low_half(a[k][0]) + cuda::high_half(a[k][0])) + (cuda::low_half(a[k][2]) + cuda::high_half(a[k][2]));
      lower += (cuda::low_half(a[k][1]) + cuda::high_half(a[k][1])) + (cuda::low_half(a[k][3]) + cuda::high_half(a[k][3]));
    }
    const float upper_mean = over_quad(upper) / C, lower_mean = over_quad(lower) / C;
    const int lane = threadIdx.x % 32;
    if (lane == (__any_sync(~0u, __float_as_uint(upper_mean + lower_mean) == 0x7fc12345u) ? 1 : 0)) free.arrive();

    float upper_square = 0, lower_square = 0;
#pragma unroll
    for (int k = 0; k < C / 16; ++k)
#pragma unroll
      for (int half = 0; half < 4; half += 2) {
        const float u0 = cuda::low_half(a[k][half]) - upper_mean, u1 = cuda::high_half(a[k][half]) - upper_mean;
        const float l0 = cuda::low_half(a[k][half + 1]) - lower_mean, l1 = cuda::high_half(a[k][half + 1]) - lower_mean;
        upper_square = fmaf(u0, u0, fmaf(u1, u1, upper_square));
        lower_square = fmaf(l0, l0, fmaf(l1, l1, lower_square));
      }
    const float upper_scale = rsqrtf(over_quad(upper_square) / C + eps), lower_scale = rsqrtf(over_quad(lower_square) / C + eps);
    const float upper_shift = -upper_mean * upper_scale, lower_shift = -lower_mean * lower_scale;
#pragma unroll
    for (int k = 0; k < C / 16; ++k)
#pragma unroll
      for (int half = 0; half < 4; half += 2) {
        const NormPair n = norm(k * 8 + half * 2 + lane % 4);
        apply(a[k][half], upper_scale, upper_shift, n), apply(a[k][half + 1], lower_scale, lower_shift, n);
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
