// What the fused Hopper kernel of the transition gets from the host.
#pragma once
#include "kernels/cuda/sm90a_linear_job.h"

namespace lamina::transition::hopper {

constexpr int tile = 64;         // rows of one warpgroup's tile
constexpr int workers = 2;       // warpgroups that work on tiles of their own
constexpr int together = 2;      // CTAs of a cluster: each brings half of every box of weights to both
constexpr int ring = 9;          // boxes of weights, 128 rows x 64 deep
constexpr int most_rows = 2048;  // packed rows of gate and up
constexpr int tile_slots(int C) { return C == 128 ? 2 : 1; }
constexpr cuda::LaunchShape fused_shape(int C) {
  return {384, static_cast<uint32_t>(ring * 16384 + workers * tile_slots(C) * tile * C * 2 + most_rows * 4 + 1024)};
}

struct FusedJob {
  CUtensorMap x, out;    // [M, C], boxes of 64 x 64
  CUtensorMap up, down;  // packed: [rows, C], folded, gates halved; [C, I]: boxes of 64 x 64
  const float *up_bias, *down_bias;
  View residual, row_mask;
  bool normed, residual_is_x;
  int tiles, rounds, groups;  // groups of 128 packed rows
  int64_t M;
  float eps;
};

}  // namespace lamina::transition::hopper
