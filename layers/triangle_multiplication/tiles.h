// Tile sizes, each with where it comes from; `make tune LAYER=triangle_multiplication ARCH=...` times the others named behind them.
#pragma once
#include <cstdint>

#include "kernels/common/tunable.h"

namespace lamina::triangle_multiplication {

struct Tile {
  int64_t rows, columns;  // of the contraction: what one thread keeps of o, all channels
};

// The tile of o that one thread keeps, all channels of it: rows x columns x H floats.  64 x 64 reads a and b half as often as 32 x 32: on
// two cores of a Zen 5 at N = 256, C = 128 the contraction and back take 21.9 ms instead of 23.0 in fp32 (bf16: the same).  It is taken
// where that leaves each thread eight tiles or more; wider layers take fewer rows so that 32 columns stay within 1 MB of L2.
LAMINA_TUNABLE(cpu_large_tile, 64);  // cpu_avx512,cpu_avx2: 32 64 128 at N=256 C=128 dtype=float32,bfloat16
constexpr Tile cpu_tile(int64_t hidden, int64_t residues, int64_t threads) {
  const int64_t side = cpu_large_tile;
  if (hidden <= 128 && (residues / side) * (residues / side) >= 8 * threads) return {side, side};
  if (hidden <= 256) return {32, 32};
  if (hidden <= 512) return {16, 32};
  return {8, 32};
}

// Columns of one front task: enough to amortise a task, few enough that small problems feed all threads.
LAMINA_TUNABLE(cpu_front_columns, 16);  // cpu_avx512,cpu_avx2: 8 16 32 at N=256 C=128 dtype=float32,bfloat16
constexpr int64_t front_columns(int64_t residues) { return residues >= 128 ? cpu_front_columns : 8; }

// Whether the three warpgroups of Hopper's front at 128 channels take turns with the tensor cores: left alone they multiply in step and
// then compute in step.  In turns the layer takes 2 % less at N = 128, 2.5 % at 384, 1 to 1.5 % from 512 to 2048 (decision 0188).
LAMINA_TUNABLE(hopper_front_128_turns, 1);  // cuda_sm90a: 0 1 at N=128,256,512,1024 C=128

// Hopper's contraction.  From N = 257 to 384, tiles of 192 x 128 in pairs that share their columns ask L2 for 32 KB each 768 cycles of the
// tensor cores, tiles of 128 x 128 each 512: at N = 384 the layer takes 2.5 % less at 128 channels, 3 % at 256 (decision 0190).
LAMINA_TUNABLE(hopper_tall_tiles, 1);  // cuda_sm90a: 0 1 at N=320,384 C=128,256

// HIP's front, gate and back.  64 positions are two of an MFMA's 32, so each weight that a wave loads from L2 serves two instructions and
// four waves ask L2 for 32 bytes a cycle at full MFMA rate, of the 54 that an MI300X can give each unit; 512 bytes of a position's channels
// (256 in 16 bits) make a panel of 33 KB.  Computed, not measured: nobody has run these on a card yet.
struct HipTile {
  int positions, panel_bytes;
};
constexpr HipTile hip_tile = {64, 512};

}  // namespace lamina::triangle_multiplication
