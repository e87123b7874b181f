// What the Hopper kernels of the backward at 256 channels get from the host.
//
// The weights of a linear layer of 1024 rows don't fit a processor, nor do its gradient's sums; so here the gradients of all linear layers'
// sums go through memory, as planes, and what follows are plain products.  A slot is 256 planes of all positions, five of them lie behind
// each other:
//
//   slot  0          1              2                  3              4
//         a          b              o
//         a          b              o                  dp s_o         dg s      output
//         a          b              do                 dp s_o         dg s      weights (of the projection), norm
//         a          db             do                 da             dg s      contractions
//         gates a    projections b  gates b            projections a  dg s      front
//                                                                               weights, input
//
// Gradients are scaled by s, 1 / deviation of the cell's row of pair (s_o: of o), so that the other factor of a weight's gradient is the raw
// tensor: with v = s (x - m) W' + b' and dv' = s dv,
//   dW' = sum dv' x - (sum dv' m),   db' = sum dv' / s,   dx = dv' W' through the LayerNorm's gradient without its scale.
// The two sums are further columns of the same product: 1 / s and m of every cell, in two 16-bit numbers each.
#pragma once
#include "sm90a_backward_job.h"

namespace lamina::triangle_multiplication::hopper {

constexpr int wide = 256;                         // channels
constexpr int front_blocks = 10, out_blocks = 2;  // of 128 rows: of slots 0 to 4; of the projection

constexpr LaunchShape output_256_shape = {384, 231424}, norm_256_shape = {384, 231424}, front_256_shape = {384, 231424};
constexpr LaunchShape weights_256_shape = {384, 201728}, input_256_shape = {384, 197632};

struct Output256Job {  // pair, o, out_gradient -> slots 3 and 4, factors
  PositionMaps pair, incoming;
  CUtensorMap o;                  // planes [256, positions], boxes of 256 x 64 positions
  CUtensorMap gradients;          // slots 3 and 4: [512, positions], boxes of 64 x 64
  CUtensorMap gate, weights;      // packed, folded: [256, 256] each, boxes of 128 rows x 64
  const float *gate_bias, *bias;  // of the packed rows
  void *factors[2];               // [factor_planes][positions]: of pair, of o
  View dropout_mask;
  Cells cells;
  int tiles;
  float eps;
};

struct Norm256Job {           // slot 3 -> gradient of o, over o
  CUtensorMap gradients;      // slot 3: boxes of 64 planes x 64 positions
  CUtensorMap o, o_gradient;  // boxes of 256 planes x 64 positions; may be the same
  CUtensorMap weights;        // packed, folded projection: [256, 256], boxes of 256 rows x 64
  int tiles;
  float eps;
};

struct Front256Job {  // pair, gradients of a and b -> slots 0 to 3
  PositionMaps pair;
  CUtensorMap planes;   // slots 0 to 3: [1024, positions], boxes of 64 x 64
  CUtensorMap weights;  // packed, folded front: [1024, 256], boxes of 128 rows x 64
  const float *bias;
  View pair_mask, token_mask;
  const void *flat_mask;
  Cells cells;
  int tiles;
  float eps;
};

struct Weights256Job {  // rows of planes times a tensor, summed over all positions
  CUtensorMap rows;     // planes [128 blocks, positions], boxes of 128 x 64 positions
  CUtensorMap columns;  // o: planes [256, positions], boxes of 256 x 64
  PositionMaps pair;    // or pair, where `of_pair`
  CUtensorMap factors;  // [factor_planes, positions], boxes of 8 x 64
  float *sums;          // [parts][blocks][sums_of(256)]; CTA b takes block b % blocks of part b / blocks
  bool of_pair, add;
  Cells cells;
  int blocks, parts, chunks;  // chunks of 64 positions, as many as parts at least
};

struct Input256Job {               // slots 0 to 4 and pair -> gradient of pair
  CUtensorMap planes;              // slots 0 to 4: [1280, positions], boxes of 64 x 64
  CUtensorMap projections, gates;  // packed, folded front as [64 groups][8 rows][256]: boxes of 8 groups x 8 rows x 64
  CUtensorMap gate;                // packed, folded output gate: [256, 256], boxes of 64 x 64
  PositionMaps pair, out;
  Cells cells;
  int tiles;  // of 128 positions
  float eps;
};

struct ClearJob {  // zeros into the padding of planes
  void *planes;
  Cells cells;
  int channels;
};

}  // namespace lamina::triangle_multiplication::hopper
