// The forward of one block of rows: norm, both front products, activation, down product, mask and residual.  The normalised and the
// hidden rows stay in this thread's L2.
#pragma once
#include "cpu_packed.h"
#include "tiles.h"

namespace lamina::transition {

template <class IoType, class ProductType, class SigmoidType>
struct Mode {
  using Io = IoType;
  using Product = ProductType;
  using Sigmoid = SigmoidType;
};

// Floats between rows of z and h, in units; 16 floats beyond the row keep rows out of each other's cache sets.
struct RowStrides {
  int64_t z, h;
  RowStrides(const Problem &p, const PackedLayout &layout)
      : z(round_up(p.C / layout.per_unit, width) + 16), h(round_up(layout.hidden / layout.per_unit, width) + 16) {}
};

struct Job {
  const Problem &p;
  const PackedLayout &layout;
  RowStrides stride;
  PackedWeights w;

  cpu::RowNorm norm() const { return {w.norm_weight, w.norm_bias, static_cast<float>(p.settings.eps)}; }
};

template <class Io>
inline char *row_of(const View &view, int64_t m) {
  return static_cast<char *>(view.data) + m * view.stride[0] * Io::bytes;
}

inline float mask_at(const View &mask, int64_t m) {
  return mask.present ? static_cast<float>(load_scalar(mask.data, mask.dtype, m * mask.stride[0])) : 1;
}

// Calls use(r, tile) for each micro tile of rows times a panel over all units.  The shared dimension is taken cpu_chain units at a time, for
// all rows.  `rows` is a multiple of micro_rows, at most cpu_rows.
template <class Product, class F>
inline __attribute__((always_inline)) void for_each_tile(int64_t rows, int64_t units, const float *operand, int64_t stride,
                                                         const float *panel, F use) {
  alignas(64) float partial[cpu_rows * panel_lanes];
  for (int64_t first = 0; first < units; first += cpu_chain) {
    const int64_t count = units - first < cpu_chain ? units - first : cpu_chain;
    for (int64_t r = 0; r < rows; r += micro_rows) {
      cpu::MicroTile tile;
      cpu::multiply_tile<Product>(count, operand + r * stride + first, stride, 1, panel + first * panel_lanes, width, panel_lanes, tile);
      float *sums = partial + r * panel_lanes;
      if (first)
#pragma GCC unroll 8
        for (int row = 0; row < micro_rows; ++row)
          for (int half = 0; half < 2; ++half) tile[row][half] += cpu::load(sums + row * panel_lanes + half * width);
      if (first + count == units) {
        use(r, tile);
        continue;
      }
#pragma GCC unroll 8
      for (int row = 0; row < micro_rows; ++row)
        for (int half = 0; half < 2; ++half) cpu::store(sums + row * panel_lanes + half * width, tile[row][half]);
    }
  }
}

// NaN stays NaN.
inline Vector relu(Vector v) { return v < cpu::zero() ? cpu::zero() : v; }

// z of rows [begin, begin + count) as operand units; rows up to a whole micro tile are zeros.  `statistics`: one a row, or null.
template <class M>
void normalise_block(const Job &job, int64_t begin, int64_t count, float *z, cpu::RowStatistics *statistics) {
  const cpu::RowNorm norm = job.norm();
  for (int64_t r = 0; r < count; ++r) {
    const char *row = row_of<typename M::Io>(job.p.x, begin + r);
    const cpu::RowStatistics found = cpu::normalise_row<typename M::Io, typename M::Product>(row, job.p.C, norm, z + r * job.stride.z);
    if (statistics) statistics[r] = found;
  }
  for (int64_t r = count; r < round_up(count, micro_rows); ++r)
    for (int64_t unit = 0; unit < job.stride.z; ++unit) z[r * job.stride.z + unit] = 0;
}

// Where the front's outputs of a micro tile of rows are saved, in x's dtype: [M / micro_rows][front panels][micro_rows][2 * width], so that a
// tile is one piece of memory.  Its rows beyond M are saved too.
template <class Io>
inline char *saved_tile(const Problem &p, const PackedLayout &layout, int64_t row, int64_t panel) {
  return static_cast<char *>(p.saved) + (row / micro_rows * layout.front_panels + panel) * (micro_rows * panel_lanes * Io::bytes);
}

template <class Io>
inline void save_tile(char *to, const cpu::MicroTile &sum, Vector bias0, Vector bias1) {
#pragma GCC unroll 8
  for (int row = 0; row < micro_rows; ++row, to += panel_lanes * Io::bytes)
    Io::store(to, sum[row][0] + bias0, width), Io::store(to + width * Io::bytes, sum[row][1] + bias1, width);
}

// h = act(z G' + g) * (z U' + u) of rows [begin, begin + count); the front's outputs are kept where forward_train wants them.
template <class M, bool gated>
void hidden_block(const Job &job, int64_t begin, int64_t count, const float *z, float *h) {
  using Product = typename M::Product;
  const int64_t rows = round_up(count, micro_rows);
  const int64_t units = job.p.C / Product::per_unit;
  for (int64_t panel = 0; panel < job.layout.front_panels; ++panel) {
    const float *weights = job.w.front + panel * units * panel_lanes, *bias = job.w.front_bias + panel * panel_lanes;
    const Vector bias0 = cpu::load(bias), bias1 = cpu::load(bias + width);
    float *to = h + panel * job.layout.per_panel / Product::per_unit;
    for_each_tile<Product>(rows, units, z, job.stride.z, weights, [&](int64_t r, const cpu::MicroTile &sum) {
      float *at = to + r * job.stride.h;
      if (job.p.saved) save_tile<typename M::Io>(saved_tile<typename M::Io>(job.p, job.layout, begin + r, panel), sum, bias0, bias1);
      // No branch among the sigmoids: their latencies overlap.
#pragma GCC unroll 8
      for (int row = 0; row < micro_rows; ++row) {
        const Vector first = sum[row][0] + bias0, second = sum[row][1] + bias1;
        if constexpr (gated) {
          cpu::store_units<Product>(at + row * job.stride.h, 0, first * M::Sigmoid::of(first) * second);
        } else {
          cpu::store_units<Product>(at + row * job.stride.h, 0, relu(first));
          cpu::store_units<Product>(at + row * job.stride.h, width, relu(second));
        }
      }
    });
  }
}

// out[m][c ...] = residual + mask * u.  Reads a vector of the residual just before it writes there: it may be out itself.
template <class Io>
inline void write_vector(const Problem &p, int64_t m, int64_t c, Vector u, float mask) {
  const int count = static_cast<int>(p.C - c < width ? p.C - c : width);
  if (p.row_mask.present) u = u * cpu::splat(mask);
  if (p.residual.present) u = u + Io::load(row_of<Io>(p.residual, m) + c * Io::bytes, count);
  Io::store(row_of<Io>(p.out, m) + c * Io::bytes, u, count);
}

template <class M>
void out_block(const Job &job, int64_t begin, int64_t count, const float *h) {
  using Product = typename M::Product;
  using Io = typename M::Io;
  const Problem &p = job.p;
  const int64_t units = job.layout.hidden / Product::per_unit;
  for (int64_t c = 0; c < p.C; c += panel_lanes) {
    const Vector bias0 = cpu::load(job.w.down_bias + c), bias1 = cpu::load(job.w.down_bias + c + width);
    for_each_tile<Product>(
        round_up(count, micro_rows), units, h, job.stride.h, job.w.down + c * units, [&](int64_t r, const cpu::MicroTile &sum) {
          const int64_t rows = count - r < micro_rows ? count - r : micro_rows;
          alignas(64) float tile[micro_rows * panel_lanes];
#pragma GCC unroll 8
          for (int row = 0; row < micro_rows; ++row)
            cpu::store(tile + row * panel_lanes, sum[row][0] + bias0), cpu::store(tile + row * panel_lanes + width, sum[row][1] + bias1);
          for (int64_t row = 0; row < rows; ++row) {
            const int64_t m = begin + r + row;
            const float mask = mask_at(p.row_mask, m);
            write_vector<Io>(p, m, c, cpu::load(tile + row * panel_lanes), mask);
            if (c + width < p.C) write_vector<Io>(p, m, c + width, cpu::load(tile + row * panel_lanes + width), mask);
          }
        });
  }
}

template <class M>
void forward_block(const Job &job, int64_t begin, int64_t count, int64_t block, float *scratch) {
  float *z = scratch, *h = scratch + block * job.stride.z;
  normalise_block<M>(job, begin, count, z, nullptr);
  if (job.p.gated()) hidden_block<M, true>(job, begin, count, z, h);
  else hidden_block<M, false>(job, begin, count, z, h);
  out_block<M>(job, begin, count, h);
}

}  // namespace lamina::transition
