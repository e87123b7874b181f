// What the Hopper kernel of a linear map over rows gets from the host.
#pragma once
#include <cuda.h>

#include "kernels/common/row_linear.h"

namespace lamina::cuda {

// y = max(sum + bias, floor), or y = h (1 + tanh(v (c0 + w (c1 + w c2)))) with v = sum + bias, h = v / 2, w = min(v^2, most): every
// smooth activation has this form.  out = residual + scale * y.
struct LinearEpilogue {
  const float *bias;  // of columns, or null; readable up to the next multiple of 64, whatever stands there
  float scale, floor;
  float c0, c1, c2, most;
};

struct LinearJob {
  CUtensorMap a, b;  // [rows, depth], [columns, depth]: boxes of 64 deep by 128 and by a tile's columns; b [depth, columns]: 64 x 64
  CUtensorMap out, residual;  // [rows, columns], boxes of 64 x 64
  int row_tiles, column_tiles, chunks, columns;
  bool has_residual;
  LinearEpilogue epilogue;
};

// Threads and dynamic shared memory; the device half asserts that they fit its struct.
struct LaunchShape {
  unsigned threads;
  uint32_t shared_bytes;
};
constexpr int linear_stages(int columns) { return columns == 256 ? 4 : columns == 128 ? 6 : 7; }
constexpr LaunchShape linear_shape(int columns) {
  return {384, static_cast<uint32_t>(linear_stages(columns) * (128 + columns) * 128 + 4 * 8192 + 1024)};
}

// sums[split][row][column] of a' b: both lie along their rows, [depth, rows] and [depth, columns].
struct SumsJob {
  CUtensorMap a, b;                                           // boxes of 64 x 64
  int row_tiles, column_tiles, splits, chunks, split_chunks;  // chunks of 64 deep: all, and of one split
  int64_t rows, columns;
  float *sums;  // dense
  bool add;     // to what stands there
};
constexpr int sums_stages(int columns) { return columns == 256 ? 4 : 6; }
constexpr LaunchShape sums_shape(int columns) { return {384, static_cast<uint32_t>(sums_stages(columns) * (128 + columns) * 128 + 1024)}; }

// Coefficients of the smooth activations.  gelu_erf: v (c0 + ...) approximates artanh(erf(v / sqrt 2)), found by minimising the largest
// error of the activation itself, 2.5e-5; tanh.approx adds its own 2^-11 of relative error, below half a unit of bf16.
inline LinearEpilogue linear_epilogue(Activation activation, const float *bias, float scale) {
  constexpr float none = -__builtin_huge_valf(), all = __builtin_huge_valf();
  switch (activation) {
    case Activation::none: return {bias, scale, none, 0, 0, 0, all};
    case Activation::relu: return {bias, scale, 0, 0, 0, 0, all};
    case Activation::gelu_erf: return {bias, scale, none, 7.97507237e-01f, 3.70062350e-02f, -3.51612456e-04f, 16};
    case Activation::gelu_tanh: return {bias, scale, none, 0.797884561f, 0.0356774081f, 0, 1e6f};
    case Activation::gelu_sigmoid: return {bias, scale, none, 0.851f, 0, 0, 1};
    case Activation::silu: return {bias, scale, none, 0.5f, 0, 0, 1};
  }
  return {};
}

}  // namespace lamina::cuda
