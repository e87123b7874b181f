// What the Hopper kernels get from the host: tensor maps instead of pointers.  They serve bf16 tensors of 128 or 256 channels, hidden
// width equal, dense, N a multiple of 8; whatever else comes goes to the portable kernels of cuda_job.h.
#pragma once
#include <cuda.h>

#include "cuda_job.h"

namespace lamina::triangle_multiplication::hopper {

constexpr int tile = 64;  // positions of one warpgroup's tile

// Threads and dynamic shared memory of each kernel; the device half asserts that they fit its structs.
struct LaunchShape {
  unsigned threads;
  uint32_t shared_bytes;
};
constexpr LaunchShape front_shape(int C) { return {C == 128 ? 512u : 384u, 231424}; }
constexpr LaunchShape contract_shape(int columns) { return columns == 256 ? LaunchShape{384, 230400} : LaunchShape{384, 197632}; }
constexpr LaunchShape back_shape(int C) { return C == 128 ? LaunchShape{384, 165888} : LaunchShape{384, 231424}; }
constexpr int front_splits(int C) { return C == 128 ? 1 : 4; }  // CTAs that share a tile
// Where CTAs share a tile, the LayerNorm is folded into the weights and wgmma takes the tile from shared memory as it came: normalising in
// registers would cost each of them the same work again.  With one CTA a tile that is cheaper than the FMAs that folding adds to every sum.
constexpr bool front_folds(int C) { return C == 256; }
constexpr int front_workers(int C) { return C == 128 ? 3 : 2; }  // warpgroups that work on tiles of their own
constexpr int back_workers = 2;
constexpr int back_splits(int C) { return C / 128; }

// Rows of channels [lines][N][C], or [1][positions][C] where planes pad no row.
struct PositionMaps {
  CUtensorMap whole, pieces;  // boxes of 64 channels x 64, or x 8 positions: made where rows are padded
};

struct FrontJob {
  PositionMaps pair;
  CUtensorMap weights;                   // packed front, folded or not: [4 C, C], boxes of 128 rows x 64
  CUtensorMap planes;                    // a and b: [2 C, positions], boxes of 64 channels x 64 positions
  const float *norm_weight, *norm_bias;  // where the LayerNorm is not folded in
  const float *bias;                     // of the packed rows; null where all are zero
  View pair_mask, token_mask;
  const void *flat_mask;  // pair_mask, where position p's number is its p-th; else null
  Cells cells;
  int tiles;
  float eps;
};

struct ContractJob {
  CUtensorMap a, b, o;  // [matrices, N, N]
  int matrices;         // channels x batches
  int row_tiles, column_tiles, chunks;
};

struct BackJob {
  PositionMaps pair, out;
  CUtensorMap o;                  // [C, positions]
  CUtensorMap gate, weights;      // packed, folded: [C, C] each, boxes of 128 rows x 64
  const float *gate_bias, *bias;  // of the packed rows
  View residual, dropout_mask;
  Cells cells;
  int tiles;
  float eps;
};

}  // namespace lamina::triangle_multiplication::hopper
