// LayerNorm over rows and its gradient, a warp a row; sums down columns in a fixed order.
#pragma once
#include "rows_job.h"
#include "kernels/gpu/element.cuh"

namespace lamina::cuda {

constexpr int row_threads = 256;

// An element of a matrix that is T or, where the job says so, float.
template <class T>
__device__ float element(const void *data, bool is_float, int64_t at) {
  return is_float ? static_cast<const float *>(data)[at] : gpu::to_float(static_cast<const T *>(data)[at]);
}

__device__ inline float over_warp(float sum) {
#pragma unroll
  for (int step = 16; step; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  return sum;
}

struct RowStatistics {
  float mean, scale;
};
// Two passes over the row, so that a mean far above the deviation costs no digits.
template <class T>
__device__ RowStatistics row_statistics(const void *x, bool is_float, int64_t first, int channels, float eps) {
  const int lane = threadIdx.x % 32;
  float sum = 0, square = 0;
  for (int c = lane; c < channels; c += 32) sum += element<T>(x, is_float, first + c);
  const float mean = over_warp(sum) / static_cast<float>(channels);
  for (int c = lane; c < channels; c += 32) {
    const float centred = element<T>(x, is_float, first + c) - mean;
    square = fmaf(centred, centred, square);
  }
  return {mean, 1.0f / sqrtf(over_warp(square) / static_cast<float>(channels) + eps)};
}

template <class T>
__device__ void normalise(const NormJob &job) {
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * row_threads + threadIdx.x) / 32;
  if (row >= job.rows) return;
  const auto [mean, scale] = row_statistics<T>(job.x, job.x_is_float, row * job.x_line, job.channels, job.eps);
  for (int c = threadIdx.x % 32; c < job.channels; c += 32) {
    const float centred = element<T>(job.x, job.x_is_float, row * job.x_line + c) - mean;
    static_cast<T *>(job.out)[row * job.out_line + c] = gpu::from_float<T>(fmaf(centred * scale, job.weight[c], job.bias[c]));
  }
}

// x' = scale (g - mean(g) - n mean(g n)) with g = gradient * weight, n = normalised x.
template <class T>
__device__ void norm_gradient(const NormGradientJob &job) {
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * row_threads + threadIdx.x) / 32;
  if (row >= job.rows) return;
  const int lane = threadIdx.x % 32;
  const auto [mean, scale] = row_statistics<T>(job.x, job.x_is_float, row * job.x_line, job.channels, job.eps);
  if (lane == 0) job.statistics[2 * row] = mean, job.statistics[2 * row + 1] = scale;
  if (!job.x_gradient) return;
  float sum = 0, along = 0;
  const auto parts = [&](int c, float &g, float &n) {
    g = element<T>(job.gradient, job.gradient_is_float, row * job.gradient_line + c) * job.weight[c];
    n = (element<T>(job.x, job.x_is_float, row * job.x_line + c) - mean) * scale;
  };
  for (int c = lane; c < job.channels; c += 32) {
    float g, n;
    parts(c, g, n);
    sum += g, along = fmaf(g, n, along);
  }
  const float channels = static_cast<float>(job.channels);
  sum = over_warp(sum) / channels, along = over_warp(along) / channels;
  for (int c = lane; c < job.channels; c += 32) {
    float g, n;
    parts(c, g, n);
    static_cast<T *>(job.x_gradient)[row * job.x_gradient_line + c] = gpu::from_float<T>(scale * (g - sum - n * along));
  }
}

// blockIdx.x: 32 columns, blockIdx.y: a slab of rows.  Eight warps take rows in turn, then their sums are added in order.
template <class T>
__device__ void column_sums(const ColumnSumsJob &job) {
  __shared__ float of_warp[2][8][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, column = blockIdx.x * 32 + lane;
  const int64_t first = static_cast<int64_t>(blockIdx.y) * slab_rows;
  float sum = 0, along = 0;
  if (column < job.columns)
    for (int64_t row = first + warp; row < job.rows && row < first + slab_rows; row += 8) {
      const float g = element<T>(job.gradient, job.gradient_is_float, row * job.gradient_line + column);
      sum += g;
      if (job.x)
        along =
            fmaf(g, (element<T>(job.x, job.x_is_float, row * job.x_line + column) - job.statistics[2 * row]) * job.statistics[2 * row + 1],
                 along);
    }
  of_warp[0][warp][lane] = sum, of_warp[1][warp][lane] = along;
  __syncthreads();
  if (warp > 1 || column >= job.columns || (warp == 1 && !job.x)) return;
  float total = 0;
  for (int w = 0; w < 8; ++w) total += of_warp[warp][w][lane];
  const int64_t width = static_cast<int64_t>(job.columns) * (job.x ? 2 : 1);
  float &to = job.sums[blockIdx.y * width + warp * static_cast<int64_t>(job.columns) + column];
  to = job.add_to_sums ? to + total : total;
}

}  // namespace lamina::cuda
