// LayerNorm of 16-bit rows held in a warp's registers: one read and one write of memory, in place if wanted.
#pragma once
#include "barrier.cuh"
#include "rows_norm.cuh"
#include "rows_norm_fast.h"

namespace lamina::cuda {

// Over the warp, each of `count` sums; side by side, since one sum's steps wait for each other.
template <int count>
__device__ void over_warp_together(float (&sum)[count]) {
#pragma unroll
  for (int step = 16; step; step /= 2)
#pragma unroll
    for (int i = 0; i < count; ++i) sum[i] += __shfl_xor_sync(~0u, sum[i], step);
}

// channels a multiple of 8, at most `most`; rows aligned to 16 bytes.  A warp has `count` neighbouring rows.
template <class T, int most, int count>
__device__ void normalise_in_registers(const NormJob &job) {
  static_assert(most <= fast_norm_channels && count == fast_norm_rows(most));
  constexpr int groups = most / 256;
  allow_next_kernel();
  wait_for_previous_kernel();
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * row_threads + threadIdx.x) / 32 * count;
  if (first >= job.rows) return;
  const int lane = threadIdx.x % 32;
  gpu::Eight<T> held[groups][count];
  const auto each = [&](auto use) {  // use(eight of a row, row, channel)
#pragma unroll
    for (int group = 0; group < groups; ++group)
      if (group * 256 + lane * 8 < job.channels)
#pragma unroll
        for (int r = 0; r < count; ++r) use(held[group][r], r, group * 256 + lane * 8);
  };
  each([&](gpu::Eight<T> &eight, int r, int channel) {
    const int64_t row = first + r < job.rows ? first + r : job.rows - 1;
    eight = *reinterpret_cast<const gpu::Eight<T> *>(static_cast<const T *>(job.x) + row * job.x_line + channel);
  });
  float mean[count] = {}, square[count] = {};
  each([&](const gpu::Eight<T> &eight, int r, int) {
#pragma unroll
    for (int e = 0; e < 8; ++e) mean[r] += gpu::to_float(eight.value[e]);
  });
  over_warp_together(mean);
  const float channels = static_cast<float>(job.channels);
#pragma unroll
  for (int r = 0; r < count; ++r) mean[r] /= channels;
  each([&](const gpu::Eight<T> &eight, int r, int) {
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const float centred = gpu::to_float(eight.value[e]) - mean[r];
      square[r] = fmaf(centred, centred, square[r]);
    }
  });
  over_warp_together(square);
  gpu::Moments of_row[count];
#pragma unroll
  for (int r = 0; r < count; ++r) of_row[r] = {mean[r], rsqrtf(square[r] / channels + job.eps)};
  float weight[8], bias[8];
  each([&](const gpu::Eight<T> &eight, int r, int channel) {
    if (r == 0) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float4 w = *reinterpret_cast<const float4 *>(job.weight + channel + half * 4),
                     b = *reinterpret_cast<const float4 *>(job.bias + channel + half * 4);
        weight[half * 4] = w.x, weight[half * 4 + 1] = w.y, weight[half * 4 + 2] = w.z, weight[half * 4 + 3] = w.w;
        bias[half * 4] = b.x, bias[half * 4 + 1] = b.y, bias[half * 4 + 2] = b.z, bias[half * 4 + 3] = b.w;
      }
    }
    gpu::Eight<T> result;
#pragma unroll
    for (int e = 0; e < 8; ++e)
      result.value[e] = gpu::from_float<T>(gpu::normalised(gpu::to_float(eight.value[e]), of_row[r], weight[e], bias[e]));
    if (first + r < job.rows) *reinterpret_cast<gpu::Eight<T> *>(static_cast<T *>(job.out) + (first + r) * job.out_line + channel) = result;
  });
}

}  // namespace lamina::cuda
