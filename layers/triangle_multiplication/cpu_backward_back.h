// Pass 2 of backward: for a tile of rows i and columns j, o of all channels again, then the way back through the output gate, the
// projection and the norm.  The gradient of o takes o's place in the tile and leaves it in both layouts that pass 3 reads.
#pragma once
#include "cpu_backward_job.h"

namespace lamina::triangle_multiplication {

struct BackGradientScratch : BackScratch {
  float *rows, *projected, *gated, *hidden, *units[3];  // rows: z in floats; BackScratch's z is in units
  alignas(64) float mean[strip_pair], scale[strip_pair];

  BackGradientScratch(float *at, const BackwardScratch &s) : BackScratch(at, s.forward) {
    rows = at + s.forward.back_total, projected = rows + s.rows, gated = projected + s.projected, hidden = gated + s.gated;
    units[0] = hidden + s.hidden, units[1] = units[0] + s.units, units[2] = units[1] + s.units;
  }
};

// dropout_mask * out_gradient of position (i, j), channels c ...; zeros beyond C.
template <class M>
inline Vector incoming_gradient(const BackwardJob &b, int64_t i, int64_t j, int64_t c) {
  const Problem &p = b.g.p;
  if (c >= p.C) return cpu::zero();
  const int count = static_cast<int>(p.C - c < width ? p.C - c : width);
  const Vector gradient = M::Io::load(row_of<typename M::Io>(b.g.out, b.forward.batch, i, j) + c * M::Io::bytes, count);
  return p.dropout_mask.present ? gradient * dropout_factors<M>(b.forward, i, j, c, count) : gradient;
}

// normed[half][h][lane] = norm_out(o), times the gate where that comes first.  Lanes beyond `valid` get a scale of 0: whatever eps is,
// nothing that is not a number comes from there.
inline void normalise_for_gradient(const BackwardJob &b, float *strips, int64_t valid, BackGradientScratch &s) {
  const int64_t H = b.g.p.H;
  const bool gated = b.g.p.settings.gate_before_projection;
  for (int64_t half = 0; half < 2; ++half) {
    float *strip = strips + half * b.geometry.o_stride;
    // A row block that lies beyond N as a whole was never filled.
    for (int64_t h = 0; h < H && valid <= half * width; ++h) cpu::store(strip + h * width, cpu::zero());
    Vector mean, scale;
    cpu::strip_statistics(strip, H, static_cast<float>(b.g.p.settings.eps), mean, scale);
    float *means = s.mean + half * width, *scales = s.scale + half * width;
    cpu::store(means, mean), cpu::store(scales, scale);
    for (int64_t lane = valid > half * width ? valid - half * width : 0; lane < width; ++lane) means[lane] = scales[lane] = 0;
    mean = cpu::load(means), scale = cpu::load(scales);
    for (int64_t h = 0; h < H; ++h) {
      const Vector y = cpu::multiply_add((cpu::load(strip + h * width) - mean) * scale, cpu::splat(b.forward.w.norm_out_weight[h]),
                                         cpu::splat(b.forward.w.norm_out_bias[h]));
      cpu::store(s.normed + (half * H + h) * width, gated ? y * cpu::load(s.gate + h * strip_pair + half * width) : y);
    }
  }
}

// Rows `projected` and, with the gate after the projection, `gated`.
template <class M>
void projection_gradient(const BackwardJob &b, int64_t i, int64_t j0, int64_t valid, Position next, BackGradientScratch &s) {
  const Problem &p = b.g.p;
  const PackedWeights &w = b.forward.w;
  const int64_t stride = b.geometry.row_stride;
  for (int64_t at = valid * stride; at < strip_pair * stride; at += width) cpu::store(s.projected + at, cpu::zero());
  if (p.settings.gate_before_projection) {
    for (int64_t lane = 0; lane < valid; ++lane)
      for (int64_t c = 0; c < stride; c += width) cpu::store(s.projected + lane * stride + c, incoming_gradient<M>(b, i, j0 + lane, c));
    return;
  }
  using Product = typename M::Product;
  const int64_t o_units = p.H / Product::per_unit, z_units = p.C / Product::per_unit;
  const float *normed = s.normed;
#ifdef LAMINA_PAIR_DOT
  if constexpr (Product::per_unit == 2) {  // units of two channels: strips are the rows here
    for (int64_t half = 0; half < 2; ++half)
      pairs_of_rows<Product>(s.normed + half * p.H * width, p.H, width, s.units[0] + half * o_units * width);
    normed = s.units[0];
  }
#endif
  for (int64_t at = valid * stride; at < strip_pair * stride; at += width) cpu::store(s.gated + at, cpu::zero());
  // The sums of the positions and channels before; a row of them is finished at each step of a projection, as in back().
  alignas(64) float values[micro_rows * strip_pair], gates[micro_rows * strip_pair];
  // The next positions' rows come into L1 beside the arithmetic.
  const int64_t row_lines = (p.C * M::Io::bytes + 63) / 64, tiles = stride / strip_pair * (strip_pair / micro_rows);
  RowPrefetch rows(next.i < p.N ? 2 * strip_pair : 0, row_lines, [&](int64_t row) {
    const int64_t j = next.j + row / 2 < p.N ? next.j + row / 2 : next.j;
    return row_of<typename M::Io>(row % 2 ? b.g.out : p.pair, b.forward.batch, next.i, j);
  });
  int64_t lane_before = 0, c_before = -1;
  const auto finish = [&](int64_t row) __attribute__((always_inline)) {
    if (lane_before + row >= valid) return;
#pragma GCC unroll 2
    for (int64_t half = 0; half < 2; ++half) {
      const int64_t channel = c_before + half * width, at = (lane_before + row) * stride + channel, sum = row * strip_pair + half * width;
      const Vector open = M::Sigmoid::of(cpu::load(gates + sum) + cpu::load(w.out_gate_bias + channel));
      const Vector u = cpu::load(values + sum) + cpu::load(w.out_bias + channel);
      const Vector gradient = incoming_gradient<M>(b, i, j0 + lane_before + row, channel), projected = gradient * open;
      cpu::store(s.projected + at, projected);
      cpu::store(s.gated + at, projected * u * (cpu::splat(1.f) - open));
    }
  };
  for (int64_t c = 0; c < stride; c += strip_pair)
    for (int64_t lane = 0; lane < valid; lane += micro_rows) {
      rows.step((2 * strip_pair * row_lines + tiles - 1) / tiles);
      cpu::MicroTile sum;
      cpu::multiply_tile_beside<Product, micro_rows>(o_units, normed + lane / width * o_units * width + lane % width, 1, width,
                                                     w.out + c * o_units, width, strip_pair, sum,
                                                     [&](int64_t row) __attribute__((always_inline)) {
                                                       if (c_before >= 0) finish(row);
                                                     });
      cpu::store_tile(values, strip_pair, sum);
      cpu::multiply_tile<Product>(z_units, s.z + lane * b.geometry.z_stride, b.geometry.z_stride, 1, w.out_gate + c * z_units, width,
                                  strip_pair, sum);
      cpu::store_tile(gates, strip_pair, sum);
      lane_before = lane, c_before = c;
    }
  for (int64_t row = 0; row < micro_rows; ++row) finish(row);
}

// hidden[h][lane]: gradient of norm_out's result.  With the gate before the projection also strips `gated`, [h][lane].
template <class Product>
void hidden_gradient(const BackwardJob &b, const float *strips, BackGradientScratch &s) {
  const Problem &p = b.g.p;
  const int64_t units = p.C / Product::per_unit, stride = b.geometry.row_stride;
  cpu::transpose_rows(unit_rows<Product>(s.projected, strip_pair, stride, s.units[0]), stride, units, s.panel);
  for (int64_t h = 0; h < p.H; h += micro_rows) {
    cpu::MicroTile sum;
    cpu::multiply_tile<Product>(units, b.w.base + b.w.out + h * units, 1, micro_rows, s.panel, width, strip_pair, sum);
    cpu::store_tile(s.hidden + h * strip_pair, strip_pair, sum);
  }
  if (!p.settings.gate_before_projection) return;
  for (int64_t h = 0; h < p.H; ++h)
    for (int64_t half = 0; half < 2; ++half) {
      const int64_t at = h * strip_pair + half * width;
      const Vector open = cpu::load(s.gate + at), gradient = cpu::load(s.hidden + at), scale = cpu::load(s.scale + half * width);
      const Vector y =
          cpu::multiply_add((cpu::load(strips + half * b.geometry.o_stride + h * width) - cpu::load(s.mean + half * width)) * scale,
                            cpu::splat(b.forward.w.norm_out_weight[h]), cpu::splat(b.forward.w.norm_out_bias[h]));
      cpu::store(s.hidden + at, gradient * open);
      cpu::store(s.gated + at, gradient * y * open * (cpu::splat(1.f) - open));
    }
}

// The norm's way back, lanes are positions: o in the strips becomes its gradient.
inline void norm_out_gradient(const BackwardJob &b, float *strips, float *sums, const BackGradientScratch &s) {
  const int64_t H = b.g.p.H;
  const float *weight = b.forward.w.norm_out_weight;
  float *weight_sums = sums + b.sums.norm_out_weight, *bias_sums = sums + b.sums.norm_out_bias;
  for (int64_t half = 0; half < 2; ++half) {
    float *strip = strips + half * b.geometry.o_stride;
    const float *hidden = s.hidden + half * width;
    const Vector mean = cpu::load(s.mean + half * width), scale = cpu::load(s.scale + half * width);
    Vector slope = cpu::zero(), product = cpu::zero();
    for (int64_t h = 0; h < H; ++h) {
      const Vector normed = (cpu::load(strip + h * width) - mean) * scale, gradient = cpu::load(hidden + h * strip_pair);
      const Vector weighted = gradient * cpu::splat(weight[h]);
      slope = slope + weighted, product = cpu::multiply_add(weighted, normed, product);
      cpu::store(weight_sums + h * width, cpu::multiply_add(gradient, normed, cpu::load(weight_sums + h * width)));
      cpu::store(bias_sums + h * width, gradient + cpu::load(bias_sums + h * width));
    }
    if (!b.wanted.o) continue;
    const Vector share = cpu::splat(1 / static_cast<float>(H));
    slope = slope * share, product = product * share;
    for (int64_t h = 0; h < H; ++h) {
      const Vector normed = (cpu::load(strip + h * width) - mean) * scale;
      const Vector weighted = cpu::load(hidden + h * strip_pair) * cpu::splat(weight[h]);
      cpu::store(strip + h * width, (weighted - slope - normed * product) * scale);
    }
  }
}

// What the output gate's argument gives: to its weight, its bias and z.
template <class Product>
void gate_gradient(const BackwardJob &b, int64_t i, int64_t j0, int64_t valid, float *sums, const BackGradientScratch &s) {
  constexpr int64_t per_unit = Product::per_unit;
  const Problem &p = b.g.p;
  const bool before = p.settings.gate_before_projection;
  const int64_t stride = b.geometry.row_stride, G = p.gate_width();
  if (b.wanted.out_gate) {
    const float *rows = pairs_of_rows<Product>(s.rows, strip_pair, stride, s.units[0]);
    const float *gated =
        before ? neighbours<Product>(s.gated, G * strip_pair, s.units[1]) : pairs_of_rows<Product>(s.gated, strip_pair, stride, s.units[1]);
    add_outer_products<Product>(G, strip_pair / per_unit, gated, before ? strip_pair / per_unit : 1, before ? 1 : stride, rows, stride,
                                sums + b.sums.gate);
    float *bias = sums + b.sums.gate_bias;
    if (before)
      for (int64_t h = 0; h < G; ++h)
        cpu::store(bias + h * width,
                   cpu::load(bias + h * width) + cpu::load(s.gated + h * strip_pair) + cpu::load(s.gated + h * strip_pair + width));
    else
      for (int64_t lane = 0; lane < valid; ++lane)
        for (int64_t c = 0; c < stride; c += width) cpu::store(bias + c, cpu::load(bias + c) + cpu::load(s.gated + lane * stride + c));
  }
  if (!b.wanted.z) return;
  const float *gated =
      before ? pairs_of_rows<Product>(s.gated, G, strip_pair, s.units[1]) : unit_rows<Product>(s.gated, strip_pair, stride, s.units[1]);
  const int64_t by_unit = before ? strip_pair : 1, by_position = before ? 1 : stride;
  for (int64_t c = 0; c < stride; c += strip_pair)
    for (int64_t lane = 0; lane < valid; lane += micro_rows) {
      cpu::MicroTile sum;
      cpu::multiply_tile<Product>(G / per_unit, gated + lane * by_position, by_position, by_unit, b.w.base + b.w.gate + c * (G / per_unit),
                                  width, strip_pair, sum);
      float *to = b.z_rows + (i * p.N + j0 + lane) * stride + c;
#pragma GCC unroll 8
      for (int64_t row = 0; row < micro_rows; ++row) {
        if (lane + row >= valid) break;
        cpu::store(to + row * stride, sum[row][0]), cpu::store(to + row * stride + width, sum[row][1]);
      }
    }
}

// All channels of 2 * width positions (i, j0 ...), whose strips of o are at `strips`.
template <class M>
void back_gradient(const BackwardJob &b, int64_t i, int64_t j0, Position next, float *strips, float *sums, BackGradientScratch &s) {
  const Problem &p = b.g.p;
  const int64_t stride = b.geometry.row_stride, valid = p.N - j0 < strip_pair ? p.N - j0 : strip_pair;
  using Product = typename M::Product;
  gate_rows<RowsMode<typename M::Io>>(b.forward, i, j0, s.rows);
  for (int64_t at = valid * stride; at < strip_pair * stride; at += width) cpu::store(s.rows + at, cpu::zero());
  s.z = const_cast<float *>(unit_rows<Product>(s.rows, strip_pair, stride, s.z));
  if (p.settings.gate_before_projection) gate_strips<M>(b.forward, s);
  normalise_for_gradient(b, strips, valid, s);
  projection_gradient<M>(b, i, j0, valid, next, s);
  hidden_gradient<Product>(b, strips, s);
  if (b.wanted.out_projection) {
    constexpr int64_t units = width / Product::per_unit;  // of the positions of one half; normed is [half][h][lane]
    const float *normed = neighbours<Product>(s.normed, 2 * p.H * width, s.units[0]);
    const float *projected = pairs_of_rows<Product>(s.projected, strip_pair, stride, s.units[1]);
    for (int64_t half = 0; half < 2; ++half)
      add_outer_products<Product>(p.H, units, normed + half * p.H * units, units, 1, projected + half * units * stride, stride,
                                  sums + b.sums.out);
    float *bias = sums + b.sums.out_bias;
    for (int64_t lane = 0; lane < valid; ++lane)
      for (int64_t c = 0; c < stride; c += width) cpu::store(bias + c, cpu::load(bias + c) + cpu::load(s.projected + lane * stride + c));
  }
  if (b.wanted.out_gate || b.wanted.z) gate_gradient<Product>(b, i, j0, valid, sums, s);
  norm_out_gradient(b, strips, sums, s);
}

// The gradient of o of a tile to both layouts: lanes are rows i, columns j, and lanes are columns j, columns i.
template <class Product>
void store_gradient_of_o(const BackwardJob &b, int64_t i0, int64_t j0, int64_t rows, int64_t columns, float *o) {
  const TrainingGeometry &g = b.geometry;
  const int64_t H = b.g.p.H, N = b.g.p.N, strips = g.tile.columns / width;
  for (int64_t i = N - i0; i < rows; ++i)  // positions beyond N are zeros
    for (int64_t at = 0; at < columns / width * g.o_stride; at += width) cpu::store(o + i * strips * g.o_stride + at, cpu::zero());
  const auto put = [&](int64_t block, int64_t channel, int64_t column, const Vector(&square)[width]) __attribute__((always_inline)) {
    float *to = b.gradient_at(block, channel) + column / Product::per_unit * width;
#pragma GCC unroll 16
    for (int64_t row = 0; row < width; row += Product::per_unit, to += width) {
      if (column + row >= g.columns) break;
#ifdef LAMINA_PAIR_DOT
      if constexpr (Product::per_unit == 2) {
        cpu::store(to, cpu::pairs(square[row], square[row + 1]));
        continue;
      }
#endif
      cpu::store(to, square[row]);
    }
  };
  for (int64_t h = 0; h < H; ++h)
    for (int64_t i = 0; i < rows; i += width)
      for (int64_t j = 0; j < columns; j += width) {
        const float *from = o + (i * strips + j / width) * g.o_stride + h * width;
        Vector square[width];
#pragma GCC unroll 16
        for (int row = 0; row < width; ++row) square[row] = cpu::load(from + row * strips * g.o_stride);
        put((j0 + j) / width, H + h, i0 + i, square);
        cpu::transpose(square);
        put((i0 + i) / width, h, j0 + j, square);
      }
}

// One tile.
template <class M>
void contract_and_back_gradient(const BackwardJob &b, int64_t i0, int64_t j0, float *scratch, float *sums) {
  BackGradientScratch s(scratch, b.scratch);
  const TrainingGeometry &g = b.geometry;
  const int64_t strips = g.tile.columns / width, N = b.g.p.N;
  contract<M>(b.forward, i0, j0, s);
  for (int64_t i = 0; i < g.tile.rows && i0 + i < N; ++i)
    for (int64_t j = 0; j < g.tile.columns && j0 + j < N; j += strip_pair)
      back_gradient<M>(b, i0 + i, j0 + j,
                       j + strip_pair < g.tile.columns ? Position{i0 + i, j0 + j + strip_pair} : Position{i0 + i + 1, j0},
                       s.o + (i * strips + j / width) * g.o_stride, sums, s);
  if (!b.wanted.o) return;
  const int64_t rows = N - i0 < g.tile.rows ? N - i0 : g.tile.rows, columns = N - j0 < g.tile.columns ? N - j0 : g.tile.columns;
  store_gradient_of_o<typename M::Storage::Product>(b, i0, j0, round_up(rows, width), round_up(columns, strip_pair), s.o);
}

}  // namespace lamina::triangle_multiplication
