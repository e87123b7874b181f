// A linear map over rows: 128 rows by 128 columns a workgroup, 64 x 64 a wave, with what stands before and after it.
//
// Two stages of LDS: while the waves multiply one, the next 64 bytes of each line come from memory into registers, and then into the other.
// Rows are normalised on their way from registers to LDS.
#pragma once
#include "activation.h"
#include "kernels/gpu/rows.cuh"
#include "mma.h"
#include "rows_job.h"

namespace lamina::hip {

using gpu::Eight, gpu::from_float, gpu::to_float;

// What a thread brings of 128 lines of 64 bytes: 16 bytes of two lines.
template <class T>
struct LinePart {
  static constexpr int chunk = 64 / sizeof(T), elements = 16 / sizeof(T), lines = 2, lines_at_once = rows_threads / line_pieces;
  static_assert(lines * lines_at_once == product_tile);
  __device__ static int line(int i) { return thread_index() / line_pieces + i * lines_at_once; }
  __device__ static int piece() { return thread_index() % line_pieces; }
};

// The tile's columns of packed weights; a column goes to LDS line place_of(column), so that a lane's sums are 16 neighbouring columns.
template <class T>
class WeightStream : LinePart<T> {
 public:
  __device__ WeightStream(const ProductJob &job, int column) {
#pragma unroll
    for (int i = 0; i < this->lines; ++i)
      from_[i] =
          static_cast<const T *>(job.weight) + static_cast<int64_t>(column + this->line(i)) * job.line + this->piece() * this->elements;
  }
  __device__ void fetch(int index) {
#pragma unroll
    for (int i = 0; i < this->lines; ++i) coming_[i] = *reinterpret_cast<const Piece *>(from_[i] + index * this->chunk);
  }
  __device__ void put(Piece *stage) const {
#pragma unroll
    for (int i = 0; i < this->lines; ++i) stage[piece_at(place_of(this->line(i)), this->piece())] = coming_[i];
  }

 private:
  const T *from_[LinePart<T>::lines];
  Piece coming_[LinePart<T>::lines];
};

template <class T>
__device__ const T *row_of(const ProductJob &job, int64_t row) {
  return static_cast<const T *>(job.x.data) + (row < job.rows ? row : job.rows - 1) * job.x.stride[0];
}

// How rows come: 16 bytes at a time, as they are or normalised; or any rows, element by element where it must be.  Loops of their own, so
// that the common ones hold nothing else.
enum class Path { plain, normed, any };

// The tile's rows of x.  Beyond the last row the last one stands again: nobody stores what comes of it.
template <class T, Path path>
class RowStream : LinePart<T> {
  static constexpr int lines = LinePart<T>::lines, elements = LinePart<T>::elements;
  struct Elements {
    T value[elements];
  };

 public:
  // Pointers are read from the launch's arguments here, before any barrier: later ones the compiler would not know to be device memory.
  __device__ RowStream(const ProductJob &job, int64_t row) : job_(job), norm_weight_(job.norm_weight), norm_bias_(job.norm_bias) {
#pragma unroll
    for (int i = 0; i < lines; ++i) row_[i] = row_of<T>(job, row + this->line(i));
  }

  __device__ void know(const gpu::Moments *moments) {
#pragma unroll
    for (int i = 0; i < lines; ++i) moments_[i] = moments[this->line(i)];
  }

  __device__ void fetch(int index) {
    at_ = index * this->chunk + this->piece() * elements;
    const bool inside = at_ + elements <= job_.depth;
#pragma unroll
    for (int i = 0; i < lines; ++i) {
      if (path != Path::any || (job_.x_aligned && inside)) {
        // Zeros by a mask: a choice of what to load would become one between address spaces.
        coming_[i] = *reinterpret_cast<const Piece *>(row_[i] + (inside ? at_ : 0)) & (inside ? ~0u : 0u);
      } else {
        Elements some;
#pragma unroll
        for (int e = 0; e < elements; ++e) some.value[e] = at_ + e < job_.depth ? row_[i][at_ + e] : from_float<T>(0.0f);
        coming_[i] = __builtin_bit_cast(Piece, some);
      }
    }
  }

  __device__ void put(Piece *stage) const {
#pragma unroll
    for (int i = 0; i < lines; ++i) {
      const bool norm = path == Path::normed || (path == Path::any && norm_weight_);
      stage[piece_at(this->line(i), this->piece())] = norm ? normalised(i) : coming_[i];
    }
  }

 private:
  __device__ Piece normalised(int i) const {
    Elements some = __builtin_bit_cast(Elements, coming_[i]);
    float x[elements], weight[elements], bias[elements];
#pragma unroll
    for (int e = 0; e < elements; ++e) x[e] = to_float(some.value[e]), weight[e] = norm_weight_[at_ + e], bias[e] = norm_bias_[at_ + e];
    gpu::normalise(x, moments_[i], weight, bias);
#pragma unroll
    for (int e = 0; e < elements; ++e) some.value[e] = from_float<T>(x[e]);
    return __builtin_bit_cast(Piece, some);
  }

  const ProductJob &job_;
  const float *const norm_weight_, *const norm_bias_;
  const T *row_[lines];
  gpu::Moments moments_[lines];
  Piece coming_[lines];
  int at_ = 0;
};

// Statistics of a tile's rows, 16 lanes a row; a barrier makes them visible.
template <class T>
__device__ void measure_tile(const ProductJob &job, int64_t row, gpu::Moments *moments) {
  const MeanOver16 mean_over(job.depth);
  for (int at = thread_index() / 16; at < product_tile; at += rows_threads / 16) {
    const gpu::Moments found =
        gpu::row_moments<16>(row_of<T>(job, row + at), job.depth, job.x_aligned, thread_index() % 16, job.eps, mean_over, reciprocal_root);
    if (thread_index() % 16 == 0) moments[at] = found;
  }
}

template <After after>
__device__ float activated(const ProductJob &job, float y) {
  if constexpr (after == After::erf) return gelu_erf(y);
  else if constexpr (after == After::sigmoid) return y * exact_sigmoid(y * __builtin_fmaf(job.cubic * y, y, job.slope));
  else return y < job.floor ? job.floor : y;
}

// Eight neighbours of a row of T, or of float where the view says so; those beyond `most` are not there.
template <class T>
__device__ __attribute__((always_inline)) void store_some(const View &to, int64_t at, const float (&u)[8], bool aligned, int most) {
  const auto store = [&](auto *data) {
    using Out = std::remove_reference_t<decltype(*data)>;
    Eight<Out> eight;
#pragma unroll
    for (int e = 0; e < 8; ++e) eight.value[e] = from_float<Out>(u[e]);
    if (most >= 8) return gpu::store_eight(data + at, eight, aligned);
#pragma unroll
    for (int e = 0; e < 7; ++e)
      if (e < most) data[at + e] = eight.value[e];
  };
  if (to.dtype == DType::float32) store(static_cast<float *>(to.data));
  else store(static_cast<T *>(to.data));
}

// Row mask, scale, residual and store of eight neighbouring outputs.
template <class T>
__device__ __attribute__((always_inline)) void finish_row(const ProductJob &job, int64_t row, int column, float factor, float (&u)[8]) {
  const int most = job.outputs - column;
#pragma unroll
  for (int e = 0; e < 8; ++e) u[e] *= factor;
  if (job.residual.present) {
    const T *from = static_cast<const T *>(job.residual.data) + row * job.residual.stride[0] + column;
    if (most >= 8) {
      const Eight<T> before = gpu::load_eight(from, job.residual_aligned);
#pragma unroll
      for (int e = 0; e < 8; ++e) u[e] += to_float(before.value[e]);
    } else {
#pragma unroll
      for (int e = 0; e < 7; ++e)
        if (e < most) u[e] += to_float(from[e]);
    }
  }
  store_some<T>(job.out, row * job.out.stride[0] + column, u, job.out_aligned, most);
}

// A lane's 16 neighbouring columns of one row, from `column` on.
template <class T, After after>
__device__ __attribute__((always_inline)) void finish_sums(const ProductJob &job, const Sums &sums, int64_t row, int column, float factor) {
  const float *bias = job.bias + column;
  if constexpr (after == After::gated) {
    if (column / 2 >= job.outputs) return;
    float u[8];
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const float gate = sums[e] + bias[e];
      u[e] = gate * exact_sigmoid(gate) * (sums[8 + e] + bias[8 + e]);
    }
    finish_row<T>(job, row, column / 2, factor, u);
  } else {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (column + half * 8 >= job.outputs) continue;
      float u[8];
#pragma unroll
      for (int e = 0; e < 8; ++e) u[e] = activated<after>(job, sums[half * 8 + e] + bias[half * 8 + e]);
      finish_row<T>(job, row, column + half * 8, factor, u);
    }
  }
}

using Stages = Piece[2][2][product_tile * line_pieces];  // two of weights and rows
struct WaveTile {
  int column, row;  // of the wave in the tile
};

// sums of this wave's 64 columns and rows over the whole depth.
template <class T, Path path>
__device__ __attribute__((always_inline)) void multiply_rows(const ProductJob &job, int64_t first_row, int first_column,
                                                             const WaveTile &wave, Stages &stages, Sums (&sums)[2][2]) {
  WeightStream<T> weights(job, first_column);
  RowStream<T, path> rows(job, first_row);
  if (path == Path::normed || (path == Path::any && job.norm_weight)) {
    // Until the second stage is written: 32 KB in all let two workgroups share a compute unit.
    gpu::Moments *moments = reinterpret_cast<gpu::Moments *>(stages[1]);
    measure_tile<T>(job, first_row, moments);
    barrier();
    rows.know(moments);
  }
  const int chunks = job.line / LinePart<T>::chunk;
  weights.fetch(0), rows.fetch(0);
  weights.put(stages[0][0]), rows.put(stages[0][1]);
  for (int index = 0; index < chunks; ++index) {
    barrier();  // this stage is written, and nobody reads the other
    if (index + 1 < chunks) weights.fetch(index + 1), rows.fetch(index + 1);
    const auto &stage = stages[index % 2];
#pragma unroll
    for (int group = 0; group < line_groups<T>; ++group) {
      Fragment<T> left[2], right[2];
#pragma unroll
      for (int m = 0; m < 2; ++m) left[m] = load_fragment<T>(stage[0], wave.column + m * 32 + lane_line(), group);
#pragma unroll
      for (int n = 0; n < 2; ++n) right[n] = load_fragment<T>(stage[1], wave.row + n * 32 + lane_line(), group);
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < 2; ++n) sums[m][n] = multiply(left[m], right[n], sums[m][n]);
    }
    if (index + 1 < chunks) weights.put(stages[(index + 1) % 2][0]), rows.put(stages[(index + 1) % 2][1]);
  }
}

template <class T, After after>
__device__ __attribute__((always_inline)) void product(const ProductJob &job) {
  __shared__ Stages stages;
  const unsigned tiles = static_cast<unsigned>(job.column_tiles);
  const int64_t first_row = static_cast<int64_t>(block_x() / tiles) * product_tile;
  const int first_column = static_cast<int>(block_x() % tiles) * product_tile;
  const WaveTile wave{wave_index() % 2 * 64, wave_index() / 2 * 64};
  Sums sums[2][2] = {};
  if (!job.x_aligned || job.depth % LinePart<T>::elements) multiply_rows<T, Path::any>(job, first_row, first_column, wave, stages, sums);
  else if (job.norm_weight) multiply_rows<T, Path::normed>(job, first_row, first_column, wave, stages, sums);
  else multiply_rows<T, Path::plain>(job, first_row, first_column, wave, stages, sums);

#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const int64_t row = first_row + wave.row + n * 32 + lane_line();
    if (row >= job.rows) continue;
    float factor = job.scale;
    if (job.row_mask.present) factor *= gpu::load_any(job.row_mask.data, job.row_mask.dtype, row * job.row_mask.stride[0]);
#pragma unroll
    for (int m = 0; m < 2; ++m) finish_sums<T, after>(job, sums[m][n], row, first_column + wave.column + m * 32 + lane_half() * 16, factor);
  }
}

}  // namespace lamina::hip
