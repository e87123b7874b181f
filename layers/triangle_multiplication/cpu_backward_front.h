// Passes 3 and 4 of backward: from the gradient of o to those of a and b, and from these to the four linears, z and the pair.
#pragma once
#include "cpu_backward_job.h"

namespace lamina::triangle_multiplication {

// Channel 0..H-1: gradient of a, [i][k] = sum over j of do_ij b[j][k]; channel H..2H-1: of b, [j][k] = sum over i of do_ij a[i][k].
// Vectors are rows of do, in units of two columns where products are of pairs; broadcast is the other operand.  The result, in floats,
// takes the place of do, two row blocks at a time.
template <class Product>
void contract_gradient(const BackwardJob &b, int64_t channel, float *room) {
  constexpr int64_t per_unit = Product::per_unit, in_block = width / per_unit;
  const TrainingGeometry &g = b.geometry;
  const int64_t N = b.g.p.N, H = b.g.p.H, other = channel < H ? channel + H : channel - H;
  for (int64_t block = 0; block < g.used_blocks(b.g.p); block += 2) {
    float *first = b.gradient_at(block, channel), *second = b.gradient_at(block + 1, channel);
    for (int64_t k = 0; k < N; k += micro_rows) {
      cpu::MicroTile sum;
      cpu::clear_tile(sum);
      for (int64_t j = 0; j < N; j += width)  // a unit may reach over N: zeros of do by zeros of a or b
        cpu::add_products<Product>(N - j < width ? (N - j + per_unit - 1) / per_unit : in_block,
                                   b.operand_lanes<Product>(j / width, other) + k * in_block, in_block, 1, first + j / per_unit * width,
                                   second - first, width, sum);
      cpu::store_tile(room + k * strip_pair, strip_pair, sum);
    }
    for (int64_t k = 0; k < g.columns; ++k) {
      const bool inside = k < N;
      cpu::store(first + k * width, inside ? cpu::load(room + k * strip_pair) : cpu::zero());
      cpu::store(second + k * width, inside ? cpu::load(room + k * strip_pair + width) : cpu::zero());
    }
  }
}

struct FrontGradientScratch {
  float *z, *panel, *z_rows, *linears, *strips, *rows, *units[2];  // z_rows in floats, z in units

  FrontGradientScratch(float *at, const BackwardScratch &s) {
    z = at, panel = z + s.forward.z, z_rows = panel + s.forward.panel, linears = z_rows + s.rows, strips = linears + s.linears;
    rows = strips + s.normed, units[0] = rows + s.normed, units[1] = units[0] + s.units;
  }
};

// linears[4H][2 * width positions]: the gradients of projections and gates before the sigmoid, in the order of the packed weights.
template <class M>
void linears_gradient(const BackwardJob &b, int64_t block, int64_t k, const float *mask, float *sums, const FrontGradientScratch &s) {
  const Problem &p = b.g.p;
  const PackedWeights &w = b.forward.w;
  const int64_t units = p.C / M::Product::per_unit;
  constexpr int64_t channels = micro_rows / 2;
  float *bias_sums = sums + b.sums.front_bias;
  // The sums of the group before; a channel of them is finished at each step of a group's product, as in front().
  alignas(64) float products[micro_rows * strip_pair];
  const auto finish = [&](int64_t group, int64_t c) __attribute__((always_inline)) {
    const int64_t channel = group * channels + c;
    float *to = s.linears + group * micro_rows * strip_pair, *bias_to = bias_sums + group * micro_rows * width;
    const Vector bias = cpu::splat(w.front_bias[channel]), gate_bias = cpu::splat(w.front_gate_bias[channel]);
    const float *gradient = b.gradient_at(block, channel) + k * width;
    // Every channel is another page: the next columns would come one miss at a time.
    _mm_prefetch(reinterpret_cast<const char *>(gradient + 2 * width), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char *>(gradient + 3 * width), _MM_HINT_T0);
    Vector value_sum = cpu::zero(), gate_sum = cpu::zero();
#pragma GCC unroll 2
    for (int64_t q = 0; q < 2; ++q) {
      const float *sum = products + c * strip_pair + q * width;
      const Vector d = cpu::load(gradient + q * width) * cpu::load(mask + q * width);
      const Vector open = M::Sigmoid::of(cpu::load(sum + channels * strip_pair) + gate_bias), value = d * open;
      const Vector gate = value * (cpu::load(sum) + bias) * (cpu::splat(1.f) - open);
      cpu::store(to + c * strip_pair + q * width, value), cpu::store(to + (channels + c) * strip_pair + q * width, gate);
      value_sum = value_sum + value, gate_sum = gate_sum + gate;
    }
    cpu::store(bias_to + c * width, cpu::load(bias_to + c * width) + value_sum);
    cpu::store(bias_to + (channels + c) * width, cpu::load(bias_to + (channels + c) * width) + gate_sum);
  };
  const int64_t groups = 2 * p.H / channels;
  for (int64_t group = 0; group < groups; ++group) {
    cpu::MicroTile sum;
    cpu::multiply_tile_beside<typename M::Product, channels>(units, w.front + group * units * micro_rows, 1, micro_rows, s.panel, width,
                                                             strip_pair, sum, [&](int64_t c) __attribute__((always_inline)) {
                                                               if (group) finish(group - 1, c);
                                                             });
    cpu::store_tile(products, strip_pair, sum);
  }
  for (int64_t c = 0; c < channels; ++c) finish(groups - 1, c);
}

// Pair position of lane `lane` of column k + q: rows of a and b are columns of the pair tensor when incoming.
inline Position front_position(const Problem &p, int64_t block, int64_t k, int64_t position) {
  const int64_t r = block * width + position % width, column = k + position / width;
  return p.settings.incoming ? Position{column, r} : Position{r, column};
}

// rows[position][c]: gradient of z by way of the four linears.  What came by way of the output gate is brought into L1 beside it.
template <class Product>
void z_gradient(const BackwardJob &b, int64_t block, int64_t k, const FrontGradientScratch &s) {
  const Problem &p = b.g.p;
  const int64_t units = 4 * p.H / Product::per_unit, stride = b.geometry.row_stride, lines = strip_pair * stride / 16;
  const float *linears = pairs_of_rows<Product>(s.linears, 4 * p.H, strip_pair, s.units[0]);
  RowPrefetch by_gate(strip_pair, stride / 16, [&](int64_t position) {
    const Position at = front_position(p, block, k, position);
    return reinterpret_cast<const char *>(b.z_rows + ((at.i < p.N ? at.i : 0) * p.N + (at.j < p.N ? at.j : 0)) * stride);
  });
  for (int64_t c = 0; c < p.C; c += micro_rows) {
    by_gate.step((lines * micro_rows + p.C - 1) / p.C);
    cpu::MicroTile sum;
    cpu::multiply_tile<Product>(units, b.w.base + b.w.front + c * units, 1, micro_rows, linears, width, strip_pair, sum);
    cpu::store_tile(s.strips + c * strip_pair, strip_pair, sum);
  }
  for (int64_t half = 0; half < 2; ++half)
    for (int64_t c = 0; c < p.C; c += width) {
      Vector square[width];
#pragma GCC unroll 16
      for (int row = 0; row < width; ++row) square[row] = cpu::load(s.strips + (c + row) * strip_pair + half * width);
      cpu::transpose(square);
#pragma GCC unroll 16
      for (int row = 0; row < width; ++row) cpu::store(s.rows + (half * width + row) * b.geometry.row_stride + c, square[row]);
    }
}

// The input norm's way back for pair position (i, j), whose gradient of z by way of the linears is `dz`.
template <class M>
void pair_gradient(const BackwardJob &b, int64_t i, int64_t j, float *dz, float *sums) {
  using Io = typename M::Io;
  const Problem &p = b.g.p;
  const int64_t C = p.C;
  const float *by_gate = b.z_rows + (i * p.N + j) * b.geometry.row_stride, *weight = b.forward.w.norm_in_weight;
  const char *from = row_of<Io>(p.pair, b.forward.batch, i, j);
  char *to = b.g.pair.present ? row_of<Io>(b.g.pair, b.forward.batch, i, j) : nullptr;
  const auto count = [C](int64_t c) { return static_cast<int>(C - c < width ? C - c : width); };
  if (!weight) {
    for (int64_t c = 0; to && c < C; c += width) Io::store(to + c * Io::bytes, cpu::load(dz + c) + cpu::load(by_gate + c), count(c));
    return;
  }
  const cpu::RowStatistics known = b.forward.statistics[i * p.N + j];
  const Vector mean = cpu::splat(known.mean), scale = cpu::splat(known.scale);
  float *weight_sums = sums + b.sums.norm_in_weight, *bias_sums = sums + b.sums.norm_in_bias;
  Vector slope = cpu::zero(), product = cpu::zero();
  for (int64_t c = 0; c < C; c += width) {
    Vector gradient = cpu::load(dz + c) + cpu::load(by_gate + c), normed = (Io::load(from + c * Io::bytes, count(c)) - mean) * scale;
    if (count(c) < width) gradient = cpu::keep_first(gradient, count(c)), normed = cpu::keep_first(normed, count(c));
    cpu::store(dz + c, gradient);
    const Vector weighted = gradient * cpu::load(weight + c);
    slope = slope + weighted, product = cpu::multiply_add(weighted, normed, product);
    cpu::store(weight_sums + c, cpu::multiply_add(gradient, normed, cpu::load(weight_sums + c)));
    cpu::store(bias_sums + c, gradient + cpu::load(bias_sums + c));
  }
  if (!to) return;
  const float share = 1 / static_cast<float>(C);
  const Vector slopes = cpu::splat(cpu::sum(slope) * share), products = cpu::splat(cpu::sum(product) * share);
  for (int64_t c = 0; c < C; c += width) {
    const Vector normed = (Io::load(from + c * Io::bytes, count(c)) - mean) * scale;
    Io::store(to + c * Io::bytes, (cpu::load(dz + c) * cpu::load(weight + c) - slopes - normed * products) * scale, count(c));
  }
}

// Columns [k_begin, k_end) of one row block of a and b; k_begin is even.
template <class M>
void front_gradient(const BackwardJob &b, int64_t block, int64_t k_begin, int64_t k_end, float *room, float *sums) {
  const Problem &p = b.g.p;
  const FrontGradientScratch s(room, b.scratch);
  using Product = typename M::Product;
  constexpr int64_t units = strip_pair / Product::per_unit;
  const int64_t stride = b.geometry.row_stride;
  alignas(64) float mask[strip_pair];
  for (int64_t k = k_begin; k < k_end; k += 2) {
    front_rows<RowsMode<typename M::Io>>(b.forward, block, k, s.z_rows, mask);
    cpu::transpose_rows(unit_rows<Product>(s.z_rows, strip_pair, stride, s.z), stride, p.C / Product::per_unit, s.panel);
    linears_gradient<M>(b, block, k, mask, sums, s);
    if (b.wanted.front)
      add_outer_products<Product>(4 * p.H, units, neighbours<Product>(s.linears, 4 * p.H * strip_pair, s.units[0]), units, 1,
                                  pairs_of_rows<Product>(s.z_rows, strip_pair, stride, s.units[1]), stride, sums + b.sums.front);
    if (!b.wanted.z) continue;
    z_gradient<Product>(b, block, k, s);
    for (int64_t position = 0; position < strip_pair; ++position)
      if (const Position at = front_position(p, block, k, position); at.i < p.N && at.j < p.N)
        pair_gradient<M>(b, at.i, at.j, s.rows + position * stride, sums);
  }
}

}  // namespace lamina::triangle_multiplication
