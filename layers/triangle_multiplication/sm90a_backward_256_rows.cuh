// What the Hopper kernels of the backward at 256 channels have in common.
#pragma once
#include "sm90a_backward_256_job.h"
#include "sm90a_backward_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

// Tiles of 64 positions x 256 channels that both workers of a CTA read, as boxes of 64 channels in a ring.  They go to registers, so that a
// box is free for the next tile while this one is worked on.
template <class T, int count>
struct BoxRing {
  alignas(1024) T boxes[count][tile * 64];
  Barrier full[count], free[count];

  __device__ void init() {
    for (Barrier &barrier : full) barrier.init(1);
    for (Barrier &barrier : free) barrier.init(4 * backward_workers);
  }
  // By the thread that fills the ring: load(full, box, which) for each of a tile's four boxes.
  template <class Load>
  __device__ void fill(RingIndex<count> &at, Load load) {
    for (int box = 0; box < wide / 64; ++box, at.advance()) {
      free[at.at].wait(at.parity ^ 1);
      full[at.at].expect(tile * 64 * 2);
      load(full[at.at], boxes[at.at], box);
    }
  }
  // A worker's: boxes [64 positions][64 channels], or [64 channels][64 positions].
  template <bool by_channel>
  __device__ void read(RingIndex<count> &at, Rows<wide, T> &rows) {
    const Lane lane;
#pragma unroll
    for (int box = 0; box < wide / 64; ++box, at.advance()) {
      full[at.at].wait(at.parity);
      uint32_t read = 0;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        uint32_t(&a)[4] = rows.a[box * 4 + k];
        if constexpr (by_channel) cuda::load_matrices_transposed(a, lane.by_channel(boxes[at.at], k * 16));
        else cuda::load_matrices(a, lane.by_position(boxes[at.at], k * 2));
        read ^= a[3];
      }
      arrive_behind_loads(free[at.at], read);
    }
  }
};

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
