// What the Hopper kernels of the backward get from the host.  They serve what the forward's serve, at 128 channels.
//
// The LayerNorms' weights are folded into the linear layers that follow them, as in the packed folded parts, so that these layers read
// normalised rows x (mean 0, deviation 1) and their gradient dx needs no more than the LayerNorm's own:
//   v = x W' + b',  dx = dv W',  dW' = dv' x,  db' = sum dv
// W' has each row's mean taken out; that adds the same number to all of a cell's dx, which the LayerNorm's gradient takes out again.  The
// gradients of W, of b and of the norm's weight and bias follow from dW' and db' without another look at the cells.
#pragma once
#include "cuda_backward_job.h"
#include "sm90a_job.h"

namespace lamina::triangle_multiplication::hopper {

constexpr LaunchShape output_backward_shape = {384, 222208}, front_backward_shape = {384, 232448}, front_weights_shape = {384, 165888};
constexpr LaunchShape finish_shape = {256, 0}, norms_shape = {1024, 0};
constexpr int backward_workers = 2;  // warpgroups with tiles of their own, in the front's kernels

// Sums of one block over all its cells, in floats: dW' of 128 rows, then db' of them.
constexpr int sums_of_128 = 128 * 128 + 128;

struct OutputBackwardJob {  // out_gradient, pair and o -> gradient of o; x of pair; the output gate's part of the gradient of x
  PositionMaps pair, incoming;
  CUtensorMap o;              // planes [128, positions], boxes of 128 x 64 positions: o, then its gradient
  CUtensorMap x, x_gradient;  // rows [positions, 128], boxes of 64 x 64
  CUtensorMap gate, weights;  // packed, folded: [128, 128] each, boxes of 128 rows x 64
  const float *gate_bias, *bias;
  View dropout_mask;
  float *scale;  // 1 / deviation of pair's rows
  float *sums;   // [gridDim.x][2][sums_of_128]: gate, projection
  bool add;      // to what sums holds
  Cells cells;
  int tiles;
  float eps;
};

struct FrontBackwardJob {     // gradients of a and b, x and its gradient so far -> gradient of pair
  CUtensorMap x, x_gradient;  // as above
  CUtensorMap gradients[2];   // planes of a, of b: [128, positions] each, boxes of 64 x 64 positions
  CUtensorMap weights;        // packed, folded: [512, 128], boxes of 128 rows x 64
  PositionMaps out;
  const float *bias, *scale;
  View pair_mask, token_mask;
  const void *flat_mask;
  Cells cells;
  int tiles;
};

struct FrontWeightsJob {  // the same -> sums for the weights; block b takes 128 packed rows, b % 4
  CUtensorMap x, gradients[2], weights;
  const float *bias;
  View pair_mask, token_mask;
  const void *flat_mask;
  float *sums;  // [gridDim.x / 4][4][sums_of_128]
  bool add;
  Cells cells;
  int tiles;
};

struct TotalsJob {  // sums over blocks, in their order
  const float *front, *output;
  int front_parts, output_parts;
  float *totals;  // [6][sums_of_128]: the front's four times 128 packed rows, gate, projection
};

struct FoldedItem {  // a linear layer's gradients
  View weight, bias;
  int part;   // of totals: 0 front, 4 gate, 5 projection
  int first;  // packed row of the front; see FinishItem
  float factor;
  bool packed_rows;
};
struct FoldedFinishJob {
  const float *totals;
  FoldedItem item[6];
  const float *norm[2];    // weights, then biases: of pair, of o
  const void *weights[3];  // packed, unfolded, bf16: front, gate, projection
  View norm_weight[2], norm_bias[2];
};

}  // namespace lamina::triangle_multiplication::hopper
