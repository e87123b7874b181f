// Sums of 64 gates, 64 values and the gradients of their 64 hidden values, of one warpgroup, to what backward keeps of them.
#pragma once
#include "kernels/cuda/wgmma_product.cuh"

namespace lamina::transition::hopper {

constexpr int hidden_blocks = 8;  // of 8 hidden channels: 16 packed rows, one step of the product with them

// row: of the lane's upper one.
// Gradients of gates and values in the form of the operand, and hidden values: all stored, columns as kernels/cuda/rows_job.h's paired_place() says.
template <class T, class Job>
__device__ void activate_gradient(const Job &job, const float (&before)[64], const float (&dh)[32], int group, int row,
                                  uint32_t (&inner)[hidden_blocks][4]) {
  const int quad = threadIdx.x % 4;
  const float *bias = job.up_bias + group * 128 + quad * 2;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t values[4][2];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int t = half * 4 + i;
      float2 gate_bias{0, 0}, value_bias{0, 0};
      if (job.up_bias) {
        gate_bias = __ldg(reinterpret_cast<const float2 *>(bias + 16 * t));
        value_bias = __ldg(reinterpret_cast<const float2 *>(bias + 16 * t + 8));
      }
#pragma unroll
      for (int lower = 0; lower < 2; ++lower) {
        float gate_gradient[2], value_gradient[2], value[2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const float g = before[8 * t + 2 * lower + e] + (e ? gate_bias.y : gate_bias.x),
                      v = before[8 * t + 4 + 2 * lower + e] + (e ? value_bias.y : value_bias.x), d = dh[4 * t + 2 * lower + e];
          const float s = fmaf(0.5f, cuda::tanh_approximate(0.5f * g), 0.5f), opened = g * s;
          gate_gradient[e] = d * v * fmaf(opened, 1.0f - s, s);
          value_gradient[e] = d * opened;
          value[e] = opened * v;
        }
        inner[t][lower] = cuda::pack_pair<T>(gate_gradient[0], gate_gradient[1]);
        inner[t][2 + lower] = cuda::pack_pair<T>(value_gradient[0], value_gradient[1]);
        values[i][lower] = cuda::pack_pair<T>(value[0], value[1]);
      }
    }
#pragma unroll
    for (int lower = 0; lower < 2; ++lower) {
      if (row + lower * 8 >= job.rows) continue;
      const int64_t at =
          (static_cast<int64_t>(row + lower * 8) * job.groups + group) * 64 + half * 32;  // of hidden; inner is twice as wide
      T *to = static_cast<T *>(job.inner) + at * 2 + quad * 8;
#pragma unroll
      for (int block = 0; block < 2; ++block) {
        const int t = half * 4 + block * 2;
        *reinterpret_cast<uint4 *>(to + block * 32) = {inner[t][lower], inner[t][2 + lower], inner[t + 1][lower], inner[t + 1][2 + lower]};
      }
      *reinterpret_cast<uint4 *>(static_cast<T *>(job.hidden) + at + quad * 8) = {values[0][lower], values[1][lower], values[2][lower],
                                                                                  values[3][lower]};
    }
  }
}

}  // namespace lamina::transition::hopper
