// The matrix product behind the backward's linear layers and contractions, and what its kernels make of the sums.
#pragma once
#include "cuda_backward_job.h"
#include "gpu_finish.cuh"
#include "kernels/cuda/mma_rows.cuh"
#include "kernels/gpu/rows.cuh"

namespace lamina::triangle_multiplication {

using cuda::Along;
using gpu::from_float, gpu::to_float;

__device__ inline gpu::Moments moments_of(const CellStatistics &cell) { return {cell.mean, cell.scale}; }

template <class T>
using Two = gpu::Neighbours<T, 2>;  // neighbouring cells of a plane
template <class T>
__device__ float2 load_two_cells(const void *plane, int64_t at) {
  const Two<T> two = *reinterpret_cast<const Two<T> *>(static_cast<const T *>(plane) + at);
  return {to_float(two.value[0]), to_float(two.value[1])};
}
template <class T>
__device__ void store_two_cells(void *plane, int64_t at, float first, float second) {
  *reinterpret_cast<Two<T> *>(static_cast<T *>(plane) + at) = {{from_float<T>(first), from_float<T>(second)}};
}

// What becomes of one lane's sums v at columns `column`, + 1 and rows `row` (v[0], v[1]) and row + 8 (v[2], v[3]).
template <class T>
struct Endings {
  const ProductJob &job;
  int64_t matrix;  // elements to this block's matrix of out

  __device__ int64_t at(int64_t row, int64_t column) const { return matrix + row * job.out_line + column; }

  // use(row, value of column, value of column + 1) for the two rows, where they exist.
  template <class F>
  __device__ void both(int64_t row, const float (&v)[4], F use) const {
    if (row < job.rows) use(row, v[0], v[1]);
    if (row + 8 < job.rows) use(row + 8, v[2], v[3]);
  }

  __device__ void store(int64_t row, int64_t column, const float (&v)[4]) const {
    both(row, v, [&](int64_t r, float v0, float v1) { store_two_cells<T>(job.out, at(r, column), v0, v1); });
  }
  __device__ void partial(int64_t row, int64_t column, const float (&v)[4]) const {
    both(row, v, [&](int64_t r, float v0, float v1) {
      float2 *to = reinterpret_cast<float2 *>(static_cast<float *>(job.out) + at(r, column));
      float2 before = {0, 0};
      if (job.add) before = *to;
      *to = {before.x + v0, before.y + v1};
    });
  }
  // Rows `row` and row + 8 are a channel's projection and halved gate.
  __device__ void operands(int64_t row, int64_t column, const float (&v)[4]) const {
    if (row >= job.rows) return;
    const float p = job.bias[row], g = job.bias[row + 8], *mask = job.mask + column;
    store_two_cells<T>(job.out, at(row / 16 * 8 + row % 8, column), (v[0] + p) * gpu::sigmoid((v[2] + g) / gate_factor) * mask[0],
                       (v[1] + p) * gpu::sigmoid((v[3] + g) / gate_factor) * mask[1]);
  }
  __device__ void operands_backward(int64_t row, int64_t column, const float (&v)[4]) const {
    if (row >= job.rows) return;
    const float p = job.bias[row], g = job.bias[row + 8], *mask = job.mask + column;
    const float2 gradient = load_two_cells<T>(job.gradient, at(row / 16 * 8 + row % 8, column));
    const float d0 = gradient.x * mask[0], d1 = gradient.y * mask[1];
    const float s0 = gpu::sigmoid((v[2] + g) / gate_factor), s1 = gpu::sigmoid((v[3] + g) / gate_factor);
    store_two_cells<T>(job.out, at(row, column), d0 * s0, d1 * s1);
    store_two_cells<T>(job.out, at(row + 8, column), d0 * (v[0] + p) * s0 * (1 - s0) / gate_factor,
                       d1 * (v[1] + p) * s1 * (1 - s1) / gate_factor);
  }
  __device__ void gate(int64_t row, int64_t column, const float (&v)[4]) const {
    both(row, v, [&](int64_t r, float v0, float v1) {
      store_two_cells<T>(job.gate, at(r, column), gpu::sigmoid(v0 + job.bias[r]), gpu::sigmoid(v1 + job.bias[r]));
    });
  }
  __device__ float2 normalised(int64_t row, int64_t column) const {
    const float2 o = load_two_cells<T>(job.o, at(row, column));
    const gpu::Moments first = moments_of(job.statistics[column]), second = moments_of(job.statistics[column + 1]);
    const float weight = job.norm.weight[row], bias = job.norm.bias[row];
    return {gpu::normalised(o.x, first, weight, bias), gpu::normalised(o.y, second, weight, bias)};
  }
  __device__ void gate_before(int64_t row, int64_t column, const float (&v)[4]) const {
    both(row, v, [&](int64_t r, float v0, float v1) {
      const float g0 = gpu::sigmoid(v0 + job.bias[r]), g1 = gpu::sigmoid(v1 + job.bias[r]);
      const float2 n = normalised(r, column);
      store_two_cells<T>(job.gate, at(r, column), g0, g1);
      store_two_cells<T>(job.out, at(r, column), n.x * g0, n.y * g1);
    });
  }
  __device__ void gate_backward(int64_t row, int64_t column, const float (&v)[4]) const {
    both(row, v, [&](int64_t r, float v0, float v1) {
      const int64_t here = at(r, column);
      const float2 g = load_two_cells<T>(job.gate, here), du = load_two_cells<T>(job.incoming, here);
      store_two_cells<T>(job.incoming, here, du.x * g.x, du.y * g.y);
      store_two_cells<T>(job.gate, here, du.x * (v0 + job.bias[r]) * g.x * (1 - g.x), du.y * (v1 + job.bias[r]) * g.y * (1 - g.y));
    });
  }
  __device__ void gate_before_backward(int64_t row, int64_t column, const float (&v)[4]) const {
    both(row, v, [&](int64_t r, float v0, float v1) {
      const int64_t here = at(r, column);
      const float2 g = load_two_cells<T>(job.gate, here), n = normalised(r, column);
      store_two_cells<T>(job.out, here, v0 * g.x, v1 * g.y);
      store_two_cells<T>(job.gate, here, v0 * n.x * g.x * (1 - g.x), v1 * n.y * g.y * (1 - g.y));
    });
  }
};

// One operand's stage: 128 lines of 64 bytes, or a chunk of lines of 128 elements; 16 bytes behind each line.
template <class T, Along along>
struct OperandStage {
  static constexpr int line = (along == Along::k ? cuda::chunk<T> : product_tile) + cuda::line_padding<T>;
  static constexpr int lines = along == Along::k ? product_tile : cuda::chunk<T>;
  static_assert(line * lines * sizeof(T) <= product_tile * 80);

  // From element (row, k) on; zeros beyond `rows` and `depth`.
  static __device__ void fetch(const T *from, int64_t from_line, int64_t row, int64_t rows, int64_t k, int64_t depth, T *to) {
    constexpr int elements = 16 / sizeof(T), pieces = (line - cuda::line_padding<T>) / elements;
    for (int piece = threadIdx.x; piece < lines * pieces; piece += product_threads) {
      const int within = piece / pieces, step = piece % pieces * elements;
      const int64_t down = (along == Along::k ? row : k) + within, across = (along == Along::k ? k : row) + step;
      const bool valid = down < (along == Along::k ? rows : depth) && across < (along == Along::k ? depth : rows);
      cuda::copy_16_async(to + within * line + step, from + (valid ? down * from_line + across : 0), valid);
    }
  }
  static __device__ const T *rows_from(const T *stage, int row) { return stage + (along == Along::k ? row * line : row); }
};

template <class T, Along a_along, Along b_along>
__device__ void product(const ProductJob &job) {
  using A = OperandStage<T, a_along>;
  using B = OperandStage<T, b_along>;
  extern __shared__ __align__(128) char dynamic[];
  const unsigned row_tiles = static_cast<unsigned>((job.rows + product_tile - 1) / product_tile);
  const int64_t row = blockIdx.x % row_tiles * product_tile, column = static_cast<int64_t>(blockIdx.x / row_tiles) * product_tile;
  const int64_t a_from = blockIdx.y * job.a_matrix + blockIdx.z * job.a_batch,
                b_from = blockIdx.y * job.b_matrix + blockIdx.z * job.b_batch;
  const auto depth_of = [&](int part) {
    if (!job.split) return job.part[part].depth;
    const int64_t left = job.part[part].depth - blockIdx.z * job.split;
    return left < job.split ? left : job.split;
  };
  const int64_t depth_0 = depth_of(0), depth_1 = job.split ? 0 : job.part[1].depth;
  const int chunks_0 = static_cast<int>((depth_0 + cuda::chunk<T> - 1) / cuda::chunk<T>),
            chunks = chunks_0 + static_cast<int>((depth_1 + cuda::chunk<T> - 1) / cuda::chunk<T>);

  T *stages = reinterpret_cast<T *>(dynamic);
  constexpr int stage_elements = product_tile * 80 / sizeof(T);
  const auto fetch = [&](int index) {
    if (index < chunks) {
      const bool second = index >= chunks_0;
      const ProductPart &part = job.part[second];
      const int64_t k = static_cast<int64_t>(second ? index - chunks_0 : index) * cuda::chunk<T>, depth = second ? depth_1 : depth_0;
      T *stage = stages + index % product_stages * 2 * stage_elements;
      A::fetch(static_cast<const T *>(part.a) + a_from, part.a_line, row, job.a_rows, k, depth, stage);
      B::fetch(static_cast<const T *>(part.b) + b_from, part.b_line, column, job.b_rows, k, depth, stage + stage_elements);
    }
    cuda::copy_commit();  // an empty group keeps the count
  };
  for (int index = 0; index < product_stages - 1; ++index) fetch(index);

  const int warp = threadIdx.x / 32, warp_row = warp % 4 * 32, warp_column = warp / 4 * 64;
  cuda::WarpTile<2, 8> sum;
  for (int index = 0; index < chunks; ++index) {
    cuda::copy_wait<product_stages - 2>();
    __syncthreads();  // this chunk is here, and nobody reads the stage that is filled next
    fetch(index + product_stages - 1);
    const T *stage = stages + index % product_stages * 2 * stage_elements;
    cuda::RowsProduct<T, 2, 8>::template multiply<a_along, b_along>(sum, A::rows_from(stage, warp_row), A::line,
                                                                    B::rows_from(stage + stage_elements, warp_column), B::line);
  }

  const Endings<T> endings{job, blockIdx.y * job.out_matrix + blockIdx.z * job.out_batch};
  const int lane = threadIdx.x % 32;
  const auto each = [&](auto use) {
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        const int64_t r = row + warp_row + m * 16 + lane / 4, c = column + warp_column + n * 8 + lane % 4 * 2;
        if (c < job.columns) use(r, c, sum.sum[m][n]);
      }
  };
#define LAMINA_ENDING(name) \
  case Ending::name: return each([&](int64_t r, int64_t c, const float(&v)[4]) { endings.name(r, c, v); })
  if constexpr (a_along == Along::k && b_along == Along::k) {
    if (job.ending == Ending::partial) each([&](int64_t r, int64_t c, const float(&v)[4]) { endings.partial(r, c, v); });
    else each([&](int64_t r, int64_t c, const float(&v)[4]) { endings.store(r, c, v); });
  } else if constexpr (a_along == Along::k) {
    switch (job.ending) {
      LAMINA_ENDING(store);
      LAMINA_ENDING(operands);
      LAMINA_ENDING(operands_backward);
      LAMINA_ENDING(gate);
      LAMINA_ENDING(gate_before);
      LAMINA_ENDING(gate_backward);
      default: return;
    }
  } else {
    if (job.ending == Ending::gate_before_backward)
      each([&](int64_t r, int64_t c, const float(&v)[4]) { endings.gate_before_backward(r, c, v); });
    else each([&](int64_t r, int64_t c, const float(&v)[4]) { endings.store(r, c, v); });
  }
#undef LAMINA_ENDING
}

}  // namespace lamina::triangle_multiplication
