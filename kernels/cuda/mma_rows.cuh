// One warp's product of two tiles in shared memory, of which each may lie along k or along its rows: mma.cuh takes B along k only.
#pragma once
#include "mma.cuh"

namespace lamina::cuda {

template <class T, int row_tiles, int column_tiles>
struct RowsProduct {
  using Tile = WarpTile<row_tiles, column_tiles>;

  // A [rows][chunk] or [chunk][rows], lines of `a_line` elements; B [columns][chunk] or [chunk][columns], lines of `b_line`.
  template <Along a_along, Along b_along>
  static __device__ void multiply(Tile &tile, const T *a, int a_line, const T *b, int b_line) {
    if constexpr (b_along == Along::k) tile.template multiply<T, a_along>(a, a_line, b, b_line);
    else if constexpr (sizeof(T) == 2) multiply_16_bit<a_along>(tile, a, a_line, b, b_line);
    else multiply_float<a_along>(tile, a, a_line, b, b_line);
  }

 private:
  template <Along a_along>
  static __device__ void multiply_16_bit(Tile &tile, const T *a, int a_line, const T *b, int b_line) {
    static_assert(column_tiles % 2 == 0, "one ldmatrix feeds two column tiles");
    const int lane = threadIdx.x % 32, matrix = lane / 8, within = lane % 8;
#pragma unroll
    for (int k = 0; k < chunk<T>; k += 16) {
      uint32_t left[row_tiles][4];
#pragma unroll
      for (int m = 0; m < row_tiles; ++m) {
        const int row = m * 16 + matrix % 2 * 8, depth = k + matrix / 2 * 8;
        if constexpr (a_along == Along::k) load_matrices(left[m], shared_address(a + (row + within) * a_line + depth));
        else load_matrices_transposed(left[m], shared_address(a + (depth + within) * a_line + row));
      }
#pragma unroll
      for (int n = 0; n < column_tiles; n += 2) {
        uint32_t right[4];  // k 0-7, k 8-15 of the first column tile, then of the second
        load_matrices_transposed(right, shared_address(b + (k + matrix % 2 * 8 + within) * b_line + (n + matrix / 2) * 8));
#pragma unroll
        for (int m = 0; m < row_tiles; ++m) {
          mma(tile.sum[m][n], left[m], right[0], right[1], T{});
          mma(tile.sum[m][n + 1], left[m], right[2], right[3], T{});
        }
      }
    }
  }

  template <Along a_along>
  static __device__ void multiply_float(Tile &tile, const float *a, int a_line, const float *b, int b_line) {
    const int lane = threadIdx.x % 32, row = lane / 4, column = lane % 4 * 2;
#pragma unroll 4
    for (int k = 0; k < chunk<float>; ++k) {
      float left[row_tiles][2];
#pragma unroll
      for (int m = 0; m < row_tiles; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int at = m * 16 + half * 8 + row;
          left[m][half] = a_along == Along::k ? a[at * a_line + k] : a[k * a_line + at];
        }
#pragma unroll
      for (int n = 0; n < column_tiles; ++n) {
        const float2 right = *reinterpret_cast<const float2 *>(b + k * b_line + n * 8 + column);
#pragma unroll
        for (int m = 0; m < row_tiles; ++m)
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            float *sum = tile.sum[m][n] + half * 2;
            sum[0] = fmaf(left[m][half], right.x, sum[0]), sum[1] = fmaf(left[m][half], right.y, sum[1]);
          }
      }
    }
  }
};

}  // namespace lamina::cuda
