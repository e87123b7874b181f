// Products of packed weights, from L2 straight into registers, with a panel of lines that a workgroup holds in LDS.
//
// Packed weights lie in the order in which waves load them: blocks of 32 rows, in each groups of 16 k, in each the eight k of lane 0, then
// of lane 1, ... (mma.h).
#pragma once
#include "mma.h"

namespace lamina::hip {

constexpr int fragment_group = mma_lines * mma_depth;  // elements of 32 rows x 16 k

// Where element (row, k) of a matrix of `depth` columns, a whole number of groups, lies in that order.
__device__ inline int64_t fragment_place(int64_t row, int k, int depth) {
  const int64_t block = row / mma_lines * (depth / mma_depth) + k / mma_depth;
  const int lane = k % mma_depth / lane_depth * mma_lines + static_cast<int>(row % mma_lines);
  return (block * wave_lanes + lane) * lane_depth + k % lane_depth;
}

// A wave's sums: rows * 32 outputs by columns * 32 lines of the panel.
template <int rows, int columns>
struct PanelSums {
  Sums at[rows][columns] = {};

  // weight: this lane's part of the wave's first block of rows, at the panel's first group of k; the blocks lie block_size elements apart.
  // A line of the panel is `line` elements.
  template <class T>
  __device__ void multiply(const T *weight, int block_size, int groups, const T *panel, int line) {
    const T *position = panel + lane_line() * line + lane_half() * lane_depth;
    Fragment<T> coming[rows];
#pragma unroll
    for (int r = 0; r < rows; ++r) coming[r] = load_fragment(weight + r * block_size);
    for (int group = 0; group < groups; ++group) {
      Fragment<T> left[rows], right[columns];
      weight += group + 1 < groups ? fragment_group : 0;  // the last one is loaded twice
#pragma unroll
      for (int r = 0; r < rows; ++r) left[r] = coming[r], coming[r] = load_fragment(weight + r * block_size);
#pragma unroll
      for (int c = 0; c < columns; ++c) right[c] = load_fragment(position + c * mma_lines * line + group * mma_depth);
#pragma unroll
      for (int r = 0; r < rows; ++r)
#pragma unroll
        for (int c = 0; c < columns; ++c) at[r][c] = hip::multiply(left[r], right[c], at[r][c]);
    }
  }
};

}  // namespace lamina::hip
