// Contraction and back: for a tile of rows i and columns j, o of all channels in L2, then at once its norm, projection and gate.
// o never exists as a whole.
#pragma once
#include "cpu_job.h"

namespace lamina::triangle_multiplication {

struct BackScratch {
  float *z, *panel, *o, *normed, *gate, *projected, *widened;

  BackScratch(float *at, const Scratch &s) {
    z = at, panel = z + s.z, o = panel + s.panel, normed = o + s.o, gate = normed + round_up(s.normed, 16), projected = gate + s.gate;
    widened = projected + s.projected;
  }
};

// o[i][strip][channel][lane] = sum over k of a[i][k] b[j][k], for the tile at (i0, j0).
template <class M>
void contract(const Job &job, int64_t i0, int64_t j0, const BackScratch &s) {
  const Geometry &g = job.g;
  const int64_t H = job.p.H, rows = round_up(job.p.N - i0 < g.tile.rows ? job.p.N - i0 : g.tile.rows, micro_rows);
  const int64_t columns = round_up(job.p.N - j0 < g.tile.columns ? job.p.N - j0 : g.tile.columns, strip_pair);
  const int64_t inside = i0 % width;  // a tile may be less than a row block
  const int64_t row_blocks = round_up(inside + rows, width) / width, column_blocks = columns / width, strips = g.tile.columns / width;
  const int64_t units = g.columns / M::Storage::Product::per_unit;
  const auto panel_of = [&](int64_t position, int64_t channel) {
    return job.operands + position / width * g.block_bytes + channel * g.channel_bytes;
  };
  const int64_t panel_lines = (g.columns / 2 * M::Storage::pair_bytes + 63) / 64, panels = row_blocks + column_blocks;
  const int64_t calls = rows / micro_rows * (columns / strip_pair), lines = (panels * panel_lines + calls - 1) / calls;

  for (int64_t h = 0; h < H; ++h) {
    const float *a = reinterpret_cast<const float *>(panel_of(i0, h)), *b = reinterpret_cast<const float *>(panel_of(j0, H + h));
    int64_t a_block = g.block_bytes / 4, b_block = g.block_bytes / 4;
    if constexpr (M::Storage::widens) {
      a_block = b_block = g.columns * width;
      for (int64_t n = 0; n < row_blocks; ++n) M::Storage::widen(panel_of(i0 + n * width, h), g.columns, s.widened + n * a_block);
      for (int64_t n = 0; n < column_blocks; ++n)
        M::Storage::widen(panel_of(j0 + n * width, H + h), g.columns, s.widened + (row_blocks + n) * b_block);
      a = s.widened, b = s.widened + row_blocks * a_block;
    }
    const int64_t next = h + 1 < H ? h + 1 : h;
    int64_t ahead = 0;  // in lines, over this tile's panels of the next channel
    for (int64_t j = 0; j < columns; j += strip_pair)
      for (int64_t i = 0; i < rows; i += micro_rows, ahead += lines) {
        const int64_t panel = ahead / panel_lines < panels ? ahead / panel_lines : panels - 1;
        const char *from = panel < row_blocks ? panel_of(i0 + panel * width, next) : panel_of(j0 + (panel - row_blocks) * width, H + next);
        cpu::MicroTile sum;
        cpu::multiply_tile_ahead<typename M::Storage::Product>(units, a + (inside + i) / width * a_block + (inside + i) % width, 1, width,
                                                               b + j / width * b_block, b_block, width,
                                                               {from + ahead % panel_lines * 64, lines}, sum);
        float *to = s.o + (i * strips + j / width) * g.o_stride + h * width;
#pragma GCC unroll 8
        for (int row = 0; row < micro_rows; ++row, to += strips * g.o_stride) {
          cpu::store(to, sum[row][0]);
          cpu::store(to + g.o_stride, sum[row][1]);
        }
      }
  }
}

// Rows z of the positions (i, j0 ...); from the statistics that the front kept.  Positions beyond N keep what was there: nobody reads them.
template <class M>
void gate_rows(const Job &job, int64_t i, int64_t j0, float *z) {
  const cpu::RowNorm norm = job.norm_in();
  for (int64_t lane = 0; lane < strip_pair && j0 + lane < job.p.N; ++lane)
    cpu::normalise_row_again<typename M::Io, typename M::Product>(row_of<typename M::Io>(job.p.pair, job.batch, i, j0 + lane), job.p.C,
                                                                  norm, job.statistics[i * job.p.N + j0 + lane], z + lane * job.g.z_stride);
}

// gate[h][lane] = sigmoid(z G' + g) for the form that gates before the projection: lanes are positions, as in the front.
template <class M>
void gate_strips(const Job &job, const BackScratch &s) {
  const int64_t units = job.p.C / M::Product::per_unit;
  cpu::transpose_rows(s.z, job.g.z_stride, units, s.panel);
  for (int64_t h = 0; h < job.p.H; h += micro_rows) {
    cpu::MicroTile sum;
    cpu::multiply_tile<typename M::Product>(units, job.w.out_gate + h * units, 1, micro_rows, s.panel, width, strip_pair, sum);
#pragma GCC unroll 8
    for (int64_t row = 0; row < micro_rows; ++row)
      for (int64_t half = 0; half < 2; ++half)
        cpu::store(s.gate + (h + row) * strip_pair + half * width,
                   M::Sigmoid::of(sum[row][half] + cpu::splat(job.w.out_gate_bias[h + row])));
  }
}

// normed[strip][unit][lane] = norm_out(o), gated if the gate comes first.
template <class M>
void normalise_strips(const Job &job, const float *strips, const BackScratch &s) {
  const int64_t H = job.p.H, units = H / M::Product::per_unit;
  const bool gated = job.p.settings.gate_before_projection;
  for (int64_t half = 0; half < 2; ++half) {
    const float *strip = strips + half * job.g.o_stride;
    float *to = s.normed + half * units * width;
    Vector mean, scale;
    cpu::strip_statistics(strip, H, static_cast<float>(job.p.settings.eps), mean, scale);
    const auto value = [&](int64_t h) {
      const Vector v = cpu::multiply_add((cpu::load(strip + h * width) - mean) * scale, cpu::splat(job.w.norm_out_weight[h]),
                                         cpu::splat(job.w.norm_out_bias[h]));
      return gated ? v * cpu::load(s.gate + h * strip_pair + half * width) : v;
    };
    for (int64_t unit = 0; unit < units; ++unit) {
#ifdef LAMINA_PAIR_DOT
      if constexpr (M::Product::per_unit == 2) {
        cpu::store(to + unit * width, cpu::pairs(value(2 * unit), value(2 * unit + 1)));
        continue;
      }
#endif
      cpu::store(to + unit * width, value(unit));
    }
  }
}

// `count` dropout factors at (i, j, c ...), by any strides.
template <class M>
Vector dropout_factors(const Job &job, int64_t i, int64_t j, int64_t c, int count) {
  const View &mask = job.p.dropout_mask;
  const int64_t at = job.batch * mask.stride[0] + i * mask.stride[1] + j * mask.stride[2] + c * mask.stride[3];
  if (mask.stride[3] == 1 && mask.dtype == job.p.dtype) return M::Io::load(static_cast<const char *>(mask.data) + at * M::Io::bytes, count);
  alignas(64) float factors[width] = {};
  for (int n = 0; n < count; ++n) factors[n] = static_cast<float>(load_scalar(mask.data, mask.dtype, at + n * mask.stride[3]));
  return cpu::load(factors);
}

// out[i][j][c ...] = residual + dropout_mask * u.  Reads a vector of the residual just before it writes there: it may be out itself.
template <class M>
inline void write_out(const Job &job, int64_t i, int64_t j, int64_t c, Vector u) {
  const Problem &p = job.p;
  const int count = static_cast<int>(p.C - c < width ? p.C - c : width);
  if (p.dropout_mask.present) u = u * dropout_factors<M>(job, i, j, c, count);
  if (p.residual.present) u = u + M::Io::load(row_of<typename M::Io>(p.residual, job.batch, i, j) + c * M::Io::bytes, count);
  M::Io::store(row_of<typename M::Io>(p.out, job.batch, i, j) + c * M::Io::bytes, u, count);
}

// Two vectors of u to channels c ... of position (i, j).
template <class M>
inline void write_two(const Job &job, int64_t i, int64_t j, int64_t c, Vector first, Vector second) {
  const Problem &p = job.p;
  if (c + strip_pair <= p.C && !p.dropout_mask.present && !p.residual.present) {
    char *to = row_of<typename M::Io>(p.out, job.batch, i, j) + c * M::Io::bytes;
    return cpu::store_two(typename M::Io{}, to, first, second);
  }
  write_out<M>(job, i, j, c, first);
  if (c + width < p.C) write_out<M>(job, i, j, c + width, second);
}

struct Position {
  int64_t i, j;
};

// All channels of 2 * width positions (i, j0 ...), whose strips of o are at `strips`.  Those at `next` are prefetched; their strips follow.
template <class M>
void back(const Job &job, int64_t i, int64_t j0, const float *strips, Position next, const BackScratch &s) {
  using Product = typename M::Product;
  const Problem &p = job.p;
  const int64_t o_units = p.H / Product::per_unit, z_units = p.C / Product::per_unit;
  const bool gate_after = !p.settings.gate_before_projection;
  gate_rows<M>(job, i, j0, s.z);
  if (!gate_after) gate_strips<M>(job, s);
  normalise_strips<M>(job, strips, s);
  const int64_t row_lines = (p.C * M::Io::bytes + 63) / 64, steps = round_up(p.C, strip_pair) / strip_pair * (strip_pair / micro_rows);
  const int64_t row_step = (strip_pair * row_lines + steps - 1) / steps, strip_lines = 2 * job.g.o_stride / 16;
  RowPrefetch rows(strip_pair, row_lines, [&](int64_t lane) {
    return row_of<typename M::Io>(p.pair, job.batch, next.i < p.N ? next.i : i, next.j + lane < p.N ? next.j + lane : j0);
  });
  RowPrefetch strip(1, strip_lines, [&](int64_t) { return reinterpret_cast<const char *>(strips + 2 * job.g.o_stride); });
  // The sums of the positions and channels before; a row of them is finished at each step of a projection.
  alignas(64) float values[micro_rows * strip_pair], gates[micro_rows * strip_pair];
  int64_t lane_before = 0, c_before = -1;
  const auto finish = [&](int64_t row) __attribute__((always_inline)) {
    if (j0 + lane_before + row >= p.N) return;
    const float *bias = job.w.out_bias + c_before, *gate_bias = job.w.out_gate_bias + c_before;
    const float *value = values + row * strip_pair, *gate = gates + row * strip_pair;
    Vector u[2] = {cpu::load(value) + cpu::load(bias), cpu::load(value + width) + cpu::load(bias + width)};
    if (gate_after) {
      u[0] = u[0] * M::Sigmoid::of(cpu::load(gate) + cpu::load(gate_bias));
      u[1] = u[1] * M::Sigmoid::of(cpu::load(gate + width) + cpu::load(gate_bias + width));
    }
    write_two<M>(job, i, j0 + lane_before + row, c_before, u[0], u[1]);
  };
  for (int64_t c = 0; c < p.C; c += strip_pair) {
    const float *projection = job.w.out + c * o_units, *gate = job.w.out_gate + c * z_units;
    for (int64_t lane = 0; lane < strip_pair && j0 + lane < p.N; lane += micro_rows) {
      rows.step(row_step), strip.step((strip_lines + steps - 1) / steps);
      cpu::MicroTile sum;
      cpu::multiply_tile_beside<Product, micro_rows>(o_units, s.normed + lane / width * o_units * width + lane % width, 1, width,
                                                     projection, width, strip_pair, sum, [&](int64_t row) __attribute__((always_inline)) {
                                                       if (c_before >= 0) finish(row);
                                                     });
      cpu::store_tile(values, strip_pair, sum);
      if (gate_after) {
        cpu::multiply_tile<Product>(z_units, s.z + lane * job.g.z_stride, job.g.z_stride, 1, gate, width, strip_pair, sum);
        cpu::store_tile(gates, strip_pair, sum);
      }
      lane_before = lane, c_before = c;
    }
  }
  for (int64_t row = 0; row < micro_rows; ++row) finish(row);
}

// One tile of the output.
template <class M>
void contract_and_back(const Job &job, int64_t i0, int64_t j0, float *scratch) {
  const BackScratch s(scratch, job.scratch);
  const int64_t strips = job.g.tile.columns / width;
  contract<M>(job, i0, j0, s);
  for (int64_t i = 0; i < job.g.tile.rows && i0 + i < job.p.N; ++i)
    for (int64_t j = 0; j < job.g.tile.columns && j0 + j < job.p.N; j += strip_pair) {
      const Position next = j + strip_pair < job.g.tile.columns ? Position{i0 + i, j0 + j + strip_pair} : Position{i0 + i + 1, j0};
      back<M>(job, i0 + i, j0 + j, s.o + (i * strips + j / width) * job.g.o_stride, next, s);
    }
}

}  // namespace lamina::triangle_multiplication
