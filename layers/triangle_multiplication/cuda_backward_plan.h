// The workspace of the CUDA builds' backward: what lies where, and when a place is used again.
#pragma once
#include "cuda_backward_job.h"
#include "gpu_forward.h"
#include "training.h"

namespace lamina::triangle_multiplication {

// Partial sums of one weight's gradient: `count` of them, each over `cells` cells.
struct Splits {
  int64_t count, cells;

  // Enough blocks for a large GPU, not so many that the partial sums outweigh what is summed.  Depends on the problem alone: so does the order
  // of the sums.
  Splits(int64_t rows, int64_t columns, int64_t all_cells) {
    const int64_t tiles = ((rows + product_tile - 1) / product_tile) * ((columns + product_tile - 1) / product_tile);
    int64_t most = all_cells / 4096;
    if (most > 132 / tiles) most = 132 / tiles;
    if (most < 1) most = 1;
    cells = ((all_cells + most - 1) / most + 63) / 64 * 64;
    count = cells ? (all_cells + cells - 1) / cells : 0;
  }
};

// Gradients have more roundings behind them than the forward's results, and where layers are narrow no sum averages these out: planes stay
// float there, too.
struct BackwardSizes : GpuSizes {
  explicit BackwardSizes(const Problem &p) : GpuSizes(p) {
    if (p.C <= 64 || p.H <= 64) storage_bytes = 4;
  }
};

struct BackwardPlan : BackwardSizes {
  PackedLayout layout;  // operands are of the planes' dtype
  int64_t cells;        // of a full group
  Splits front, gate, out, bias;
  int64_t norm_blocks;
  int64_t packed, mask, statistics_in, statistics_out;
  int64_t front_sums, gate_sums, out_sums, front_biases, gate_biases, out_biases, norm_in_sums, norm_out_sums;
  // Planes, in the order of time:
  //   z, gates | then their sums' gradient
  //   b | gradient of b | gradient of z
  //   a, o (then its gradient), normalised o (or gated; then its gradient), incoming (then of the projection; then gradient of a)
  //     | gradients of the four front linears' sums, packed rows, over all four of these: the last quarter when a's is used up
  int64_t z, gates, b, a, o, normalised, incoming, workspace;

  explicit BackwardPlan(const Problem &p)
      : BackwardSizes(p),
        layout(p.C, p.H, p.gate_width(), storage_bytes, false),
        cells(group * per_batch),
        front(4 * p.H, p.C, cells),
        gate(p.gate_width(), p.C, cells),
        out(p.C, p.H, cells),
        bias(1, 1, cells),
        norm_blocks((cells + cells_of_tile - 1) / cells_of_tile) {
    if (norm_blocks > 264) norm_blocks = 264;
    const int64_t widest = p.C > p.H ? p.C : p.H, G = p.gate_width();
    Cuts cuts;
    const auto planes = [&](int64_t channels) { return cuts.take(channels * cells * storage_bytes); };
    const auto floats = [&](int64_t count) { return cuts.take(count * 4); };
    packed = cuts.take(layout.total), mask = floats(cells), statistics_in = floats(2 * cells), statistics_out = floats(2 * cells);
    front_sums = floats(front.count * 4 * p.H * p.C), gate_sums = floats(gate.count * G * p.C), out_sums = floats(out.count * p.C * p.H);
    front_biases = floats(bias.count * 4 * p.H), gate_biases = floats(bias.count * G), out_biases = floats(bias.count * p.C);
    norm_in_sums = floats(norm_blocks * 2 * p.C), norm_out_sums = floats(norm_blocks * 2 * p.H);
    z = planes(p.C), gates = planes(G), b = planes(widest);
    a = planes(3 * p.H + widest);
    o = a + p.H * cells * storage_bytes, normalised = o + p.H * cells * storage_bytes, incoming = normalised + p.H * cells * storage_bytes;
    workspace = cuts.total;
  }
};

// Which gradients are wanted, and what they need.
struct Wanted {
  bool front_weights, front_biases, norm_in, norm_out, input, operands;

  explicit Wanted(const Gradients &g) {
    const auto any = [](std::initializer_list<const View *> views) {
      for (const View *view : views)
        if (view->present) return true;
      return false;
    };
    front_weights = any({&g.a_projection.weight, &g.a_gate.weight, &g.b_projection.weight, &g.b_gate.weight});
    front_biases = any({&g.a_projection.bias, &g.a_gate.bias, &g.b_projection.bias, &g.b_gate.bias});
    norm_in = any({&g.norm_in.weight, &g.norm_in.bias});
    input = norm_in || g.pair.present;
    operands = input || front_weights || front_biases;  // of a and b
    norm_out = operands || any({&g.norm_out.weight, &g.norm_out.bias});
  }
};

}  // namespace lamina::triangle_multiplication
