// What the passes of backward share on CPUs: geometry, weights packed for the way back, sums of the parameters' gradients, scratch.
// All sums are floats.  So is everything else, but for bfloat16 where the processor has vdpbf16ps: there the operands of products are rounded
// to bfloat16, two to a unit (Product::per_unit); a, b and the gradient of o, too, but for the smallest problems (Storage::Product).
//
// For one batch entry, U being a pair tensor of floats:
//   1  front             a and b as in forward                                                        2 U, or saved by forward_train
//   2  back_gradient     per tile: o, out_gradient -> gradient of o; of z by way of the output gate   2 U (two layouts) and 1 U
//   3  contract_gradient per channel: the gradients of a and b, in the place of those of o
//   4  front_gradient    per strip: gradients of the linears, of z, of the pair
// The gradients of parameters are sums over all positions.  Each of `slices` runs of positions has sums of its own, added up at the end in
// order; how many there are depends on the shape alone, so results do not depend on the number of threads.
#pragma once
#include "cpu_back.h"
#include "cpu_front.h"
#include "training.h"

namespace lamina::triangle_multiplication {

// The tile of o in pass 2: whole row blocks, and as many whatever the number of threads.
constexpr Tile backward_tile(int64_t hidden) { return {hidden <= 256 ? 32 : 16, 32}; }

struct TrainingGeometry : Geometry {
  int64_t row_stride;  // floats between rows of C channels, whole micro tiles

  explicit TrainingGeometry(const Problem &p) : Geometry(p, backward_tile(p.H), FloatStorage::pair_bytes, 1) {
    row_stride = z_stride = round_up(p.C, strip_pair), lanes_offset = columns * 2 * width;
  }
  // Micro tiles run over the end of the last channel's columns; they read what they drop.
  uint64_t padded_operand_bytes() const { return operand_bytes() + 64 * width; }
  int64_t used_blocks(const Problem &p) const { return (p.N + width - 1) / width; }
};

// Float rows and float products, whatever the other products take.
template <class Io>
using RowsMode = Mode<Io, FloatStorage, cpu::FloatProduct, cpu::AccurateSigmoid>;

// Which gradients somebody wants, and so what must be computed.
struct Wanted {
  bool front, out_projection, out_gate, z, o;

  explicit Wanted(const Gradients &g) {
    const auto either = [](const auto &of) { return of.weight.present || of.bias.present; };
    front = either(g.a_projection) || either(g.a_gate) || either(g.b_projection) || either(g.b_gate);
    out_projection = either(g.out_projection), out_gate = either(g.out_gate);
    z = g.pair.present || either(g.norm_in);
    o = front || z;
  }
};

// Rows of the front's weights in the order of PackedWeights::front: micro_rows / 2 projections, then their gates, and so on.
struct FrontRow {
  bool gate;
  int64_t channel;  // 0..H-1 of a, H..2H-1 of b
  explicit FrontRow(int64_t row) {
    constexpr int64_t half = micro_rows / 2;
    gate = row % micro_rows >= half;
    channel = row / micro_rows * half + row % half;
  }
};

// Weights by their inputs, which are the outputs on the way back.  Panels of units as in cpu_packed.h; a unit holds neighbouring inputs of the
// product on the way back.
//   out     [H / micro_rows] groups of [units of C][micro_rows]
//   gate    [row_stride / (2 width)] panels of [units of the gate width][2 width]
//   front   [C / micro_rows] groups of [units of 4H][micro_rows], rows as FrontRow says
struct BackwardWeights {
  int64_t per_unit, out, gate, front, total;  // offsets in floats
  const float *base = nullptr;

  BackwardWeights(const Problem &p, int64_t row_stride, int64_t units_hold) : per_unit(units_hold) {
    out = 0, gate = out + p.H * p.C / per_unit, front = gate + p.gate_width() * row_stride / per_unit;
    total = front + 4 * p.H * p.C / per_unit;
  }

  void pack(const Problem &p, int64_t row_stride, float *to) {
    base = to;
    const auto at = [](const View &weight, int64_t output, int64_t input) {
      return static_cast<float>(load_scalar(weight.data, weight.dtype, output * weight.stride[0] + input * weight.stride[1]));
    };
    // Input `input` of a panel of [units][lanes] that begins at float `panel`.
    const auto put = [&](int64_t panel, int64_t input, int64_t lanes, int64_t lane, float value) {
      float *unit = to + panel + input / per_unit * lanes + lane;
      if (per_unit == 1) *unit = value;
      else reinterpret_cast<uint16_t *>(unit)[input & 1] = float_to_bfloat16(value);
    };
    const int64_t G = p.gate_width();
    for (int64_t h = 0; h < p.H; ++h)
      for (int64_t c = 0; c < p.C; ++c)
        put(out + h / micro_rows * p.C / per_unit * micro_rows, c, micro_rows, h % micro_rows, at(p.out_projection.weight, c, h));
    for (int64_t g = 0; g < G; ++g)
      for (int64_t c = 0; c < row_stride; ++c)
        put(gate + c / strip_pair * G / per_unit * strip_pair, g, strip_pair, c % strip_pair, c < p.C ? at(p.out_gate.weight, g, c) : 0);
    for (int64_t row = 0; row < 4 * p.H; ++row) {
      const FrontRow of(row);
      const bool of_a = of.channel < p.H;
      const Linear &linear = of.gate ? (of_a ? p.a_gate : p.b_gate) : of_a ? p.a_projection : p.b_projection;
      for (int64_t c = 0; c < p.C; ++c)
        put(front + c / micro_rows * 4 * p.H / per_unit * micro_rows, row, micro_rows, c % micro_rows,
            at(linear.weight, of.channel % p.H, c));
    }
  }
};

// Where the sums of one slice lie, in floats.  Matrices have rows of row_stride; "lanes" are one vector for each row, still to be added up.
struct Sums {
  int64_t front, out, gate;                // [4H] rows; [H], the projection's gradient transposed; [gate width]
  int64_t out_bias, gate_bias;             // row_stride; row_stride after the projection, lanes of H before it
  int64_t norm_in_weight, norm_in_bias;    // row_stride
  int64_t front_bias;                      // lanes of 4H
  int64_t norm_out_weight, norm_out_bias;  // lanes of H
  int64_t total;

  Sums(const Problem &p, int64_t row_stride) {
    int64_t at = 0;
    const auto take = [&at](int64_t floats) {
      const int64_t here = at;
      at += round_up(floats, 16);
      return here;
    };
    front = take(4 * p.H * row_stride), out = take(p.H * row_stride), gate = take(p.gate_width() * row_stride);
    out_bias = take(row_stride), gate_bias = take(p.settings.gate_before_projection ? p.H * width : row_stride);
    norm_in_weight = take(row_stride), norm_in_bias = take(row_stride);
    front_bias = take(4 * p.H * width);
    norm_out_weight = take(p.H * width), norm_out_bias = take(p.H * width);
    total = at;
  }
};

// As many slices as tiles, at most 64, and no more memory than half a pair tensor or 16 MiB.
inline int64_t slice_count(const Problem &p, const TrainingGeometry &g, const Sums &sums) {
  const int64_t tiles = ((p.N + g.tile.rows - 1) / g.tile.rows) * ((p.N + g.tile.columns - 1) / g.tile.columns);
  const int64_t half_pair = p.N * p.N * p.C * 2, least = int64_t{16} << 20;
  const int64_t affordable = (half_pair > least ? half_pair : least) / (sums.total * 4);
  int64_t count = 1;
  while (count < 64 && 2 * count <= tiles && 2 * count <= affordable) count *= 2;
  return count;
}

// Floats of one worker; the passes use the same memory.
struct BackwardScratch {
  Scratch forward;  // z, panel, o, normed, gate
  int64_t rows, projected, gated, hidden, linears, normed, units, total;

  BackwardScratch(const Problem &p, const TrainingGeometry &g) : forward(p, g, 1, false) {
    rows = projected = strip_pair * g.row_stride;                        // z; gradient of the projection's result
    gated = strip_pair * round_up(p.gate_width(), strip_pair);           // gradient of the output gate's argument
    hidden = strip_pair * p.H;                                           // of norm_out's result, strips
    linears = strip_pair * 4 * p.H, normed = strip_pair * g.row_stride;  // pass 4: of the four linears, of z
    units = linears > gated ? linears : gated;                           // operands of one product as pairs
    if (projected > units) units = projected;
    const int64_t pass2 = forward.back_total + rows + projected + gated + hidden + 3 * units;
    const int64_t pass3 = round_up(g.columns, micro_rows) * strip_pair;
    const int64_t pass4 = forward.front_total + rows + linears + 2 * normed + 2 * units;
    total = pass2 > pass4 ? pass2 : pass4;
    if (pass3 > total) total = pass3;
  }
  int64_t bytes() const { return round_up(total * 4, 4096) + 64; }
};

struct BackwardJob {
  const Job &forward;
  const Gradients &g;
  const TrainingGeometry &geometry;
  const BackwardScratch &scratch;
  const Sums &sums;
  const BackwardWeights &w;
  Wanted wanted;
  char *gradients;  // laid out as forward.operands: of o by rows i and by rows j, then of a and b
  float *z_rows;    // [N, N] rows: gradient of z by way of the output gate

  float *gradient_at(int64_t block, int64_t channel) const {
    return reinterpret_cast<float *>(gradients + block * geometry.block_bytes + channel * geometry.channel_bytes);
  }
  // a or b as [column][width rows], in units of neighbouring rows.
  template <class Product>
  const float *operand_lanes(int64_t block, int64_t channel) const {
    const int64_t at = block * geometry.block_bytes + channel * geometry.channel_bytes;
    return reinterpret_cast<const float *>(forward.operands + at + (Product::per_unit == 2 ? geometry.lanes_offset : 0));
  }
};

// Operands of a product as units: what is there already where a unit is a float, else pairs in `room`.
//   neighbours       [count] floats in a row -> units of two neighbours: strips, whose neighbours are positions
//   unit_rows        the same for rows `stride` apart, which stay as far apart
//   pairs_of_rows    rows `stride` apart, columns floats each -> units of row 2n and row 2n + 1, half as many rows, as far apart
template <class Product>
inline const float *neighbours(const float *from, [[maybe_unused]] int64_t count, [[maybe_unused]] float *room) {
#ifdef LAMINA_PAIR_DOT
  if constexpr (Product::per_unit == 2) {
    for (int64_t at = 0; at < count; at += width) cpu::store_pairs(room + at / 2, cpu::load(from + at));
    return room;
  }
#endif
  return from;
}
template <class Product>
inline const float *unit_rows(const float *from, int64_t rows, int64_t stride, float *room) {
  if constexpr (Product::per_unit == 1) return from;
  for (int64_t row = 0; row < rows; ++row) neighbours<Product>(from + row * stride, stride, room + row * stride);
  return room;
}
template <class Product>
inline const float *pairs_of_rows(const float *from, [[maybe_unused]] int64_t rows, [[maybe_unused]] int64_t stride,
                                  [[maybe_unused]] float *room) {
#ifdef LAMINA_PAIR_DOT
  if constexpr (Product::per_unit == 2) {
    for (int64_t row = 0; row < rows; row += 2)
      for (int64_t c = 0; c < stride; c += width)
        cpu::store(room + row / 2 * stride + c, cpu::pairs(cpu::load(from + row * stride + c), cpu::load(from + (row + 1) * stride + c)));
    return room;
  }
#endif
  return from;
}

// sums[row][c] += sum over `units` of positions of left(row, unit) * right[unit][c], for `rows` rows and all columns.
// left(row, unit) lies at left[row * left_row + unit * left_unit].
template <class Product>
inline void add_outer_products(int64_t rows, int64_t units, const float *left, int64_t left_row, int64_t left_unit, const float *right,
                               int64_t row_stride, float *sums) {
  for (int64_t row = 0; row < rows; row += micro_rows)
    for (int64_t c = 0; c < row_stride; c += strip_pair) {
      float *at = sums + row * row_stride + c;
      cpu::MicroTile sum;
      cpu::load_tile(at, row_stride, sum);
      cpu::add_products<Product>(units, left + row * left_row, left_row, left_unit, right + c, width, row_stride, sum);
      cpu::store_tile(at, row_stride, sum);
    }
}

}  // namespace lamina::triangle_multiplication
