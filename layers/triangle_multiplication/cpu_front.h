// Front: a, b = (norm(pair) P + p) * sigmoid(norm(pair) G + g) * mask, for `width` rows x 2 columns at a time.
// Lanes are the row index of a and b, so that gate, sigmoid and mask are an epilogue in registers and what is stored is
// already the packed operand of the contraction: no transposing pass, no packing pass.
#pragma once
#include "cpu_job.h"

namespace lamina::triangle_multiplication {

// The positions (row r, column k) of a and b lie at (r, k) of the pair tensor, or at (k, r) when incoming.
template <class M>
inline const char *front_row(const Job &job, int64_t r, int64_t k) {
  return job.p.settings.incoming ? row_of<typename M::Io>(job.p.pair, job.batch, k, r)
                                 : row_of<typename M::Io>(job.p.pair, job.batch, r, k);
}

// Rows z of 2 * width positions, z_stride apart, and their mask.  Positions outside the tensor become exact zeros.
template <class M>
void front_rows(const Job &job, int64_t block, int64_t k, float *z, float *mask) {
  const Problem &p = job.p;
  const cpu::RowNorm norm = job.norm_in();
  for (int64_t q = 0; q < 2; ++q)
    for (int64_t lane = 0; lane < width; ++lane) {
      const int64_t r = block * width + lane, column = k + q;
      float *row = z + (q * width + lane) * job.g.z_stride;
      mask[q * width + lane] = 0;
      if (r >= p.N || column >= p.N) {
        for (int64_t unit = 0; unit < job.g.z_stride; ++unit) row[unit] = 0;
        continue;
      }
      const int64_t i = p.settings.incoming ? column : r, j = p.settings.incoming ? r : column;
      job.statistics[i * p.N + j] = cpu::normalise_row<typename M::Io, typename M::Product>(front_row<M>(job, r, column), p.C, norm, row);
      mask[q * width + lane] = mask_at(p, job.batch, i, j);
    }
}

// z of 2 * width positions as a panel [unit][2 * width], and their mask, which is 0 outside the tensor.  For a tensor whose memory holds the
// units of the product: its rows are transposed as they are and normed as lanes.
template <class M>
void front_panel_of_units(const Job &job, int64_t block, int64_t k, float *panel, float *mask) {
  const Problem &p = job.p;
  const int64_t units = p.C / M::Product::per_unit, row0 = block * width, rows = p.N - row0 < width ? p.N - row0 : width;
  const int64_t valid[2] = {rows, k + 1 < p.N ? rows : 0};
  for (int64_t q = 0; q < 2; ++q) {
    const char *from[width];
    for (int64_t lane = 0; lane < valid[q]; ++lane) from[lane] = front_row<M>(job, row0 + lane, k + q);
    for (int64_t unit = 0; unit < units; unit += width) {
      const int left = static_cast<int>(units - unit < width ? units - unit : width);
      Vector square[width];
      if (valid[q] == width)
#pragma GCC unroll 16
        for (int64_t lane = 0; lane < width; ++lane) square[lane] = cpu::Float32::load(from[lane] + unit * 4, left);
      else
        for (int64_t lane = 0; lane < width; ++lane)
          square[lane] = lane < valid[q] ? cpu::Float32::load(from[lane] + unit * 4, left) : cpu::zero();
      cpu::transpose(square);
#pragma GCC unroll 16
      for (int64_t row = 0; row < width; ++row) cpu::store(panel + (unit + row) * strip_pair + q * width, square[row]);
    }
  }
  Vector mean[2] = {cpu::zero(), cpu::zero()}, scale[2] = {cpu::splat(1.f), cpu::splat(1.f)};
  if (const cpu::RowNorm norm = job.norm_in(); norm.weight) cpu::normalise_panel<typename M::Product>(panel, p.C, norm, valid, mean, scale);
  for (int64_t q = 0; q < 2; ++q) {
    alignas(64) float means[width], scales[width];
    cpu::store(means, mean[q]), cpu::store(scales, scale[q]), cpu::store(mask + q * width, cpu::zero());
    for (int64_t lane = 0; lane < valid[q]; ++lane) {
      const int64_t r = row0 + lane, i = p.settings.incoming ? k + q : r, j = p.settings.incoming ? r : k + q;
      mask[q * width + lane] = mask_at(p, job.batch, i, j);
      job.statistics[i * p.N + j] = {means[lane], scales[lane]};
    }
  }
}

// Columns [k_begin, k_end) of one row block; k_begin is even.
template <class M>
void front(const Job &job, int64_t block, int64_t k_begin, int64_t k_end, float *scratch) {
  const Problem &p = job.p;
  constexpr int64_t channels = micro_rows / 2;
  const int64_t units = p.C / M::Product::per_unit, row_lines = (p.C * M::Io::bytes + 63) / 64;
  float *z = scratch, *panel = z + job.scratch.z;
  alignas(64) float mask[strip_pair];
  for (int64_t k = k_begin; k < k_end; k += 2) {
    if constexpr (M::Io::bytes * M::Product::per_unit == 4) {
      front_panel_of_units<M>(job, block, k, panel, mask);
    } else {
      front_rows<M>(job, block, k, z, mask);
      cpu::transpose_rows(z, job.g.z_stride, units, panel);
    }
    char *to = job.operands + block * job.g.block_bytes + k / 2 * M::Storage::pair_bytes;
    // The next columns' rows come into L1 beside the arithmetic, a few lines each group.
    const int64_t groups = 2 * p.H / channels, per_group = (strip_pair * row_lines + groups - 1) / groups;
    RowPrefetch next(k + 3 < p.N ? strip_pair : 0, row_lines, [&](int64_t position) {
      const int64_t r = block * width + position / 2;
      return front_row<M>(job, r < p.N ? r : p.N - 1, k + 2 + position % 2);
    });
    // sums are those of the group before; a channel of them is finished at each step of a group's product.
    alignas(64) float sums[micro_rows * strip_pair];
    const auto finish = [&](int64_t channel, int64_t c) __attribute__((always_inline)) {
      const float *value = sums + c * strip_pair, *gate = value + channels * strip_pair;
      const Vector bias = cpu::splat(job.w.front_bias[channel]), gate_bias = cpu::splat(job.w.front_gate_bias[channel]);
      const Vector even = (cpu::load(value) + bias) * cpu::load(mask) * M::Sigmoid::of(cpu::load(gate) + gate_bias);
      const Vector odd = (cpu::load(value + width) + bias) * cpu::load(mask + width) * M::Sigmoid::of(cpu::load(gate + width) + gate_bias);
      M::Storage::put(to + channel * job.g.channel_bytes, even, odd);
      if constexpr (requires { M::Storage::put_lanes; })
        M::Storage::put_lanes(to + channel * job.g.channel_bytes + job.g.lanes_offset, even, odd);
    };
    for (int64_t group = 0; group < groups; ++group) {
      next.step(per_group);
      cpu::MicroTile sum;
      cpu::multiply_tile_beside<typename M::Product, channels>(units, job.w.front + group * units * micro_rows, 1, micro_rows, panel, width,
                                                               strip_pair, sum, [&](int64_t c) __attribute__((always_inline)) {
                                                                 if (group) finish((group - 1) * channels + c, c);
                                                               });
      cpu::store_tile(sums, strip_pair, sum);
    }
    for (int64_t c = 0; c < channels; ++c) finish((groups - 1) * channels + c, c);
  }
  cpu::stream_fence();
}

}  // namespace lamina::triangle_multiplication
