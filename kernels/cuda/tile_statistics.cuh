// LayerNorm statistics of 64 rows that lie in shared memory as operand of wgmma, for one warpgroup.
#pragma once
#include "wgmma_product.cuh"

namespace lamina::cuda {

struct RowPair {  // one number for each of a lane's two rows
  float upper, lower;
};

__device__ inline float over_quad(float x) {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}

// 1 / deviation of a lane's two rows, in one pass over the tile in shared memory: of 16-bit numbers nothing but their own rounding is lost.
template <class T, int C>
__device__ RowPair inverse_deviations(const T (*boxes)[64][64], float eps) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, matrix = lane / 8, line = warp * 16 + matrix % 2 * 8 + lane % 8;
  float sum[2] = {}, square[2] = {};
#pragma unroll 4
  for (int k = 0; k < C / 16; ++k) {
    uint32_t a[4];
    load_matrices(a, swizzled(shared_address(boxes[k / 4]), line, k % 4 * 2 + matrix / 2));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 x = unpack_pair<T>(a[i]);
      sum[i % 2] += x.x + x.y;
      square[i % 2] = fmaf(x.x, x.x, fmaf(x.y, x.y, square[i % 2]));
    }
  }
  float scale[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float mean = over_quad(sum[i]) / C;
    scale[i] = rsqrtf(fmaxf(fmaf(-mean, mean, over_quad(square[i]) / C), 0.0f) + eps);
  }
  return {scale[0], scale[1]};
}

}  // namespace lamina::cuda
