// The packed weights of the CPU builds: panels of 2 * width outputs in the order in which the micro tiles read them.
//
//   front   [front panels][units of C][2 * width]: a panel is `width` rows of gate and the same rows of up, so that a hidden channel's
//           gate and value meet in one micro tile; without a gate, 2 * width rows of up
//   down    [C / (2 width)][units of I][2 * width]
//   vectors front biases in the order of the panels, down bias, norm: floats; what is missing or padding is zeros
// A unit is one float or, for vdpbf16ps, two bfloat16.
#pragma once
#include "kernels/common/scalar.h"
#include "problem.h"

namespace lamina::transition {

using cpu::micro_rows, cpu::round_up, cpu::Vector, cpu::width;
constexpr int64_t panel_lanes = 2 * width;

struct PackedWeights {
  const float *front, *down;            // panels
  const float *front_bias, *down_bias;  // [front panels][2 * width], [C padded to a panel]
  const float *norm_weight, *norm_bias;
};

// Offsets in floats, each a multiple of 64 bytes.
struct PackedLayout {
  int64_t per_unit, per_panel;             // values of a unit; hidden channels of a front panel
  int64_t hidden, front_panels, channels;  // I and C padded to whole panels
  int64_t front, down, front_bias, down_bias, norm, total;

  PackedLayout(const Problem &p, int64_t units_hold) : per_unit(units_hold), per_panel(p.gated() ? width : panel_lanes) {
    hidden = round_up(p.I, per_panel), front_panels = hidden / per_panel, channels = round_up(p.C, panel_lanes);
    int64_t at = 0;
    const auto take = [&at](int64_t floats) {
      const int64_t here = at;
      at += round_up(floats, 16);
      return here;
    };
    front = take(front_panels * panel_lanes * p.C / per_unit);
    down = take(channels * hidden / per_unit);
    front_bias = take(front_panels * panel_lanes), down_bias = take(channels), norm = take(2 * round_up(p.C, width));
    total = at;
  }

  PackedWeights at(const void *packed, const Problem &p) const {
    const float *base = static_cast<const float *>(packed);
    const bool normalises = p.norm.weight.present;
    return {base + front,
            base + down,
            base + front_bias,
            base + down_bias,
            normalises ? base + norm : nullptr,
            base + norm + round_up(p.C, width)};
  }
};

class Packer {
 public:
  Packer(void *packed, const PackedLayout &layout) : base_(static_cast<float *>(packed)), layout_(layout) {
    for (int64_t i = 0; i < layout.total; ++i) base_[i] = 0;
  }

  void pack(const Problem &p) {
    for (int64_t i = 0; i < p.I; ++i) {
      const int64_t panel = i / layout_.per_panel, lane = i % layout_.per_panel;
      const int64_t at = layout_.front + panel * panel_lanes * p.C / layout_.per_unit, bias = layout_.front_bias + panel * panel_lanes;
      if (p.gated()) put_row(p.gate, i, p.C, at, lane, bias);
      put_row(p.up, i, p.C, at, p.gated() ? width + lane : lane, bias);
    }
    for (int64_t c = 0; c < p.C; ++c) {
      const int64_t panel = c / panel_lanes;
      put_row(p.down, c, p.I, layout_.down + panel * panel_lanes * layout_.hidden / layout_.per_unit, c % panel_lanes,
              layout_.down_bias + panel * panel_lanes);
      put_value(p.norm.weight, c, layout_.norm + c), put_value(p.norm.bias, c, layout_.norm + round_up(p.C, width) + c);
    }
  }

 private:
  void put_value(const View &vector, int64_t index, int64_t at) {
    if (vector.present) base_[at] = static_cast<float>(load_scalar(vector.data, vector.dtype, index * vector.stride[0]));
  }
  // Row `output` of a weight becomes lane `lane` of the panel at `panel`, whose biases are at `bias`.
  void put_row(const Linear &linear, int64_t output, int64_t inputs, int64_t panel, int64_t lane, int64_t bias) {
    const View &weight = linear.weight;
    for (int64_t c = 0; c < inputs; ++c) {
      const float value = static_cast<float>(load_scalar(weight.data, weight.dtype, output * weight.stride[0] + c * weight.stride[1]));
      if (layout_.per_unit == 1) base_[panel + c * panel_lanes + lane] = value;
      else reinterpret_cast<uint16_t *>(base_ + panel + c / 2 * panel_lanes + lane)[c & 1] = float_to_bfloat16(value);
    }
    put_value(linear.bias, output, bias + lane);
  }

  float *base_;
  const PackedLayout &layout_;
};

}  // namespace lamina::transition
