// Tile sizes, each with where it comes from.
#pragma once
#include "cpu_job.h"

namespace lamina::triangle_multiplication {

// The tile of o that one thread keeps, all channels of it: rows x columns x H floats.  32 x 32 is 512 KB at H = 128; wider layers take
// fewer rows so that it stays within 1 MB of L2.  Sizes from 32 to 128 lie within 7 % of each other once the operands are prefetched.
constexpr Tile cpu_tile(int64_t hidden) {
  if (hidden <= 256) return {32, 32};
  if (hidden <= 512) return {16, 32};
  return {8, 32};
}

// Columns of one front task: enough to amortise a task, few enough that small problems feed all threads.
constexpr int64_t front_columns(int64_t residues) { return residues >= 128 ? 16 : 8; }

}  // namespace lamina::triangle_multiplication
