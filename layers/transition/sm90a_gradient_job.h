// What the Hopper kernel of the transition's gradients gets from the host.
#pragma once
#include "sm90a_job.h"

namespace lamina::transition::hopper {

constexpr int gradient_channels = 128, hidden_gradient_channels = 256;  // C of the rows that the kernels take
constexpr int gradient_up_slots = 3, gradient_down_slots = 2;           // each: 128 packed rows; 64 hidden channels
constexpr cuda::LaunchShape gradient_shape() { return {384, (gradient_up_slots * 2 + gradient_down_slots + workers * 3) * 16384 + 1024}; }

constexpr int hidden_gradient_ring = 6;  // boxes of weights, 128 rows x 64: those of a group
constexpr cuda::LaunchShape hidden_gradient_shape() {
  return {384, hidden_gradient_ring * 16384 + workers * 2 * tile * hidden_gradient_channels * 2 + 1024};
}

// inner and hidden are [M][packed rows] and [M][I], each 32 columns as kernels/cuda/rows_job.h's paired_place() says.
struct GradientJob {
  CUtensorMap x, out_gradient, z, x_gradient;  // [M, C], boxes of 64 x 64; of hidden_gradient, x is normalised
  CUtensorMap up, down;                        // packed: [rows, C]; [C, I]: boxes of 64 x 64
  const float *up_bias, *norm;                 // up_bias: null where there are none; norm: weight and bias
  void *inner, *hidden;
  float *norm_sums;  // [rows of tiles / 16][2 C]: sums of dz, and of dz times the standardised x; null: not wanted
  bool normed, x_wanted;
  int rows, tiles, rounds, groups;  // groups of 128 packed rows
  float eps;
};

}  // namespace lamina::transition::hopper
