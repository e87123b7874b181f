// The matrix product of the row layers for every GPU and dtype: 128 x 128 of the result a CTA, either operand along k or transposed, any
// strides and sizes; what follows the sum is decided at run time.
#pragma once
#include "activation.cuh"
#include "mma.cuh"
#include "rows_job.h"

namespace lamina::cuda {

constexpr int product_tile = 128, product_threads = 256;

// 128 rows of one operand, a chunk of k at a time: fetched into registers while the chunk before is multiplied, then laid into [row][k].
template <class T>
class OperandStream {
 public:
  static constexpr int line = chunk<T> + line_padding<T>;

  __device__ OperandStream(const ProductOperand &operand, int64_t first_row, int64_t rows, int64_t depth)
      : operand_(operand),
        first_(first_row),
        rows_(rows),
        depth_(depth),
        aligned_(operand.line % (16 / sizeof(T)) == 0 && reinterpret_cast<uintptr_t>(operand.data) % 16 == 0) {}

  __device__ void fetch(int64_t k) {
#pragma unroll
    for (int i = 0; i < pieces; ++i) {
      const Place place = place_of(i);
      held_[i] =
          operand_.transposed ? load(k + place.k, depth_, first_ + place.row, rows_) : load(first_ + place.row, rows_, k + place.k, depth_);
    }
  }
  __device__ void put(T *tile) const {
#pragma unroll
    for (int i = 0; i < pieces; ++i) {
      const Place place = place_of(i);
      if (operand_.transposed) {
#pragma unroll
        for (int e = 0; e < 8; ++e) tile[(place.row + e) * line + place.k] = held_[i].value[e];
      } else {
        *reinterpret_cast<gpu::Eight<T> *>(tile + place.row * line + place.k) = held_[i];
      }
    }
  }

 private:
  static constexpr int pieces = product_tile * chunk<T> / 8 / product_threads;
  struct Place {
    int row, k;
  };
  // Eight neighbours along k, or along the rows; threads side by side read side by side.
  __device__ Place place_of(int i) const {
    const int piece = threadIdx.x + i * product_threads;
    if (operand_.transposed) return {piece % (product_tile / 8) * 8, piece / (product_tile / 8)};
    return {piece / (chunk<T> / 8), piece % (chunk<T> / 8) * 8};
  }
  __device__ gpu::Eight<T> load(int64_t at_line, int64_t lines, int64_t at, int64_t width) const {
    gpu::Eight<T> eight{};
    if (at_line >= lines || at >= width) return eight;
    const T *from = static_cast<const T *>(operand_.data) + at_line * operand_.line + at;
    if (at + 8 <= width) return gpu::load_eight(from, aligned_);
#pragma unroll
    for (int e = 0; e < 8; ++e)
      if (at + e < width) eight.value[e] = from[e];
    return eight;
  }

  const ProductOperand operand_;
  const int64_t first_, rows_, depth_;
  const bool aligned_;
  gpu::Eight<T> held_[pieces];
};

// What follows the sums of one row.
template <class T>
struct ProductRow {
  const ProductJob &job;
  int64_t row;
  float factor;

  __device__ ProductRow(const ProductJob &job, int64_t row) : job(job), row(row), factor(job.scale) {
    if (job.row_mask.present) factor *= gpu::load_any(job.row_mask.data, job.row_mask.dtype, row * job.row_mask.stride[0]);
  }
  __device__ void put(int column, float value) const {
    value *= factor;
    if (job.residual.present) value += gpu::to_float(static_cast<const T *>(job.residual.data)[row * job.residual.stride[0] + column]);
    const int64_t at = row * job.out_line + column;
    if (job.out_is_float) {
      float *to = static_cast<float *>(job.out) + blockIdx.z * job.split_stride + at;
      *to = job.add_to_out ? *to + value : value;
    } else {
      static_cast<T *>(job.out)[at] = gpu::from_float<T>(value);
    }
  }
};

template <class T>
__device__ void product(const ProductJob &job) {
  constexpr int line = OperandStream<T>::line;
  __shared__ __align__(16) T left[2][product_tile * line], right[2][product_tile * line];
  const int column_tiles = (job.columns + product_tile - 1) / product_tile;
  const int64_t first_row = blockIdx.x / column_tiles * static_cast<int64_t>(product_tile);
  const int first_column = blockIdx.x % column_tiles * product_tile;
  const int64_t from = blockIdx.z * job.split_depth, end = from + job.split_depth < job.depth ? from + job.split_depth : job.depth;

  OperandStream<T> a(job.a, first_row, job.rows, end), b(job.b, first_column, job.columns, end);
  const int warp = threadIdx.x / 32, warp_row = warp % 4 * 32, warp_column = warp / 4 * 64;
  WarpTile<2, 8> sum;
  a.fetch(from), b.fetch(from);
  int stage = 0;
  for (int64_t k = from; k < end; k += chunk<T>, stage ^= 1) {
    a.put(left[stage]), b.put(right[stage]);
    __syncthreads();  // this chunk is here, and nobody reads the other stage, which is filled next
    if (k + chunk<T> < end) a.fetch(k + chunk<T>), b.fetch(k + chunk<T>);
    sum.template multiply<T, Along::k>(left[stage] + warp_row * line, line, right[stage] + warp_column * line, line);
  }

  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = first_row + warp_row + m * 16 + lane / 4 + half * 8;
      if (row >= job.rows) continue;
      const ProductRow<T> to(job, row);
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int column = first_column + warp_column + n * 8 + lane % 4 * 2 + e;
          if (column >= job.columns) continue;
          float value = sum.sum[m][n][half * 2 + e] + (job.bias ? job.bias[column] : 0.0f);
          if (!job.gated) {
            to.put(column, activate(job.activation, value));
          } else if (n % 2 == 0) {  // the value that this gate belongs to is this lane's too
            const float more = sum.sum[m][n + 1][half * 2 + e] + (job.bias ? job.bias[column + 8] : 0.0f);
            to.put(column / 16 * 8 + column % 8, activate(Activation::silu, value) * more);
          }
        }
    }
}

}  // namespace lamina::cuda
