// One warp's product of two tiles in shared memory: sum[row][column] += A[row][k] * B[column][k], float accumulators.
//
// 16-bit elements use mma.sync m16n8k16.  float elements use FMAs: exact to fp32, and spread over the lanes like mma.sync's
// accumulators, so that whatever follows is written once for both.
#pragma once
#include "copy.cuh"
#include "mma_sync.cuh"

namespace lamina::cuda {

using gpu::bfloat16, gpu::float16;

// How a tile lies in shared memory: [row][k] or [k][row].
enum class Along { k, rows };

// Elements of padding behind each line of a shared tile: 16 bytes keep ldmatrix free of bank conflicts.
template <class T>
constexpr int line_padding = 16 / sizeof(T);

// k per step of the shared pipeline: 64 bytes a line.
template <class T>
constexpr int chunk = 64 / sizeof(T);

// 16 * row_tiles rows and 8 * column_tiles columns.  Lane l holds, of each 16 x 8 tile, rows l/4 and l/4 + 8, columns 2*(l%4) and the
// next: sum[.][.][0..1] of the first row, [2..3] of the second.
template <int row_tiles, int column_tiles>
struct WarpTile {
  float sum[row_tiles][column_tiles][4] = {};

  // A [rows][chunk] or [chunk][rows], lines of `a_line` elements; B [columns][chunk], lines of `b_line` elements.
  template <class T, Along along>
  __device__ void multiply(const T *a, int a_line, const T *b, int b_line) {
    if constexpr (sizeof(T) == 2) multiply_16_bit<T, along>(a, a_line, b, b_line);
    else multiply_float<along>(a, a_line, b, b_line);
  }

  // Calls use(row, column, value) for every accumulator of this lane; value is a reference.
  template <class F>
  __device__ void for_each(F use) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < row_tiles; ++m)
#pragma unroll
      for (int n = 0; n < column_tiles; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) use(m * 16 + lane / 4 + e / 2 * 8, n * 8 + lane % 4 * 2 + e % 2, sum[m][n][e]);
  }

 private:
  template <class T, Along along>
  __device__ void multiply_16_bit(const T *a, int a_line, const T *b, int b_line) {
    static_assert(column_tiles % 2 == 0, "one ldmatrix feeds two column tiles");
    const int lane = threadIdx.x % 32, matrix = lane / 8, within = lane % 8;
#pragma unroll
    for (int k = 0; k < chunk<T>; k += 16) {
      uint32_t left[row_tiles][4];
#pragma unroll
      for (int m = 0; m < row_tiles; ++m) {
        // Matrices in the order rows 0-7, rows 8-15 of k 0-7, then of k 8-15.
        const int row = m * 16 + matrix % 2 * 8, depth = k + matrix / 2 * 8;
        if constexpr (along == Along::k) load_matrices(left[m], shared_address(a + (row + within) * a_line + depth));
        else load_matrices_transposed(left[m], shared_address(a + (depth + within) * a_line + row));
      }
#pragma unroll
      for (int n = 0; n < column_tiles; n += 2) {
        uint32_t right[4];  // k 0-7, k 8-15 of the first column tile, then of the second
        load_matrices(right, shared_address(b + (n * 8 + matrix / 2 * 8 + within) * b_line + k + matrix % 2 * 8));
#pragma unroll
        for (int m = 0; m < row_tiles; ++m) {
          mma(sum[m][n], left[m], right[0], right[1], T{});
          mma(sum[m][n + 1], left[m], right[2], right[3], T{});
        }
      }
    }
  }

  template <Along along>
  __device__ void multiply_float(const float *a, int a_line, const float *b, int b_line) {
    const int lane = threadIdx.x % 32, row = lane / 4, column = lane % 4 * 2;
#pragma unroll
    for (int k = 0; k < chunk<float>; k += 4) {
      float left[row_tiles][2][4];
#pragma unroll
      for (int m = 0; m < row_tiles; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int at = m * 16 + half * 8 + row;
          if constexpr (along == Along::k) {
            *reinterpret_cast<float4 *>(left[m][half]) = *reinterpret_cast<const float4 *>(a + at * a_line + k);
          } else {
#pragma unroll
            for (int step = 0; step < 4; ++step) left[m][half][step] = a[(k + step) * a_line + at];
          }
        }
#pragma unroll
      for (int n = 0; n < column_tiles; ++n) {
        float right[2][4];
#pragma unroll
        for (int side = 0; side < 2; ++side)
          *reinterpret_cast<float4 *>(right[side]) = *reinterpret_cast<const float4 *>(b + (n * 8 + column + side) * b_line + k);
#pragma unroll
        for (int step = 0; step < 4; ++step)
#pragma unroll
          for (int m = 0; m < row_tiles; ++m)
#pragma unroll
            for (int e = 0; e < 4; ++e) sum[m][n][e] = fmaf(left[m][e / 2][step], right[e % 2][step], sum[m][n][e]);
      }
    }
  }
};

}  // namespace lamina::cuda
