// Backward's first phase, for one block of rows: the gradients of the front's outputs and of x.  What the second phase sums over rows is
// left in the chunk, with two neighbouring rows in one unit where a unit holds two values.
#pragma once
#include "cpu_backward_space.h"

namespace lamina::transition {

struct BackwardJob {
  Job forward;
  const Problem &p;
  const Gradients &g;
  const PackedLayout &layout;
  const BackwardSpace &space;
  Chunk chunk;
};

struct BlockScratch {
  float *z, *du, *d, *dz;
  cpu::RowStatistics *statistics;
  BlockScratch(const BackwardSpace &space, float *at) : z(at), du(z + space.block * space.z), d(du + space.block * space.z) {
    dz = d + space.block * space.d;
    statistics = reinterpret_cast<cpu::RowStatistics *>(dz + space.block * space.dz);
  }
};

// Rows of a micro tile, one vector each, into the chunk.
template <class Product>
inline __attribute__((always_inline)) void store_across(const Vector (&rows)[micro_rows], float *to, int64_t stride) {
#ifdef LAMINA_PAIR_DOT
  if constexpr (Product::per_unit == 2) {
#pragma GCC unroll 8
    for (int row = 0; row < micro_rows; row += 2) cpu::store(to + row / 2 * stride, cpu::pairs(rows[row], rows[row + 1]));
    return;
  }
#endif
#pragma GCC unroll 8
  for (int row = 0; row < micro_rows; ++row) cpu::store(to + row * stride, rows[row]);
}

// Local rows of units along the row, again, as rows of the chunk.
template <class Product>
void copy_across(const float *rows, int64_t stride, int64_t count, int64_t values, float *to, int64_t to_stride) {
  for (int64_t r = 0; r < count; r += micro_rows)
    for (int64_t c = 0; c < values; c += width) {
      Vector tile[micro_rows];
      for (int row = 0; row < micro_rows; ++row) {
        const float *from = rows + (r + row) * stride;
#ifdef LAMINA_PAIR_DOT
        if constexpr (Product::per_unit == 2) {
          tile[row] = cpu::BFloat16::load(reinterpret_cast<const uint16_t *>(from) + c, width);
          continue;
        }
#endif
        tile[row] = cpu::load(from + c);
      }
      store_across<Product>(tile, to + r / Product::per_unit * to_stride + c, to_stride);
    }
}

// du = row_mask * out_gradient, its sum over the block's rows, and residual_gradient.
template <class M>
void out_gradient_block(const BackwardJob &job, int64_t begin, int64_t count, int64_t rows, float *du, float *sums) {
  using Io = typename M::Io;
  const Problem &p = job.p;
  const View &residual = job.g.residual;
  for (int64_t r = 0; r < count; ++r) {
    const char *from = row_of<Io>(job.g.out, begin + r);
    const Vector mask = cpu::splat(mask_at(p.row_mask, begin + r));
    for (int64_t c = 0; c < p.C; c += width) {
      const int lanes = static_cast<int>(p.C - c < width ? p.C - c : width);
      const Vector v = Io::load(from + c * Io::bytes, lanes), masked = p.row_mask.present ? v * mask : v;
      cpu::store_units<typename M::Product>(du + r * job.space.z, c, masked);
      cpu::store(sums + c, cpu::load(sums + c) + masked);
    }
    if (residual.present && residual.data != job.g.out.data)
      memcpy(row_of<Io>(residual, begin + r), from, static_cast<size_t>(p.C * Io::bytes));
  }
  for (int64_t at = count * job.space.z; at < rows * job.space.z; ++at) du[at] = 0;
}

// Calls use(r, tile) with gate and up of each micro tile of a front panel: what forward_train saved of these rows, or the product again.
template <class M, class F>
inline __attribute__((always_inline)) void for_each_front_tile(const BackwardJob &job, int64_t panel, int64_t begin, int64_t count,
                                                               const float *z, F use) {
  using Io = typename M::Io;
  const int64_t units = job.p.C / M::Product::per_unit, rows = round_up(count, micro_rows);
  if (job.p.saved) {
    for (int64_t r = 0; r < rows; r += micro_rows) {
      const char *saved = saved_tile<Io>(job.p, job.layout, begin + r, panel);
      cpu::MicroTile tile;
#pragma GCC unroll 8
      for (int row = 0; row < micro_rows; ++row)
        for (int half = 0; half < 2; ++half) tile[row][half] = Io::load(saved + (row * panel_lanes + half * width) * Io::bytes, width);
      use(r, tile);
    }
    return;
  }
  const float *bias = job.forward.w.front_bias + panel * panel_lanes;
  const Vector bias0 = cpu::load(bias), bias1 = cpu::load(bias + width);
  for_each_tile<typename M::Product>(rows, units, z, job.space.z, job.forward.w.front + panel * units * panel_lanes,
                                     [&](int64_t r, cpu::MicroTile &tile) {
#pragma GCC unroll 8
                                       for (int row = 0; row < micro_rows; ++row) tile[row][0] += bias0, tile[row][1] += bias1;
                                       use(r, tile);
                                     });
}

inline void add_rows(const Vector (&rows)[micro_rows], float *sums) {
  Vector sum = cpu::load(sums);
#pragma GCC unroll 8
  for (int row = 0; row < micro_rows; ++row) sum += rows[row];
  cpu::store(sums, sum);
}

// 2 * width hidden channels of the block: dh, then what the front's outputs get of it.
template <class M, bool gated>
void front_gradient_panel(const BackwardJob &job, const BlockScratch &s, int64_t hidden_panel, int64_t begin, int64_t in_chunk,
                          int64_t count, float *sums) {
  using Product = typename M::Product;
  const BackwardSpace &space = job.space;
  const int64_t units = job.p.C / Product::per_unit;
  alignas(64) float gradients[cpu_rows * panel_lanes];  // dh
  for_each_tile<Product>(round_up(count, micro_rows), units, s.du, space.z, job.forward.w.hidden + hidden_panel * units * panel_lanes,
                         [&](int64_t r, const cpu::MicroTile &tile) {
#pragma GCC unroll 8
                           for (int row = 0; row < micro_rows; ++row)
                             for (int half = 0; half < 2; ++half)
                               cpu::store(gradients + (r + row) * panel_lanes + half * width, tile[row][half]);
                         });
  for (int part = 0; part < (gated ? 2 : 1); ++part) {
    const int64_t panel = gated ? 2 * hidden_panel + part : hidden_panel, lane = panel * panel_lanes;
    for_each_front_tile<M>(job, panel, begin, count, s.z, [&](int64_t r, const cpu::MicroTile &front) {
      const float *dh = gradients + r * panel_lanes;
      Vector h[2][micro_rows], d[2][micro_rows];
#pragma GCC unroll 8
      for (int row = 0; row < micro_rows; ++row, dh += panel_lanes) {
        const Vector first = front[row][0], second = front[row][1];
        if constexpr (gated) {
          const Vector sigmoid = M::Sigmoid::of(first), silu = first * sigmoid, gradient = cpu::load(dh + part * width);
          h[0][row] = silu * second;
          d[0][row] = gradient * second * cpu::multiply_add(silu, cpu::splat(1.f) - sigmoid, sigmoid);
          d[1][row] = gradient * silu;
        } else {  // NaN goes through, as in forward
          h[0][row] = relu(first), h[1][row] = relu(second);
          d[0][row] = first <= cpu::zero() ? cpu::zero() : cpu::load(dh);
          d[1][row] = second <= cpu::zero() ? cpu::zero() : cpu::load(dh + width);
        }
      }
      const int64_t chunk_row = (in_chunk + r) / Product::per_unit;
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        add_rows(d[half], sums + lane + half * width);
        if (space.needs_front) store_across<Product>(d[half], job.chunk.d + chunk_row * space.chunk_d + lane + half * width, space.chunk_d);
#pragma GCC unroll 8
        for (int row = 0; row < micro_rows; ++row)
          cpu::store_units<Product>(s.d + (r + row) * space.d + lane / Product::per_unit, half * width, d[half][row]);
      }
      if (!space.needs_down) return;
      float *hidden = job.chunk.h + chunk_row * space.chunk_h + hidden_panel * panel_lanes + (gated ? part * width : 0);
      store_across<Product>(h[0], hidden, space.chunk_h);
      if constexpr (!gated) store_across<Product>(h[1], hidden + width, space.chunk_h);
    });
  }
}

// x's gradient of one row from z's, and the row's part in the norm's.
template <class Io>
void norm_gradient_row(const BackwardJob &job, int64_t m, const float *dz, cpu::RowStatistics known, float *sums) {
  const Problem &p = job.p;
  const cpu::RowNorm norm = job.forward.norm();
  const char *x = row_of<Io>(p.x, m);
  const auto lanes_at = [&](int64_t c) { return static_cast<int>(p.C - c < width ? p.C - c : width); };
  const Vector mean = cpu::splat(known.mean), scale = cpu::splat(known.scale);
  Vector sum = cpu::zero(), product = cpu::zero();
  float *weight_sums = sums + job.space.sums_norm, *bias_sums = weight_sums + job.layout.channels;
  for (int64_t c = 0; c < p.C; c += width) {
    const Vector normed = (Io::load(x + c * Io::bytes, lanes_at(c)) - mean) * scale, gradient = cpu::load(dz + c);
    const Vector weighted = gradient * cpu::load(norm.weight + c);
    cpu::store(weight_sums + c, cpu::multiply_add(gradient, normed, cpu::load(weight_sums + c)));
    cpu::store(bias_sums + c, cpu::load(bias_sums + c) + gradient);
    sum += weighted, product = cpu::multiply_add(weighted, normed, product);
  }
  if (!job.g.x.present) return;
  const float share = 1 / static_cast<float>(p.C);
  const Vector shift = cpu::splat(cpu::sum(sum) * share), slope = cpu::splat(cpu::sum(product) * share);
  for (int64_t c = 0; c < p.C; c += width) {
    const Vector normed = (Io::load(x + c * Io::bytes, lanes_at(c)) - mean) * scale;
    const Vector weighted = cpu::load(dz + c) * cpu::load(norm.weight + c);
    Io::store(row_of<Io>(job.g.x, m) + c * Io::bytes, (weighted - shift - normed * slope) * scale, lanes_at(c));
  }
}

template <class M>
void x_gradient_block(const BackwardJob &job, const BlockScratch &s, int64_t begin, int64_t count, float *sums) {
  using Product = typename M::Product;
  using Io = typename M::Io;
  const Problem &p = job.p;
  const int64_t units = job.layout.outputs / Product::per_unit;
  for (int64_t c = 0; c < p.C; c += panel_lanes)
    for_each_tile<Product>(round_up(count, micro_rows), units, s.d, job.space.d, job.forward.w.back + c * units,
                           [&](int64_t r, const cpu::MicroTile &tile) {
#pragma GCC unroll 8
                             for (int row = 0; row < micro_rows; ++row)
                               for (int half = 0; half < 2; ++half)
                                 cpu::store(s.dz + (r + row) * job.space.dz + c + half * width, tile[row][half]);
                           });
  for (int64_t r = 0; r < count; ++r) {
    const float *dz = s.dz + r * job.space.dz;
    if (p.norm.weight.present) {
      norm_gradient_row<Io>(job, begin + r, dz, s.statistics[r], sums);
      continue;
    }
    for (int64_t c = 0; c < p.C; c += width)
      Io::store(row_of<Io>(job.g.x, begin + r) + c * Io::bytes, cpu::load(dz + c), static_cast<int>(p.C - c < width ? p.C - c : width));
  }
}

// Rows [begin, begin + count), which stand at in_chunk in the chunk; `sums` are this block's own.
template <class M, bool gated>
void backward_block(const BackwardJob &job, int64_t begin, int64_t in_chunk, int64_t count, float *sums, float *scratch) {
  using Product = typename M::Product;
  const BackwardSpace &space = job.space;
  const BlockScratch s(space, scratch);
  const int64_t rows = round_up(count, micro_rows), chunk_row = in_chunk / Product::per_unit;
  for (int64_t at = 0; at < space.sums; ++at) sums[at] = 0;
  normalise_block<M>(job.forward, begin, count, s.z, s.statistics);
  out_gradient_block<M>(job, begin, count, rows, s.du, sums + space.sums_down);
  if (space.needs_front) copy_across<Product>(s.z, space.z, rows, job.p.C, job.chunk.z + chunk_row * space.chunk_z, space.chunk_z);
  if (space.needs_down) copy_across<Product>(s.du, space.z, rows, job.p.C, job.chunk.du + chunk_row * space.chunk_z, space.chunk_z);
  if (!space.needs_hidden) return;
  for (int64_t panel = 0; panel < job.layout.hidden / panel_lanes; ++panel)
    front_gradient_panel<M, gated>(job, s, panel, begin, in_chunk, count, sums);
  if (space.needs_dz) x_gradient_block<M>(job, s, begin, count, sums);
}

}  // namespace lamina::transition
