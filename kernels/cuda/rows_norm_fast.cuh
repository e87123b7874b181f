// LayerNorm of 16-bit rows held in a warp's registers: one read and one write of memory, in place if wanted.
#pragma once
#include "rows_norm.cuh"
#include "rows_norm_fast.h"

namespace lamina::cuda {

// channels a multiple of 8, at most fast_norm_channels; rows aligned to 16 bytes.
template <class T>
__device__ void normalise_in_registers(const NormJob &job) {
  constexpr int groups = fast_norm_channels / 256;
  asm volatile("griddepcontrol.launch_dependents;\n griddepcontrol.wait;" ::: "memory");
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * row_threads + threadIdx.x) / 32;
  if (row >= job.rows) return;
  const int lane = threadIdx.x % 32;
  const T *from = static_cast<const T *>(job.x) + row * job.x_line;
  gpu::Eight<T> held[groups];
  const auto each_group = [&](auto use) {
#pragma unroll
    for (int group = 0; group < groups; ++group)
      if (group * 256 + lane * 8 < job.channels) use(held[group], group * 256 + lane * 8);
  };
  const auto use_eight = [](const gpu::Eight<T> &eight, auto use) {
#pragma unroll
    for (int e = 0; e < 8; ++e) use(gpu::to_float(eight.value[e]));
  };
  const auto first = [&](auto use) {
    each_group([&](gpu::Eight<T> &eight, int channel) {
      eight = *reinterpret_cast<const gpu::Eight<T> *>(from + channel);
      use_eight(eight, use);
    });
  };
  const auto again = [&](auto use) { each_group([&](const gpu::Eight<T> &eight, int) { use_eight(eight, use); }); };
  const auto mean_over = [&](float sum) { return over_warp(sum) / static_cast<float>(job.channels); };
  const gpu::Moments of_row = gpu::moments_of(job.eps, first, again, mean_over, [](float square) { return rsqrtf(square); });
  T *to = static_cast<T *>(job.out) + row * job.out_line;
  each_group([&](const gpu::Eight<T> &eight, int channel) {
    gpu::Eight<T> result;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float4 w = *reinterpret_cast<const float4 *>(job.weight + channel + half * 4),
                   b = *reinterpret_cast<const float4 *>(job.bias + channel + half * 4);
      const float weight[4] = {w.x, w.y, w.z, w.w}, bias[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int e = 0; e < 4; ++e)
        result.value[half * 4 + e] =
            gpu::from_float<T>(gpu::normalised(gpu::to_float(eight.value[half * 4 + e]), of_row, weight[e], bias[e]));
    }
    *reinterpret_cast<gpu::Eight<T> *>(to + channel) = result;
  });
}

}  // namespace lamina::cuda
