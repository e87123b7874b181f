// What the Hopper kernels of the backward at 256 channels have in common.
#pragma once
#include "sm90a_backward_256_job.h"
#include "sm90a_backward_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

// A LayerNorm's gradient, scaled already: d of 64 positions and 256 channels as wgmma leaves it, and where the normalised rows' raw ones lie.
// load(k, x) and store(k, x) move 16 channels of them, as register operands of wgmma lie.  Each warp has rows of its own.
template <class T, class Load, class Store>
__device__ void through_norm_256(const float (&d)[128], float eps, Load load, Store store) {
  Moments moments;
  RowPair slope{0, 0}, product{0, 0};
#pragma unroll
  for (int k = 0; k < wide / 16; ++k) {
    uint32_t x[4];
    load(k, x);
    moments.add<T>(x);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float *pair = d + (2 * k + i / 2) * 4 + i % 2 * 2;
      float &s = i % 2 ? slope.lower : slope.upper, &p = i % 2 ? product.lower : product.upper;
      s += pair[0] + pair[1];
      p = fmaf(pair[0], cuda::low_half<T>(x[i]), fmaf(pair[1], cuda::high_half<T>(x[i]), p));
    }
  }
  const auto [mean, scale] = finite(moments.over(wide, eps));
  // d - mean of d - x' (mean of d x'),  x' = scale (x - mean)
  const auto line_of = [&](float m, float s, float all, float products) {
    const float steepness = s * s * (over_quad(products) / wide - m * (over_quad(all) / wide));
    return float2{steepness, m * steepness - over_quad(all) / wide};
  };
  const float2 upper = line_of(mean.upper, scale.upper, slope.upper, product.upper);
  const float2 lower = line_of(mean.lower, scale.lower, slope.lower, product.lower);
#pragma unroll
  for (int k = 0; k < wide / 16; ++k) {
    uint32_t x[4];
    load(k, x);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float *pair = d + (2 * k + i / 2) * 4 + i % 2 * 2;
      const float2 line = i % 2 ? lower : upper;
      x[i] = cuda::pack<T>(fmaf(-cuda::low_half<T>(x[i]), line.x, pair[0] + line.y),
                           fmaf(-cuda::high_half<T>(x[i]), line.x, pair[1] + line.y));
    }
    store(k, x);
  }
}

// Zeros into padding, so that sums over positions may read it.
template <class T>
__device__ void clear_padding(const ClearJob &job) {
  cuda::wait_for_previous_kernel();
  cuda::allow_next_kernel();
  const int missing = job.cells.pitch - job.cells.N;
  const int64_t lines = job.cells.count / job.cells.pitch * job.channels, total = lines * missing;
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; at < total;
       at += static_cast<int64_t>(gridDim.x) * blockDim.x)
    static_cast<T *>(job.planes)[at / missing * job.cells.pitch + job.cells.N + at % missing] = gpu::from_float<T>(0);
}

}  // namespace lamina::triangle_multiplication::hopper
