// A blocked product of rows with panels of columns, for layers whose lanes are output columns.
// Include after simd_avx512.h or simd_avx2.h, microkernel.h and rownorm.h.
//
// A unit is 32 bits of an operand along the shared dimension: one float, or two bfloat16 for vdpbf16ps (Product::per_unit).
//   rows     [row][unit], what the caller filled in: store_units() of whole vectors, zeros behind the last element
//   panels   [panel][unit][2 * width]: lanes are columns; pack_panel() makes one from any strided matrix
//   sums     [row][column] floats, in the second-level cache; the caller's epilogue reads whole rows of them
#pragma once
#include "kernels/common/view.h"

namespace lamina::cpu {

constexpr int64_t panel_columns = 2 * width;

// `count` values, zeros behind them; nothing beyond is read.  Unlike Io::load, on every machine.
template <class Io>
inline Vector load_some(const char *from, int64_t count) {
  if (count >= width) return Io::load(from, width);
  alignas(64) char copy[width * 4] = {};
  memcpy(copy, from, static_cast<size_t>(count * Io::bytes));
  return Io::load(copy, width);
}
template <class Io>
inline void store_some(char *to, Vector v, int64_t count) {
  if (count >= width) return Io::store(to, v, width);
  alignas(64) char copy[width * 4];
  Io::store(copy, v, width);
  memcpy(to, copy, static_cast<size_t>(count * Io::bytes));
}

// sums[rows][panels * panel_columns] (+)= rows * panels over `units` units.  rows is a multiple of micro_rows; element (row, unit) of the
// left operand lies at left[row * left_row + unit * left_unit].
struct Block {
  int64_t rows, units, panels;
  const float *left;
  int64_t left_row, left_unit;
  const float *right;
  int64_t right_panel;  // floats from panel to panel
  float *sums;
  int64_t sums_row;
  bool add;
};

template <class Product>
inline void multiply_block(const Block &b) {
  const int64_t tiles = b.rows / micro_rows, lines = (b.units * panel_columns * 4 + 63) / 64, share = (lines + tiles - 1) / tiles;
  for (int64_t panel = 0; panel < b.panels; ++panel) {
    const float *right = b.right + panel * b.right_panel;
    for (int64_t row = 0, first = 0; row < b.rows; row += micro_rows, first += share) {
      const int64_t left_over = panel + 1 < b.panels ? lines - first : 0;
      const Prefetch next{reinterpret_cast<const char *>(right + b.right_panel) + first * 64, left_over < share ? left_over : share};
      MicroTile tile;
      multiply_tile_ahead<Product>(b.units, b.left + row * b.left_row, b.left_row, b.left_unit, right, width, panel_columns, next, tile);
      float *to = b.sums + row * b.sums_row + panel * panel_columns;
#pragma GCC unroll 8
      for (int r = 0; r < micro_rows; ++r, to += b.sums_row) {
        if (b.add) tile[r][0] += load(to), tile[r][1] += load(to + width);
        store(to, tile[r][0]), store(to + width, tile[r][1]);
      }
    }
  }
}

// A matrix to be packed: element (column, depth) by strides.
struct Matrix {
  const char *data;
  DType dtype;
  int64_t column_stride, depth_stride;  // in elements
};

template <class Io, class Product>
inline void pack_columns(const Matrix &m, int64_t columns, int64_t depth0, int64_t depth, int64_t units, float *rows, float *panel) {
  if (m.column_stride == 1) {  // lanes are neighbours: no transpose
    for (int64_t unit = 0; unit < units; ++unit, panel += panel_columns)
      for (int half = 0; half < 2; ++half) {
        const auto at = [&](int64_t d) {
          const int64_t left = columns - half * width;
          return left > 0 && d < depth ? load_some<Io>(m.data + ((depth0 + d) * m.depth_stride + half * width) * Io::bytes, left) : zero();
        };
        if constexpr (Product::per_unit == 1) store(panel + half * width, at(unit));
#ifdef LAMINA_PAIR_DOT
        else store(panel + half * width, pairs(at(2 * unit), at(2 * unit + 1)));
#endif
      }
    return;
  }
  const int64_t padded = units * Product::per_unit;
  for (int64_t column = 0; column < panel_columns; ++column)
    for (int64_t d = 0; d < padded; d += width) {
      const char *from = m.data + (column * m.column_stride + (depth0 + d) * m.depth_stride) * Io::bytes;
      Vector v = zero();
      if (column < columns && d < depth) {
        if (m.depth_stride == 1) v = load_some<Io>(from, depth - d);
        else {
          alignas(64) char copy[width * 4] = {};
          for (int64_t i = 0; i < width && d + i < depth; ++i)
            memcpy(copy + i * Io::bytes, from + i * m.depth_stride * Io::bytes, Io::bytes);
          v = Io::load(copy, width);
        }
      }
      store_units<Product>(rows + column * units, d, v);
    }
  transpose_rows(rows, units, units, panel);
}

// Columns [0, columns) of `m`, at most panel_columns of them, over depths [depth0, depth0 + depth) as a panel of `units` units, a multiple
// of width; what is beyond is zero.  rows: scratch of panel_columns * units floats.  float64 is no dtype here.
template <class Product>
inline void pack_panel(const Matrix &m, int64_t columns, int64_t depth0, int64_t depth, int64_t units, float *rows, float *panel) {
  if (m.dtype == DType::float32) pack_columns<Float32, Product>(m, columns, depth0, depth, units, rows, panel);
  else if (m.dtype == DType::float16) pack_columns<Float16, Product>(m, columns, depth0, depth, units, rows, panel);
  else pack_columns<BFloat16, Product>(m, columns, depth0, depth, units, rows, panel);
}

}  // namespace lamina::cpu
