// What the kernels of layers that work row by row get from the host: matrix products with something before and after them, LayerNorms,
// and what their gradients need.  Plain data for both compilers.
//
// Matrices are [rows][line], a line at least as long as its row is wide.  "T" is the dtype of the layer's rows: float, bf16 or fp16.
#pragma once
#include "kernels/common/row_linear.h"

namespace lamina::cuda {

// T elements; transposed: element (row, k) stands at data[k * line + row].
struct ProductOperand {
  const void *data = nullptr;
  int64_t line = 0;
  bool transposed = false;
};

// out = residual + scale * row_mask * activation(a b' + bias).  gated: columns of b come in groups of 16, 8 gates and then the 8 values
// they belong to; out has half as many columns, silu(gate) * value.
struct ProductJob {
  ProductOperand a, b;  // [rows, depth] and [columns, depth]
  int64_t rows = 0, depth = 0;
  int columns = 0;
  int64_t split_depth = 0;      // depth of one of gridDim.z CTAs; the result of split s is out + s * split_stride
  const float *bias = nullptr;  // of columns
  Activation activation = Activation::none;
  bool gated = false;
  float scale = 1;
  View residual, row_mask;  // residual: T, stride[1] == 1
  void *out = nullptr;
  int64_t out_line = 0, split_stride = 0;         // elements of out
  bool out_is_float = false, add_to_out = false;  // add_to_out: out is float and holds what this is added to
};

// out = LayerNorm(x) row by row, in the arithmetic of two passes.
struct NormJob {
  const void *x = nullptr;
  void *out = nullptr;  // T
  int64_t rows = 0, x_line = 0, out_line = 0;
  int channels = 0;
  bool x_is_float = false;
  const float *weight = nullptr, *bias = nullptr;  // of channels
  float eps = 0;
};

// The LayerNorm's gradient: x_gradient from that of its result, and each row's mean and 1 / deviation for column_sums.
struct NormGradientJob {
  const void *x = nullptr, *gradient = nullptr;
  void *x_gradient = nullptr;   // T; null: only the statistics
  float *statistics = nullptr;  // [rows][2]
  int64_t rows = 0, x_line = 0, gradient_line = 0, x_gradient_line = 0;
  int channels = 0;
  bool x_is_float = false, gradient_is_float = false;
  const float *weight = nullptr;
  float eps = 0;
};

// Sums down the columns of slabs of rows: sums[slab][column] of the gradient, and [slab][columns + column] of gradient times normalised x
// where x is given.
constexpr int slab_rows = 512;
struct ColumnSumsJob {
  const void *gradient = nullptr, *x = nullptr;
  const float *statistics = nullptr;
  int64_t rows = 0, gradient_line = 0, x_line = 0;
  int columns = 0, slab = slab_rows;
  bool gradient_is_float = false, x_is_float = false;
  float *sums = nullptr;  // [slabs][columns], or [slabs][2 columns]
  bool add_to_sums = false;
};

// Element by element.  Not gated: out = row_mask * gradient * activation'(before).  Gated: out, of the gates' and values' gradients, has the
// layout of `before` (groups of 8 and 8), and `hidden` is the activation's result again.
struct ActivationGradientJob {
  const void *before = nullptr;  // [rows][columns, or 2 columns where gated]; null: activation is none
  const void *gradient = nullptr;
  void *out = nullptr, *hidden = nullptr;  // T; hidden may be null
  int64_t rows = 0, before_line = 0, gradient_line = 0, out_line = 0, hidden_line = 0;
  int columns = 0;
  Activation activation = Activation::none;
  bool gated = false, before_is_float = true, gradient_is_float = false;
  View row_mask;
};

// Packed weights: rows of T of `line` elements, zeros behind the depth, and a float bias for each row.
struct PackSource {
  View weight, bias;
  float factor = 1;
};
struct PackPart {
  PackSource source[2];  // gated: the gates and the values, row by row in groups of 8 and 8; else the first alone
  bool gated = false;
  View norm_weight, norm_bias;          // folded: W' = weight * W with each row's mean taken out, bias' = bias W + bias
  bool folded = false, paired = false;  // paired: a row lies at its paired_place(); the biases do not
  int64_t rows = 0, depth = 0, line = 0;
  char *weight = nullptr;
  float *bias = nullptr;
};
struct PackVectors {  // a LayerNorm's, as floats: absent weights are 1, absent biases 0
  View weight, bias;
  int64_t channels = 0;
  float *to = nullptr;  // [2][channels]
};
constexpr int pack_parts = 3;
constexpr int64_t packed_align = 256;  // of each part's weights, biases and of the norm's vectors; zeros lie between them
struct PackJob {
  PackPart part[pack_parts];
  PackVectors norm;
};

// Where a kernel that stores sums of wgmma as they lie in registers puts a column: of every 32, the four pairs of neighbours that one lane has
// lie next to each other.
constexpr int64_t paired_place(int64_t column) { return column / 32 * 32 + column % 8 / 2 * 8 + column / 8 % 4 * 2 + column % 2; }

// A gradient of a parameter: to(row, column) = factor * the sum over `splits` of sums[split * split_stride + from(row) * line + column].
// group: rows come from groups of 16, the 8 of them that begin at `group`; -1: rows as they are.  Paired: they lie at their paired_place().
// transposed: from is sums[split * split_stride + column * line + from(row)].
struct GatherJob {
  View to;
  int64_t rows = 0, columns = 0;
  const float *sums = nullptr;
  int splits = 0;
  int64_t split_stride = 0, line = 0;
  int group = -1;
  float factor = 1;
  bool rows_paired = false, columns_paired = false, transposed = false;
};
constexpr int most_gathers = 8;
struct GatherJobs {
  GatherJob job[most_gathers];
};

}  // namespace lamina::cuda
