// What the Hopper kernels of the backward get from the host.  sm90a_backward_256_job.h has what only 256 channels need.
//
// The LayerNorms' weights are folded into the linear layers that follow them, as in the packed folded parts, so that these layers read
// normalised rows x' = s (x - m), of mean 0 and deviation 1, and their gradient dx' needs no more than the LayerNorm's own:
//   v = x' W' + b' = s x W' + b',  dx' = dv W',  dW' = dv' x',  db' = sum dv
// W' has each row's mean taken out, and with it m; that adds the same number to all of a cell's dx', which the LayerNorm's gradient takes
// out again.  The gradients of W, of b and of the norm's weight and bias follow from dW' and db' without another look at the cells.
#pragma once
#include "cuda_backward_job.h"
#include "sm90a_job.h"

namespace lamina::triangle_multiplication::hopper {

constexpr LaunchShape output_backward_shape = {384, 222208}, front_backward_shape = {384, 232448}, front_weights_shape = {384, 168960};
constexpr LaunchShape finish_shape = {256, 0};
constexpr int totals_ctas = 64;  // of each linear layer
constexpr int64_t norm_sums_bytes(int64_t C) { return 6 * totals_ctas * 2 * C * 4; }
constexpr int finish_ctas(int C) { return 2 * C / 32; }  // of each LayerNorm: 32 of its 2 C numbers each
// Of a row of pair or o: 1 / s and m, its deviation and mean, as two 16-bit numbers each.  A gradient dv' = s dv sums with the raw row:
//   dW' = sum dv' x - sum dv' m,   db' = sum dv' / s
// where the last two are further columns of the first product.
constexpr int factor_planes = 4;
constexpr int backward_workers = 2;  // warpgroups with tiles of their own, in the front's kernels

// Sums of a block of 128 rows over cells, in floats: dW' [128][C], then db'.
constexpr int sums_of(int C) { return 128 * C + 128; }
constexpr int sums_of_128 = sums_of(128);

struct OutputBackwardJob {  // out_gradient, pair and o -> gradient of o; factors of pair; the output gate's part of the gradient of x
  PositionMaps pair, incoming;
  CUtensorMap o, o_gradient;  // planes [128, positions], boxes of 128 x 64 positions; may be the same
  CUtensorMap x_gradient;     // rows [positions, 128], boxes of 64 x 64
  CUtensorMap gate, weights;  // packed, folded: [128, 128] each, boxes of 128 rows x 64
  const float *gate_bias, *bias;
  View dropout_mask;
  void *factors;  // [factor_planes][positions]
  float *sums;    // [clusters][2][sums_of_128]: gate, projection
  bool add;       // to what sums holds
  Cells cells;
  int tiles;
  float eps;
};

struct FrontBackwardJob {  // gradients of a and b, pair and the gradient of x so far -> gradient of pair
  PositionMaps pair, out;
  CUtensorMap x_gradient;    // as above
  CUtensorMap gradients[2];  // planes of a, of b: [128, positions] each, boxes of 64 x 64 positions
  CUtensorMap weights;       // packed, folded: [512, 128], boxes of 128 rows x 64
  const float *bias;
  View pair_mask, token_mask;
  const void *flat_mask;
  Cells cells;
  int tiles;
  float eps;
};

struct FrontWeightsJob {  // the same -> sums for the weights; block b takes 128 packed rows, b % 4
  PositionMaps pair;
  CUtensorMap gradients[2], weights;
  CUtensorMap factors;  // [factor_planes, positions], boxes of 8 x 64
  const float *bias;
  View pair_mask, token_mask;
  const void *flat_mask;
  float *sums;  // [gridDim.x / 4][4][sums_of_128]
  bool add;
  Cells cells;
  int tiles;
};

// The last two steps: from the sums of all parts to gradients.  A CTA of the first adds up a few rows of one linear layer, in the parts'
// order, writes that layer's gradients and leaves what these rows give to the gradients of the LayerNorm before it; the second adds that up.
struct TotalsItem {   // a linear layer
  View weight, bias;  // its gradients
  const float *sums;  // [parts], `step` floats apart: rows of it are rows of blocks [sums_of(C)]
  int64_t step;
  int parts;
  int first;                         // its first row among those of sums
  const void *weights;               // its first row of the packed, unfolded weights
  float factor;                      // of the packed rows
  bool packed_sums, packed_weights;  // whose rows lie as PackedLayout says of the front
  int norm;                          // before it: 0 pair's, 1 o's
};
struct TotalsJob {
  TotalsItem item[6];
  const float *norm[2];  // weights, then biases: of pair, of o
  bool norm_wanted[2];   // its gradients
  float *norm_sums;      // [6][totals_ctas][2][C]: for weights, for biases
};
struct NormSumsJob {
  const float *norm_sums;  // as above; items 0 to 4 belong to pair's norm, 5 to o's
  View norm_weight[2], norm_bias[2];
};

}  // namespace lamina::triangle_multiplication::hopper
