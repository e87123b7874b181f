// What the Hopper kernels get from the host: tensor maps instead of pointers.  They serve dense 16-bit tensors of the widths below, and float
// ones as `narrow` says; whatever else comes goes to the portable kernels of cuda_job.h.
#pragma once
#include <cuda.h>

#include "cuda_job.h"
#include "tiles.h"

namespace lamina::triangle_multiplication::hopper {

constexpr int tile = 64;  // positions of one warpgroup's tile

// Threads and dynamic shared memory of each kernel; the device half asserts that they fit its structs.
struct LaunchShape {
  unsigned threads;
  uint32_t shared_bytes;
};
// C and H that have kernels, in the order of their rows in the kernel table.
struct Width {
  int C, H;
};
constexpr Width widths[] = {{128, 128}, {256, 256}, {64, 64}, {64, 128}, {384, 256}};
constexpr int width_count = sizeof widths / sizeof *widths;
constexpr int width_of(int64_t C, int64_t H) {  // its place in the list; width_count: none
  int at = 0;
  while (at < width_count && (widths[at].C != C || widths[at].H != H)) ++at;
  return at;
}

// Weights that fit beside a ring of tiles stay in shared memory; those of wider layers stream through it, to two CTAs of a cluster at once
// (sm90a_streamed_front.cuh).  At 256 channels that is slower by 7 % (decision 0186).
constexpr bool streams(int C) { return C == 384; }
constexpr int streamed_workers = 2, streamed_together = 2;
constexpr int streamed_front_rows = 256;                                     // of packed weights, a product's columns
constexpr int streamed_back_columns(int C) { return C == 384 ? 192 : 256; }  // output channels of a product
constexpr int streamed_front_passes(int H) { return 4 * H / streamed_front_rows; }
constexpr LaunchShape streamed_shape = {384, 230400};  // of front and back

constexpr LaunchShape front_shape(int C, int H) {
  if (streams(C)) return streamed_shape;
  return C == 64 ? LaunchShape{512, H == 64 ? 134144u : 166912u} : LaunchShape{C == 128 ? 512u : 384u, 231424};
}
// Of a contraction whose `groups` warpgroups multiply 64 rows each.
constexpr int contract_boxes = 2;  // of 64 x 64, that one of them stages
constexpr int contract_stages(int columns, int groups) { return columns == 128 && groups == 2 ? 5 : 4; }
constexpr LaunchShape contract_shape(int columns, int groups = 2) {
  const int stage = (groups * 64 + columns) * 128, staged = groups * contract_boxes * 64 * 128;
  return {(groups + 1) * 128u, static_cast<uint32_t>(contract_stages(columns, groups) * stage + staged + 1024)};
}
constexpr LaunchShape back_shape(int C, int H) {
  if (streams(C)) return streamed_shape;
  if (C == 64) return H == 64 ? LaunchShape{640, 115712} : LaunchShape{512, 148480};
  return C == 128 ? LaunchShape{384, 165888} : LaunchShape{384, 231424};
}
constexpr int front_splits(int C) { return C == 256 ? 4 : 1; }  // CTAs that share a tile
// Where CTAs share a tile, the LayerNorm is folded into the weights and wgmma takes the tile from shared memory as it came: normalising in
// registers would cost each of them the same work again.  With one CTA a tile that is cheaper than the FMAs that folding adds to every sum.
constexpr bool front_folds(int C) { return C >= 256; }
constexpr int front_workers(int C) { return C <= 128 ? 3 : 2; }  // warpgroups that work on tiles of their own
constexpr int back_workers(int C, int H) { return C > 64 ? 2 : H == 64 ? 4 : 3; }
constexpr int back_splits(int C) { return C == 256 ? 2 : 1; }
// Whose warpgroups take turns with the tensor cores.
constexpr bool front_in_turns(int C) { return C == 128 && hopper_front_128_turns; }

// Narrow: float tensors computed in 16 bits (attribute `compute`), the output gate before the projection, 128 hidden channels.  A kernel
// before the others normalises the rows once, the front makes the output gate beside a and b.
constexpr int narrow_hidden = 128, narrow_workers = 2;
constexpr bool narrow_width(int64_t C) { return C == 128 || C == 384; }
constexpr int narrow_splits(int C) { return C == 128 ? 1 : 5; }
constexpr LaunchShape narrow_front_shape(int) { return {384, 230400}; }
constexpr LaunchShape narrow_back_shape(int C) { return {384, C == 128 ? 165888u : 232448u}; }
constexpr LaunchShape narrow_rows_shape() { return {256, 0}; }

// Rows of channels [lines][N][C], or [1][positions][C] where planes pad no row.
struct PositionMaps {
  CUtensorMap whole, pieces;  // boxes of 128 bytes of channels x 64, or x 8 positions: these made where rows are padded
  bool flat;                  // planes pad no row
};

// pair_mask, where its lines of N positions lie evenly behind each other, whatever the batch.  No data: any other mask, or none.
struct MaskLines {
  const void *data;
  DType dtype;
  int64_t line, element;  // strides
  int last_line, last;    // of a line
};

struct FrontJob {
  PositionMaps pair;
  CUtensorMap weights;                   // packed front, folded or not: [4 H, C], boxes of 128 rows x 64; streamed: three dimensions
  CUtensorMap planes;                    // a, b (narrow: and the output gate): [channels, positions], boxes of 64 channels x 64 positions
  const float *norm_weight, *norm_bias;  // where the LayerNorm is not folded in
  const float *bias;                     // of the packed rows; null where all are zero
  View pair_mask, token_mask;
  MaskLines mask_lines;
  Cells cells;
  int tiles;
  int splits;  // streamed weights: so many CTAs share a tile, each a part of the passes
  float eps;
};

struct NarrowRowsJob {  // LayerNorm of rows of floats, written as 16-bit ones in the order of the planes' positions
  View pair;
  void *rows;  // [positions, C]
  Cells cells;
  PackedNorm norm;
};

struct ContractJob {
  CUtensorMap a, b, o;  // [matrices, N, N]
  int matrices;         // channels x batches
  int row_tiles, column_tiles, chunks;
};

// How a dropout mask is read: pairs of neighbouring channels are aligned words of the tensors' dtype, or element by element.
enum class MaskForm { none, pairs, elements };

struct BackJob {
  PositionMaps pair, out, residual;
  CUtensorMap o;                  // [H, positions], boxes of all channels, or of 64 where weights stream
  CUtensorMap gate, weights;      // packed, folded: [C, C] and [C, H]; boxes of a CTA's rows x 64
  const float *gate_bias, *bias;  // of the packed rows
  View dropout_mask;
  MaskForm dropout;
  bool has_residual;
  Cells cells;
  int tiles;
  float eps;
};

struct NarrowBackJob {
  CUtensorMap o, gate;  // [128, positions] each, boxes of 128 channels x 64 positions
  CUtensorMap weights;  // packed [C, 128], boxes of 128 rows x 64
  PositionMaps out;     // floats
  const float *bias;    // of the packed rows; zeros where missing
  const float *norm_weight, *norm_bias;
  Cells cells;
  int tiles;
  float eps;
};

}  // namespace lamina::triangle_multiplication::hopper
