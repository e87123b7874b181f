// The packed weights of the CPU builds: panels of 2 * width outputs in the order in which the micro tiles read them.
//
//   front   [front panels][units of C][2 * width]: a panel is `width` rows of gate and the same rows of up, so that a hidden channel's
//           gate and value meet in one micro tile; without a gate, 2 * width rows of up
//   down    [C / (2 width)][units of I][2 * width]
//   vectors front biases in the order of the panels, down bias, norm: floats; what is missing or padding is zeros
// and for backward alone, the same weights the other way:
//   back    [C / (2 width)][units of front outputs][2 * width]: from the gradients of a front panel's outputs to those of z
//   hidden  [I / (2 width)][units of C][2 * width]: from the gradients of the output to those of the hidden rows
// A unit is one float or, for vdpbf16ps, two bfloat16.
#pragma once
#include "cpu_panel.h"
#include "kernels/common/scalar.h"
#include "problem.h"

namespace lamina::transition {

struct PackedWeights {
  const float *front, *down, *back, *hidden;  // panels
  const float *front_bias, *down_bias;        // [front panels][2 * width], [C padded to a panel]
  const float *norm_weight, *norm_bias;
};

// Offsets in floats, each a multiple of 64 bytes.
struct PackedLayout {
  int64_t per_unit, per_panel;             // values of a unit; hidden channels of a front panel
  int64_t hidden, front_panels, channels;  // I and C padded to whole panels
  int64_t outputs;                         // of the front: front_panels * 2 * width
  int64_t front, down, front_bias, down_bias, norm, forward_total, back, hidden_back, total;

  PackedLayout(const Problem &p, int64_t units_hold) : per_unit(units_hold), per_panel(p.gated() ? width : panel_lanes) {
    hidden = round_up(p.I, panel_lanes), front_panels = hidden / per_panel, channels = round_up(p.C, panel_lanes);
    outputs = front_panels * panel_lanes;
    int64_t at = 0;
    const auto take = [&at](int64_t floats) {
      const int64_t here = at;
      at += round_up(floats, 16);
      return here;
    };
    front = take(outputs * p.C / per_unit);
    down = take(channels * hidden / per_unit);
    front_bias = take(outputs), down_bias = take(channels), norm = take(2 * round_up(p.C, width));
    forward_total = at;
    back = take(channels * outputs / per_unit);
    hidden_back = take(hidden * p.C / per_unit);
    total = at;
  }

  PackedWeights at(const void *packed, const Problem &p) const {
    const float *base = static_cast<const float *>(packed);
    const bool normalises = p.norm.weight.present;
    return {base + front,
            base + down,
            base + back,
            base + hidden_back,
            base + front_bias,
            base + down_bias,
            normalises ? base + norm : nullptr,
            base + norm + round_up(p.C, width)};
  }
};

// Packs panel by panel, so that threads may share the work; each panel is written by one call.
template <class Product>
class Packer {
 public:
  Packer(const Problem &p, const PackedLayout &layout, void *packed) : p_(p), layout_(layout), base_(static_cast<float *>(packed)) {}

  int64_t forward_tasks() const { return 1 + layout_.front_panels + layout_.channels / panel_lanes; }
  int64_t backward_tasks() const { return forward_tasks() + layout_.channels / panel_lanes + layout_.hidden / panel_lanes; }

  void task(int64_t index) {
    const int64_t channel_panels = layout_.channels / panel_lanes;
    if (index == 0) return vectors();
    if ((index -= 1) < layout_.front_panels) return front(index);
    if ((index -= layout_.front_panels) < channel_panels) return down(index);
    if ((index -= channel_panels) < channel_panels) return back(index);
    hidden(index - channel_panels);
  }

 private:
  // `width` rows of a [rows, inputs] weight become lanes; beyond `rows` lanes are zeros.
  void rows_as_lanes(const View &weight, int64_t first, int64_t rows, int64_t inputs, int64_t padded, float *to) const {
    const PanelSource source{weight, weight.stride[0], weight.stride[1], first * weight.stride[0], clamped(rows - first), inputs, padded};
    pack_lanes<Product>(source, to);
  }
  // `width` columns of a weight become lanes, its rows the shared dimension.
  void columns_as_lanes(const View &weight, int64_t first_row, int64_t rows, int64_t first, int64_t columns, int64_t padded,
                        float *to) const {
    const int64_t offset = first_row * weight.stride[0] + first * weight.stride[1];
    const PanelSource source{weight, weight.stride[1], weight.stride[0], offset, clamped(columns - first), rows, padded};
    pack_lanes<Product>(source, to);
  }
  static int clamped(int64_t lanes) { return static_cast<int>(lanes < 0 ? 0 : lanes < width ? lanes : width); }

  void vectors() {
    for (int64_t i = layout_.front_bias; i < layout_.forward_total; ++i) base_[i] = 0;
    for (int64_t i = 0; i < p_.I; ++i) {
      const int64_t at = layout_.front_bias + i / layout_.per_panel * panel_lanes + i % layout_.per_panel;
      if (p_.gated()) put(p_.gate.bias, i, at);
      put(p_.up.bias, i, p_.gated() ? at + width : at);
    }
    for (int64_t c = 0; c < p_.C; ++c) {
      put(p_.down.bias, c, layout_.down_bias + c);
      put(p_.norm.weight, c, layout_.norm + c), put(p_.norm.bias, c, layout_.norm + round_up(p_.C, width) + c);
    }
  }
  void put(const View &vector, int64_t index, int64_t at) {
    if (vector.present) base_[at] = static_cast<float>(load_scalar(vector.data, vector.dtype, index * vector.stride[0]));
  }

  // The two halves of a front panel: which linear, and its first row.
  const View &half_weight(int half) const { return p_.gated() && half == 0 ? p_.gate.weight : p_.up.weight; }
  int64_t half_row(int64_t panel, int half) const { return panel * layout_.per_panel + (p_.gated() ? 0 : half * width); }

  void front(int64_t panel) {
    float *to = base_ + layout_.front + panel * panel_lanes * p_.C / layout_.per_unit;
    for (int half = 0; half < 2; ++half) rows_as_lanes(half_weight(half), half_row(panel, half), p_.I, p_.C, p_.C, to + half * width);
  }
  void down(int64_t panel) {
    float *to = base_ + layout_.down + panel * panel_lanes * layout_.hidden / layout_.per_unit;
    for (int half = 0; half < 2; ++half)
      rows_as_lanes(p_.down.weight, panel * panel_lanes + half * width, p_.C, p_.I, layout_.hidden, to + half * width);
  }
  void back(int64_t panel) {
    float *to = base_ + layout_.back + panel * panel_lanes * layout_.outputs / layout_.per_unit;
    for (int64_t outputs = 0; outputs < layout_.front_panels; ++outputs)
      for (int source = 0; source < 2; ++source, to += width * panel_lanes / layout_.per_unit) {
        const int64_t row = half_row(outputs, source), rows = p_.I - row < 0 ? 0 : p_.I - row < width ? p_.I - row : width;
        for (int half = 0; half < 2; ++half)
          columns_as_lanes(half_weight(source), row, rows, panel * panel_lanes + half * width, p_.C, width, to + half * width);
      }
  }
  void hidden(int64_t panel) {
    float *to = base_ + layout_.hidden_back + panel * panel_lanes * p_.C / layout_.per_unit;
    for (int half = 0; half < 2; ++half)
      columns_as_lanes(p_.down.weight, 0, p_.C, panel * panel_lanes + half * width, p_.I, p_.C, to + half * width);
  }

  const Problem &p_;
  const PackedLayout &layout_;
  float *base_;
};

}  // namespace lamina::transition
