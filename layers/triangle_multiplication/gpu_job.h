// What GPU kernels get from the host: plain structs, seen by the host's compiler and the device's.
//
// Three steps, each a kernel over a group of batches:
//   front     a and b, one plane of [N][pitch] cells a channel, from pair: LayerNorm, projections, gates, mask
//   contract  o = a b' for every channel: a batched matrix product
//   back      out from o and pair: LayerNorms, projection, output gate, dropout mask, residual
// For the incoming direction the front writes a and b transposed, so that the contraction always sums along the last axis.
#pragma once
#include "problem.h"

namespace lamina::triangle_multiplication {

// A linear layer's packed rows.
struct PackedLinear {
  const void *weight;
  const float *bias;
};
struct PackedNorm {
  const float *weight, *bias;  // null: no norm
  int channels;
  float eps;
};

// The cells of a group of batches, in the order in which planes store them: [batch][x][y], y padded to `pitch`.
struct Cells {
  int N, pitch;    // pitch: N rounded up to 8
  int per_batch;   // N * pitch
  int64_t count;   // batches * per_batch: the elements of one plane
  bool exchanged;  // cell (x, y) is element (y, x) of the pair tensor
};

struct FrontJob {
  View pair, pair_mask, token_mask;
  bool pair_aligned;  // 16-byte loads are allowed
  Cells cells;
  PackedNorm norm;
  PackedLinear linear;
  int H;
  void *planes;  // a, then b: [2 H][cells.count]
};

struct ContractJob {
  const void *a, *b;  // [H][batches][N][pitch]
  void *o;
  int N, pitch, batches;
  int64_t plane;  // elements of one channel's plane: batches * N * pitch
};

struct BackJob {
  View pair, residual, out, dropout_mask;
  bool pair_aligned, out_aligned;  // out_aligned: residual and out
  Cells cells;
  PackedNorm norm_in, norm_out;
  PackedLinear linear, gate;
  const void *o;  // [H][cells.count]
  bool gate_before_projection;
  int C, H;
};

}  // namespace lamina::triangle_multiplication
