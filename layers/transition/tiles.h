// Tile sizes, each with where it comes from; `make tune LAYER=transition ARCH=...` times the others named behind them.
#pragma once
#include <cstdint>

#include "kernels/common/tunable.h"

namespace lamina::transition {

// Rows of one task of the CPU builds.  Each task reads all weights once from L2 or L3, 24 flop a byte at 48 rows and more; its normalised
// and hidden rows must stay in L2 beside the panel at work, so wide layers take fewer.
LAMINA_TUNABLE(cpu_rows, 64);  // cpu_avx512,cpu_avx2: 32 64 96 128 at M=4096 C=128 I=512 dtype=float32,bfloat16
constexpr int64_t cpu_block_rows(int64_t channels, int64_t hidden, int64_t rows, int64_t threads) {
  int64_t block = channels + hidden <= 2048 ? cpu_rows : 32;
  while (block > 16 && (rows + block - 1) / block < 4 * threads) block /= 2;
  return block;
}

// Floats of what backward keeps of one chunk of rows before it sums over them: 16 MB, within L3 of a server's two cores and enough rows
// that adding to the weights' sums costs little.
constexpr int64_t cpu_chunk_floats = 4 << 20;

// Units of the shared dimension that one chain of sums takes: longer ones cost float32 digits, at 4096 terms a factor of two.
constexpr int64_t cpu_chain = 1024;

}  // namespace lamina::transition
