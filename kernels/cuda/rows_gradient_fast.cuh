// Gradients of 16-bit rows, eight elements a step: aligned to 16 bytes, widths multiples of 8.
#pragma once
#include "activation.cuh"
#include "rows_norm_fast.cuh"

namespace lamina::cuda {

// The job of rows_gradient.cuh where before, gradient and out are T.
template <class T>
__device__ void activation_gradient_by_eights(const ActivationGradientJob &job) {
  asm volatile("griddepcontrol.launch_dependents;\n griddepcontrol.wait;" ::: "memory");
  using Eight = gpu::Eight<T>;
  const unsigned groups = static_cast<unsigned>(job.columns) / 8;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * row_threads + threadIdx.x, row = at / groups;
  const int64_t group = at - row * groups;
  if (row >= job.rows) return;
  const auto load = [](const void *data, int64_t element) {
    return *reinterpret_cast<const Eight *>(static_cast<const T *>(data) + element);
  };
  const auto store = [](void *data, int64_t element, const Eight &eight) {
    *reinterpret_cast<Eight *>(static_cast<T *>(data) + element) = eight;
  };
  const Eight gradient = load(job.gradient, row * job.gradient_line + group * 8);
  const int64_t before_at = row * job.before_line + group * (job.gated ? 16 : 8);
  const Eight before = load(job.before, before_at);
  Eight out, hidden;
  if (job.gated) {
    const Eight value = load(job.before, before_at + 8);
    Eight value_out;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const float g = gpu::to_float(before.value[e]), v = gpu::to_float(value.value[e]), d = gpu::to_float(gradient.value[e]);
      const float s = gpu::sigmoid(g), opened = g * s;
      out.value[e] = gpu::from_float<T>(d * v * (s + opened * (1.0f - s)));
      value_out.value[e] = gpu::from_float<T>(d * opened);
      hidden.value[e] = gpu::from_float<T>(opened * v);
    }
    store(job.out, row * job.out_line + group * 16, out);
    store(job.out, row * job.out_line + group * 16 + 8, value_out);
  } else {
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const float y = gpu::to_float(before.value[e]);
      out.value[e] = gpu::from_float<T>(gpu::to_float(gradient.value[e]) * activation_slope(job.activation, y));
      if (job.hidden) hidden.value[e] = gpu::from_float<T>(activate(job.activation, y));
    }
    store(job.out, row * job.out_line + group * 8, out);
  }
  if (job.hidden) store(job.hidden, row * job.hidden_line + group * 8, hidden);
}

// The job of rows_norm.cuh's norm_gradient where x, gradient and x_gradient are T: a warp a row, each read once.
template <class T>
__device__ void norm_gradient_in_registers(const NormGradientJob &job) {
  constexpr int groups = fast_norm_channels / 256;
  asm volatile("griddepcontrol.launch_dependents;\n griddepcontrol.wait;" ::: "memory");
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * row_threads + threadIdx.x) / 32;
  if (row >= job.rows) return;
  using Eight = gpu::Eight<T>;
  const int lane = threadIdx.x % 32;
  const T *x = static_cast<const T *>(job.x) + row * job.x_line, *gradient = static_cast<const T *>(job.gradient) + row * job.gradient_line;
  Eight held[groups], held_gradient[groups];
  const auto each = [&](auto use) {
#pragma unroll
    for (int group = 0; group < groups; ++group)
      if (group * 256 + lane * 8 < job.channels) use(held[group], held_gradient[group], group * 256 + lane * 8);
  };
  const float channels = static_cast<float>(job.channels);
  float sum = 0, square = 0;
  each([&](Eight &eight, Eight &g, int channel) {
    eight = *reinterpret_cast<const Eight *>(x + channel);
    g = *reinterpret_cast<const Eight *>(gradient + channel);
#pragma unroll
    for (int e = 0; e < 8; ++e) sum += gpu::to_float(eight.value[e]);
  });
  const float mean = over_warp(sum) / channels;
  each([&](Eight &eight, Eight &, int) {
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const float centred = gpu::to_float(eight.value[e]) - mean;
      square = fmaf(centred, centred, square);
    }
  });
  const float scale = rsqrtf(over_warp(square) / channels + job.eps);
  if (lane == 0) job.statistics[2 * row] = mean, job.statistics[2 * row + 1] = scale;
  if (!job.x_gradient) return;
  float total = 0, along = 0;
  each([&](Eight &eight, Eight &g, int channel) {
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const float weighted = gpu::to_float(g.value[e]) * job.weight[channel + e];
      total += weighted, along = fmaf(weighted, (gpu::to_float(eight.value[e]) - mean) * scale, along);
    }
  });
  total = over_warp(total) / channels, along = over_warp(along) / channels;
  T *to = static_cast<T *>(job.x_gradient) + row * job.x_gradient_line;
  each([&](Eight &eight, Eight &g, int channel) {
    Eight result;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const float weighted = gpu::to_float(g.value[e]) * job.weight[channel + e];
      result.value[e] = gpu::from_float<T>(scale * (weighted - total - (gpu::to_float(eight.value[e]) - mean) * scale * along));
    }
    *reinterpret_cast<Eight *>(to + channel) = result;
  });
}

}  // namespace lamina::cuda
