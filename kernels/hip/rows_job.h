// What the kernels of layers that work row by row get from the host: a linear map over rows with what stands before and after it, a
// LayerNorm, and packing.  Plain C++, seen by both compilers.  "T" is the dtype of the layer's rows: float, bf16 or fp16.
#pragma once
#include "kernels/common/row_linear.h"

namespace lamina::hip {

// A workgroup computes 128 rows by 128 columns.  Packed weights come in whole tiles of columns, each with zeros behind its depth up to
// whole lines of 64 bytes.
constexpr int product_tile = 128, rows_threads = 256;

// out = residual + scale * row_mask * f(norm(x) weight' + bias).
//   linear   f(y) = y, or what is below `floor` raised to it
//   sigmoid  f(y) = y * sigmoid(slope * y + cubic * y^3)
//   erf      f(y) = y * (1 + erf(y / sqrt 2)) / 2
//   gated    columns come in groups of 16, 8 gates and the 8 values they belong to: value * gate * sigmoid(gate), half as many outputs
enum class After { linear, sigmoid, erf, gated };

struct ProductJob {
  View x;                                                    // [rows, depth], T, stride[1] == 1
  const float *norm_weight = nullptr, *norm_bias = nullptr;  // of the padded depth, zeros behind it; null: no norm
  float eps = 0;
  const void *weight = nullptr;  // [padded columns][padded depth] of T
  const float *bias = nullptr;   // of the padded columns
  int64_t rows = 0;
  int depth = 0, line = 0, outputs = 0, column_tiles = 0;  // line: the padded depth; outputs: columns of out
  float floor = 0, slope = 0, cubic = 0, scale = 1;
  View residual, row_mask, out;  // residual: T; out: T or float, stride[1] == 1; may be the same memory
  bool x_aligned = false, residual_aligned = false, out_aligned = false;  // 16-byte moves are allowed
};

// out = LayerNorm(x), x floats.
struct NormJob {
  const float *x = nullptr;  // [rows][line], 16-byte aligned
  View out;                  // T, stride[1] == 1
  const float *weight = nullptr, *bias = nullptr;
  int64_t rows = 0, line = 0;
  int channels = 0;
  float eps = 0;
  bool out_aligned = false;
};

// One linear layer into its packed part: source[1] is there where gated.
struct PackSource {
  View weight, bias;
};
struct PackPart {
  PackSource source[2];
  bool gated = false, fragments = false;  // fragments: rows at place_of, in the order of panel.h; else lines
  int64_t rows = 0, padded_rows = 0;      // of the part; gated: twice the source's
  int depth = 0, line = 0;
  void *weight = nullptr;
  float *bias = nullptr;
};
// A LayerNorm's, as floats with zeros behind them; an absent weight is 1, an absent bias 0.
struct PackVectors {
  View weight, bias;
  int channels = 0, padded = 0;
  float *to = nullptr;  // [2][padded]; null: nothing to do
};
constexpr int pack_parts = 2, rows_pack_blocks = 64;
struct RowsPackJob {
  PackPart part[pack_parts];
  PackVectors norm;
};

}  // namespace lamina::hip
