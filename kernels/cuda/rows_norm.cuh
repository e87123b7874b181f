// LayerNorm over rows and its gradient, a warp a row; sums down columns in a fixed order.
#pragma once
#include "rows_job.h"
#include "kernels/gpu/rows.cuh"

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

// A warp takes the row lane by lane, so that rows need no alignment.
template <class T>
__device__ gpu::Moments row_moments(const void *x, bool is_float, int64_t first, int channels, float eps) {
  const auto each = [&](auto use) {
    for (int c = threadIdx.x % 32; c < channels; c += 32) use(element<T>(x, is_float, first + c));
  };
  const auto mean_over = [&](float sum) { return over_warp(sum) / static_cast<float>(channels); };
  return gpu::moments_of(eps, each, each, mean_over, [](float square) { return 1.0f / sqrtf(square); });
}

template <class T>
__device__ void normalise(const NormJob &job) {
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * row_threads + threadIdx.x) / 32;
  if (row >= job.rows) return;
  const gpu::Moments of_row = row_moments<T>(job.x, job.x_is_float, row * job.x_line, job.channels, job.eps);
  for (int c = threadIdx.x % 32; c < job.channels; c += 32) {
    const float x = element<T>(job.x, job.x_is_float, row * job.x_line + c);
    static_cast<T *>(job.out)[row * job.out_line + c] = gpu::from_float<T>(gpu::normalised(x, of_row, job.weight[c], job.bias[c]));
  }
}

template <class T>
__device__ void norm_gradient(const NormGradientJob &job) {
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * row_threads + threadIdx.x) / 32;
  if (row >= job.rows) return;
  const int lane = threadIdx.x % 32;
  const gpu::Moments of_row = row_moments<T>(job.x, job.x_is_float, row * job.x_line, job.channels, job.eps);
  if (lane == 0) job.statistics[2 * row] = of_row.mean, job.statistics[2 * row + 1] = of_row.scale;
  if (!job.x_gradient) return;
  float slope = 0, along = 0;
  const auto parts = [&](int c, float &gradient, float &hat) {
    gradient = element<T>(job.gradient, job.gradient_is_float, row * job.gradient_line + c) * job.weight[c];
    hat = gpu::standardised(element<T>(job.x, job.x_is_float, row * job.x_line + c), of_row);
  };
  for (int c = lane; c < job.channels; c += 32) {
    float gradient, hat;
    parts(c, gradient, hat);
    slope += gradient, along = fmaf(gradient, hat, along);
  }
  const float channels = static_cast<float>(job.channels);
  slope = over_warp(slope) / channels, along = over_warp(along) / channels;
  for (int c = lane; c < job.channels; c += 32) {
    float gradient, hat;
    parts(c, gradient, hat);
    static_cast<T *>(job.x_gradient)[row * job.x_gradient_line + c] =
        gpu::from_float<T>(gpu::input_gradient(gradient, hat, of_row.scale, slope, along));
  }
}

// blockIdx.x: 32 columns, blockIdx.y: a slab of rows.  Eight warps take rows in turn, then their sums are added in order.
template <class T>
__device__ void column_sums(const ColumnSumsJob &job) {
  __shared__ float of_warp[2][8][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, column = blockIdx.x * 32 + lane;
  const int64_t first = static_cast<int64_t>(blockIdx.y) * job.slab, end = first + job.slab < job.rows ? first + job.slab : job.rows;
  float sum = 0, along = 0;
  if (column < job.columns)
#pragma unroll 8
    for (int64_t row = first + warp; row < end; row += 8) {
      const float g = element<T>(job.gradient, job.gradient_is_float, row * job.gradient_line + column);
      sum += g;
      if (!job.x) continue;
      const gpu::Moments of_row{job.statistics[2 * row], job.statistics[2 * row + 1]};
      along = fmaf(g, gpu::standardised(element<T>(job.x, job.x_is_float, row * job.x_line + column), of_row), along);
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
