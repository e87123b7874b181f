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
  CUtensorMap a, b;  // [rows, depth], [columns, depth]: boxes of 64 deep by 128 and by the tile's columns; b [depth, columns]: 64 x 64
  CUtensorMap out, residual;  // [rows, columns], boxes of a form's box_columns by half its rows
  int tiles, column_tiles, chunks, columns;
  bool has_residual;
  LinearEpilogue epilogue;
};

// Threads and dynamic shared memory; the device half asserts that they fit its struct.
struct LaunchShape {
  unsigned threads;
  uint32_t shared_bytes;
};

// A kernel's tile, and how two warpgroups, each with half of the rows, share it.
struct LinearForm {
  int rows, columns;  // of a tile
  int stages;         // of 64 deep
  int slots;          // boxes of the result that a warpgroup has under way
  int box_columns;    // 64, or 32 where 64 do not divide the columns
  double cost;        // time for a product, beside the others'
};
// Measured on an H200 (docs/decisions/0204): 256 x 160 is one round of (4096, 1280), 81.5 us where 128 x 128 took 97.5 at a depth of 5120; in all
// rounds alike it costs 2 % more than 128 x 256, the narrow ones 8 and 30 %.
constexpr LinearForm linear_forms[] = {
    {128, 256, 4, 2, 64, 1.0},
    {128, 128, 6, 2, 64, 1.08},
    {128, 64, 7, 2, 64, 1.3},
    {256, 160, 3, 4, 32, 1.02},
};
constexpr int linear_form_count = sizeof linear_forms / sizeof *linear_forms;

constexpr LaunchShape linear_shape(const LinearForm &form) {
  return {384,
          static_cast<uint32_t>(form.stages * (form.rows + form.columns) * 128 + form.slots * form.rows * form.box_columns * 2 + 1024)};
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
