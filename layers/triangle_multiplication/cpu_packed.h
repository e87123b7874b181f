// The packed weights of the CPU builds: panels in the order in which the micro tiles read them.
//
//   front        [2H / (micro_rows/2)] groups of [units of C][micro_rows]: half of the rows are projections, half their gates,
//                so that a channel's value and gate meet in one micro tile; channels 0..H-1 are a, H..2H-1 are b
//   out          [C / (2 width)] panels of [units of H][2 width]
//   out_gate     after the projection: as out, of units of C; before it: [H / micro_rows] groups of [units of C][micro_rows]
//   vectors      biases and norms as floats, padded with zeros; a missing bias is zeros
// A unit is one float or, for vdpbf16ps, two bfloat16.
#pragma once
#include "kernels/common/scalar.h"
#include "problem.h"

namespace lamina::triangle_multiplication {

struct PackedWeights {
  const float *front, *out, *out_gate;        // panels
  const float *front_bias, *front_gate_bias;  // [2H]
  const float *out_bias, *out_gate_bias;      // [C] and [gate width], padded to a panel
  const float *norm_in_weight, *norm_in_bias, *norm_out_weight, *norm_out_bias;
};

// Offsets in floats, each a multiple of 64 bytes.
struct PackedLayout {
  int64_t per_unit, front, out, out_gate, front_bias, front_gate_bias, out_bias, out_gate_bias, norm_in, norm_out, total;

  PackedLayout(const Problem &p, int64_t units_hold) : per_unit(units_hold) {
    using cpu::round_up, cpu::width;
    const int64_t C = p.C, H = p.H, panel = 2 * width, gate = p.gate_width();
    int64_t at = 0;
    const auto take = [&at](int64_t floats) {
      const int64_t here = at;
      at += round_up(floats, 16);
      return here;
    };
    front = take(2 * H * 2 * C / per_unit);
    out = take(round_up(C, panel) * H / per_unit);
    out_gate = take(round_up(gate, panel) * C / per_unit);
    front_bias = take(2 * H), front_gate_bias = take(2 * H);
    out_bias = take(round_up(C, panel)), out_gate_bias = take(round_up(gate, panel));
    norm_in = take(2 * round_up(C, width)), norm_out = take(2 * round_up(H, width));
    total = at;
  }

  PackedWeights at(const void *packed, const Problem &p) const {
    const float *base = static_cast<const float *>(packed);
    const bool norm = p.norm_in.weight.present;
    return {base + front,
            base + out,
            base + out_gate,
            base + front_bias,
            base + front_gate_bias,
            base + out_bias,
            base + out_gate_bias,
            norm ? base + norm_in : nullptr,
            base + norm_in + cpu::round_up(p.C, cpu::width),
            base + norm_out,
            base + norm_out + cpu::round_up(p.H, cpu::width)};
  }
};

class Packer {
 public:
  Packer(void *packed, const PackedLayout &layout) : base_(static_cast<float *>(packed)), layout_(layout) {
    for (int64_t i = 0; i < layout.total; ++i) base_[i] = 0;
  }

  void pack(const Problem &p) {
    using cpu::micro_rows, cpu::width;
    const int64_t half = micro_rows / 2;
    for (int64_t h = 0; h < 2 * p.H; ++h) {
      const Linear &value = h < p.H ? p.a_projection : p.b_projection, &gate = h < p.H ? p.a_gate : p.b_gate;
      const int64_t output = h % p.H, group = layout_.front + h / half * (p.C / layout_.per_unit) * micro_rows;
      put_row(value.weight, output, p.C, group, micro_rows, h % half);
      put_row(gate.weight, output, p.C, group, micro_rows, half + h % half);
      put_bias(value.bias, output, layout_.front_bias + h), put_bias(gate.bias, output, layout_.front_gate_bias + h);
    }
    put_panels(p.out_projection, p.C, p.H, layout_.out, layout_.out_bias, 2 * width);
    put_panels(p.out_gate, p.gate_width(), p.C, layout_.out_gate, layout_.out_gate_bias,
               p.settings.gate_before_projection ? micro_rows : 2 * width);
    if (p.norm_in.weight.present) put_norm(p.norm_in, p.C, layout_.norm_in);
    put_norm(p.norm_out, p.H, layout_.norm_out);
  }

 private:
  // Row `output` of a weight becomes lane `lane` of a panel of [units][lanes] at `panel`.
  void put_row(const View &weight, int64_t output, int64_t inputs, int64_t panel, int64_t lanes, int64_t lane) {
    for (int64_t c = 0; c < inputs; ++c) {
      const float value = static_cast<float>(load_scalar(weight.data, weight.dtype, output * weight.stride[0] + c * weight.stride[1]));
      if (layout_.per_unit == 1) base_[panel + c * lanes + lane] = value;
      else reinterpret_cast<uint16_t *>(base_ + panel + c / 2 * lanes + lane)[c & 1] = float_to_bfloat16(value);
    }
  }
  void put_bias(const View &bias, int64_t output, int64_t at) {
    if (bias.present) base_[at] = static_cast<float>(load_scalar(bias.data, bias.dtype, output * bias.stride[0]));
  }
  void put_panels(const Linear &linear, int64_t outputs, int64_t inputs, int64_t at, int64_t bias_at, int64_t lanes) {
    for (int64_t o = 0; o < outputs; ++o) {
      put_row(linear.weight, o, inputs, at + o / lanes * (inputs / layout_.per_unit) * lanes, lanes, o % lanes);
      put_bias(linear.bias, o, bias_at + o);
    }
  }
  void put_norm(const Norm &norm, int64_t channels, int64_t at) {
    for (int64_t c = 0; c < channels; ++c)
      put_bias(norm.weight, c, at + c), put_bias(norm.bias, c, at + cpu::round_up(channels, cpu::width) + c);
  }

  float *base_;
  const PackedLayout &layout_;
};

}  // namespace lamina::triangle_multiplication
