// The inner loop of every product: a tile of micro_rows x 2 vectors over `units` steps of the shared dimension.
// Include after simd_avx512.h or simd_avx2.h.
#pragma once

namespace lamina::cpu {

using MicroTile = Vector[micro_rows][2];

inline __attribute__((always_inline)) void clear_tile(MicroTile &sum) {
#pragma GCC unroll 8
  for (int row = 0; row < micro_rows; ++row) sum[row][0] = sum[row][1] = zero();
}
inline __attribute__((always_inline)) void load_tile(const float *from, int64_t stride, MicroTile &sum) {
#pragma GCC unroll 8
  for (int row = 0; row < micro_rows; ++row, from += stride) sum[row][0] = load(from), sum[row][1] = load(from + width);
}
inline __attribute__((always_inline)) void store_tile(float *to, int64_t stride, const MicroTile &sum) {
#pragma GCC unroll 8
  for (int row = 0; row < micro_rows; ++row, to += stride) store(to, sum[row][0]), store(to + width, sum[row][1]);
}

// sum += one step of the shared dimension: micro_rows broadcast elements of a, a_row apart, times the two vectors of b.
// A unit is 32 bits: one float, or two bfloat16, by Product.
template <class Product>
inline __attribute__((always_inline)) void add_unit(const float *a, int64_t a_row, const float *b, int64_t b_vector, MicroTile &sum) {
  const Vector b0 = load(b), b1 = load(b + b_vector);
#pragma GCC unroll 8
  for (int row = 0; row < micro_rows; ++row) {
    const Vector factor = broadcast(a + row * a_row);
    sum[row][0] = Product::accumulate(sum[row][0], factor, b0);
    sum[row][1] = Product::accumulate(sum[row][1], factor, b1);
  }
}

// sum += the product over `units`.  Element (row, unit) of a lies at a[row * a_row + unit * a_unit], vector (v, unit) of b at
// b[v * b_vector + unit * b_unit].
template <class Product>
inline __attribute__((always_inline)) void add_products(int64_t units, const float *a, int64_t a_row, int64_t a_unit, const float *b,
                                                        int64_t b_vector, int64_t b_unit, MicroTile &sum) {
#pragma GCC unroll 2
  for (int64_t unit = 0; unit < units; ++unit, a += a_unit, b += b_unit) add_unit<Product>(a, a_row, b, b_vector, sum);
}
template <class Product>
inline __attribute__((always_inline)) void multiply_tile(int64_t units, const float *a, int64_t a_row, int64_t a_unit, const float *b,
                                                         int64_t b_vector, int64_t b_unit, MicroTile &sum) {
  clear_tile(sum);
  add_products<Product>(units, a, a_row, a_unit, b, b_vector, b_unit, sum);
}

// The same with something else to do: calls beside(step) for each step below `steps`, spread over the units.  What follows a tile waits for
// its last sums, and the next tile waits behind it; an epilogue in small pieces beside the next tile's arithmetic hides in that instead.
template <class Product, int steps, class Beside>
inline __attribute__((always_inline)) void multiply_tile_beside(int64_t units, const float *a, int64_t a_row, int64_t a_unit,
                                                                const float *b, int64_t b_vector, int64_t b_unit, MicroTile &sum,
                                                                Beside beside) {
  clear_tile(sum);
  int64_t unit = 0;
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t stop = units * (step + 1) / steps;
#pragma GCC unroll 2
    for (; unit < stop; ++unit, a += a_unit, b += b_unit) add_unit<Product>(a, a_row, b, b_vector, sum);
    beside(step);
  }
}

// Cache lines to bring into L2 while the arithmetic runs: `lines` of them, spread over the loop.
struct Prefetch {
  const char *from;
  int64_t lines;
};

// multiply_tile() with `next` brought into L2 beside the arithmetic: the largest single gain of the contraction, whose operands otherwise
// arrive from L3 one miss at a time, and of products whose next panel a task has not read yet.
template <class Product>
inline __attribute__((always_inline)) void multiply_tile_ahead(int64_t units, const float *a, int64_t a_row, int64_t a_unit, const float *b,
                                                               int64_t b_vector, int64_t b_unit, Prefetch next, MicroTile &sum) {
  constexpr int64_t stride = 8;
  const int64_t per_step = (next.lines * stride + units - 1) / units;
  const char *ahead = next.from, *end = next.from + next.lines * 64;
  clear_tile(sum);
  for (int64_t unit = 0; unit < units;) {
    for (int64_t line = 0; line < per_step && ahead < end; ++line, ahead += 64) _mm_prefetch(ahead, _MM_HINT_T1);
    const int64_t stop = unit + stride < units ? unit + stride : units;
#pragma GCC unroll 2
    for (; unit < stop; ++unit, a += a_unit, b += b_unit) add_unit<Product>(a, a_row, b, b_vector, sum);
  }
}

}  // namespace lamina::cpu
