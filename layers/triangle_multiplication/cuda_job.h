// What the CUDA kernels get from the host beside gpu_job.h: packed weights and shared memory.
#pragma once
#include "gpu_job.h"

namespace lamina::triangle_multiplication {

constexpr int tile_outputs = 128;  // rows of packed weights that front and back multiply with at a time
constexpr int tile_threads = 256;

// Shared memory of front and back: a line holds one position's channels, zeros behind them, and 16 bytes that keep ldmatrix free of bank
// conflicts; weights come in stages of 64 bytes a row.
constexpr int stage_count = 3, stage_bytes = tile_outputs * (64 + 16);
constexpr int line_bytes(int channels, int element_bytes) { return (channels * element_bytes + 127) / 128 * 128 + 16; }
// One plane's line of a front tile, on its way to memory.
constexpr int staged_line(int positions, int element_bytes) { return positions + 16 / element_bytes; }

constexpr int front_shared_bytes(int positions, int C, int operand_bytes, int plane_bytes) {
  return stage_count * stage_bytes + positions * line_bytes(C, operand_bytes) +
         tile_outputs / 2 * staged_line(positions, plane_bytes) * plane_bytes + positions * 8;  // and the mask
}
// o comes in as the planes' dtype and is normalised to the operand's in place.
constexpr int back_shared_bytes(int positions, int C, int H, int operand_bytes, int plane_bytes) {
  return stage_count * stage_bytes +
         positions * (line_bytes(C, operand_bytes) + line_bytes(H, operand_bytes > plane_bytes ? operand_bytes : plane_bytes));
}

// sigmoid(x) = (1 + tanh(x/2)) / 2: front gates are packed times this.
constexpr float gate_factor = 0.5f;

// Where each part of the packed weights begins, in bytes; every part is a multiple of 64 bytes, its tail zeros.
//   front      groups of 16 rows of C: 8 channels' projections, then their 8 gates, halved; channels 0..H-1 are a, H..2H-1 are b
//   out        C rows of H          out_gate  gate-width rows of C
//   biases     floats in the order of the rows, zeros where missing; norms: weight, then bias
// A folded part is the same linear layer with the LayerNorm before it taken in: W' = weight * W with each row's mean subtracted, bias' =
// bias W + bias, so that LayerNorm(x) W + bias = x W' / deviation(x) + bias'.  The mean of x drops out against the centred rows.
struct PackedPart {
  int64_t rows, depth;   // rows rounded up to whole tiles
  int64_t weight, bias;  // offsets
};

struct PackedLayout {
  PackedPart front, out, out_gate;
  PackedPart folded_front, folded_out, folded_gate;  // rows = 0: not there
  int64_t norm_in, norm_out, total;

  PackedLayout() = default;
  PackedLayout(int64_t C, int64_t H, int64_t gate_width, int64_t element_bytes, bool folded) {
    int64_t at = 0;
    const auto take = [&at](int64_t bytes) {
      const int64_t here = at;
      at += (bytes + 63) / 64 * 64;
      return here;
    };
    const auto part = [&](int64_t rows, int64_t depth) {
      const int64_t whole = (rows + tile_outputs - 1) / tile_outputs * tile_outputs;
      const int64_t weight = take(whole * depth * element_bytes);
      return PackedPart{whole, depth, weight, take(whole * 4)};
    };
    front = part(4 * H, C), out = part(C, H), out_gate = part(gate_width, C);
    folded_front = part(folded ? 4 * H : 0, C), folded_out = part(folded ? C : 0, H), folded_gate = part(folded ? gate_width : 0, C);
    norm_in = take(2 * C * 4), norm_out = take(2 * H * 4);
    total = at;
  }
};

struct PackJob {
  Norm norm_in, norm_out;
  Linear a_projection, a_gate, b_projection, b_gate, out_projection, out_gate;
  int64_t C, H, gate_width;
  PackedLayout layout;
  char *packed;
};

}  // namespace lamina::triangle_multiplication
