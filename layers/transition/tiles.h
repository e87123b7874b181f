// Tile sizes, each with where it comes from.
#pragma once
#include <cstdint>

namespace lamina::transition {

// Rows of one task of the CPU builds, at most; 96, 48 and 24 are whole micro tiles of every arch.  Each task reads all weights once from L2
// or L3, so more rows ask less of L3: on a Zen 5 beside busy neighbours 96 rows take 2 to 4 % less time than 64 at C = 1024, I = 4096, and
// the same at C = 128.  Few rows are shared among the threads by smaller tasks.
constexpr int64_t cpu_rows = 96;
constexpr int64_t cpu_block_rows(int64_t rows, int64_t threads) {
  int64_t block = cpu_rows;
  while (block > 24 && (rows + block - 1) / block < 4 * threads) block /= 2;
  return block;
}

// Floats of what backward keeps of one chunk of rows before it sums over them, 8 MB: it should stay in L3.  On a Zen 5 beside busy neighbours
// 16 MB take a tenth more time; 4 MB take as long, but leave few tasks to share out.
constexpr int64_t cpu_chunk_floats = 2 << 20;

// Units of the shared dimension that one chain of float32 sums takes: one of 4096 terms would cost a factor of two in digits.  Shorter ones,
// by which a panel would stay in L1, do not pay: 256 take 7 % longer than 1024 at C = 768, since panels stream from L2 fast enough.
constexpr int64_t cpu_chain = 1024;

}  // namespace lamina::transition
