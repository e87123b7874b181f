// What the portable kernels of the backward get from the host.
//
// Everything between pair and the gradients lies in planes, one of [batch][N][pitch] cells a channel, as a, b and o do in the forward (here
// always in the order of pair, also for the incoming direction).  Then every linear layer, forward, backward and for its weights, and every
// contraction is one kind of matrix product, out[row][column] = sum_k A(row, k) B(column, k), whose operands lie along k or along their rows:
//
//   forward of a linear layer      A = weights along k             B = planes along columns
//   backward, for its input        A = weights along rows          B = gradient planes along columns
//   backward, for its weights      A = gradient planes along k     B = planes along k, split over the cells
//   o and its gradients            A and B = planes of one channel and batch
#pragma once
#include "cuda_job.h"

namespace lamina::triangle_multiplication {

constexpr int product_tile = 128, product_threads = 256, product_stages = 3;
constexpr uint32_t product_bytes = product_stages * 2 * product_tile * 80;  // an operand's stage: 128 lines of 64 + 16 bytes at most

constexpr int cells_of_tile = 32, rows_threads = 256, rows_warps = rows_threads / 32;
// A tile of 32 cells on its way between rows and planes, [cell][channels]: an odd number of words a line keeps columns free of bank conflicts.
constexpr int turned_line(int channels, int element_bytes) { return channels + 4 / element_bytes; }
constexpr uint32_t turned_bytes(int64_t channels, int64_t element_bytes) {
  return static_cast<uint32_t>(cells_of_tile * turned_line(static_cast<int>(channels), static_cast<int>(element_bytes)) * element_bytes);
}
constexpr uint32_t channel_sums_bytes = 2 * 768 * 4;  // of the widest layer

// Of a cell's row: mean and 1 / deviation; zeros where the cell is padding.
struct alignas(8) CellStatistics {
  float mean, scale;
};

// What becomes of a product, `value`, at [row][column].  Rows of packed front weights come in groups of 8 projections and 8 halved gates.
enum class Ending : int {
  store,                 // out = value
  partial,               // float: out = value, or += where job.add
  operands,              // a, b: out[channel] = projection * sigmoid(gate) * mask
  operands_backward,     // out[row] = gradients of projection and of halved gate, from `gradient` [channel], the gradient of a or b
  gate,                  // gate = sigmoid(value)
  gate_before,           // gate = sigmoid(value); out = normalised o * gate
  gate_backward,         // value is the projection: incoming -> gradient of it, gate -> gradient of the gate's sum; both in place
  gate_before_backward,  // value is the gradient of the gated row: out = gradient of the normalised one, gate -> of the gate's sum
};

struct ProductPart {  // of the depth
  const void *a, *b;
  int64_t a_line, b_line, depth;
};

struct ProductJob {
  ProductPart part[2];                     // the second may have depth 0
  int64_t rows, columns;                   // of out; columns are even
  int64_t a_rows, b_rows;                  // readable rows of A and of B; beyond them zeros
  int64_t a_matrix, b_matrix, out_matrix;  // elements between the matrices of blockIdx.y
  int64_t a_batch, b_batch, out_batch;     // and of blockIdx.z
  int64_t split;                           // > 0: blockIdx.z takes this much of part 0's depth, a multiple of 64
  Ending ending;
  bool add;
  void *out;
  int64_t out_line;
  const float *bias, *mask;          // of the rows, of the cells
  void *gate, *incoming;             // planes
  const void *gradient, *o;          // planes
  const CellStatistics *statistics;  // of o: mean and 1 / deviation a cell
  PackedNorm norm;                   // of o
};

// Rows of a [B, N, N, C] tensor into planes: z from pair, or dropout_mask * out_gradient.  Padding becomes zeros.
struct RowsJob {
  View rows, dropout_mask, pair_mask, token_mask;
  bool aligned;
  Cells cells;
  int channels;
  PackedNorm norm;  // weight null: none
  void *planes;
  float *mask;                 // of the cells, or null
  CellStatistics *statistics;  // mean and 1 / deviation of the cells, or null
};

struct NormOutJob {  // planes of o: statistics and, where `normalised` is not null, their LayerNorm
  const void *o;
  void *normalised;
  CellStatistics *statistics;
  Cells cells;
  PackedNorm norm;
};

struct NormOutBackwardJob {  // o -> gradient of o, in place
  void *o;
  const void *gradient;  // of the normalised planes
  const CellStatistics *statistics;
  Cells cells;
  PackedNorm norm;
  float *partial;  // [gridDim.x][2][channels]: of weight, of bias
  bool add;        // to what partial holds already
};

struct PairGradientJob {  // through the LayerNorm of pair, to rows
  View pair, out;         // out may be not present: the norm's parameters alone
  bool pair_aligned;
  const void *gradient;  // planes, of z
  const CellStatistics *statistics;
  Cells cells;
  PackedNorm norm;
  int channels;
  float *partial;  // [gridDim.x][2][channels], or null
  bool add;
};

struct SumJob {  // over the cells of each plane
  const void *planes;
  int64_t cells, split;  // blockIdx.y takes `split` cells of plane blockIdx.x
  float *partial;        // [gridDim.y][gridDim.x]
  bool add;
};

// Rows are copied: the gradient of residual.
struct CopyJob {
  View from, to;
  Cells cells;
  int channels;
};

// A parameter's gradient from partial sums, in their order.
struct FinishItem {
  View out;  // [rows][columns], any strides
  const float *partial;
  int64_t step;  // between partial sums
  int count;
  int rows, columns;
  int first, group;  // group 0: partial row = first + row; else first + row / 8 * 16 + row % 8: packed front rows
  float factor;
};
constexpr int most_items = 16;
struct FinishJob {
  FinishItem item[most_items];  // blockIdx.y
};

}  // namespace lamina::triangle_multiplication
