// What the HIP kernels get from the host beside gpu_job.h: packed weights, tiles and shared memory.  Plain C++, seen by both compilers.
#pragma once
#include "gpu_job.h"
#include "tiles.h"

namespace lamina::triangle_multiplication {

// Front and back: a workgroup of four waves holds a tile of positions in LDS and multiplies it with packed weights, which come from L2
// straight into registers: every workgroup reads the same ones.
constexpr int tile_positions = hip_tile.positions, tile_waves = 4, tile_threads = tile_waves * 64;
// The tile's channels lie in LDS as far as a panel goes; wider layers take several panels.
constexpr int panel_channels(int element_bytes) { return hip_tile.panel_bytes / element_bytes; }
// LDS of one position: zeros up to whole groups of 16 channels, and 16 bytes that keep reads of neighbouring positions apart.
constexpr int panel_line_bytes(int channels, int element_bytes) {
  const int most = panel_channels(element_bytes), held = channels < most ? (channels + 15) / 16 * 16 : most;
  return (held * element_bytes + 127) / 128 * 128 + 16;
}
constexpr int panel_lds_bytes(int channels, int element_bytes) { return tile_positions * panel_line_bytes(channels, element_bytes); }

constexpr int contract_tile = 128, contract_threads = 256;
constexpr int pack_threads = 256, pack_blocks = 64, pack_parts = 7;

// Workgroups beyond this many go into the grid's second dimension: the runtime counts threads in 32 bits.
constexpr int64_t grid_width = 1 << 16;

// Where each part of the packed weights begins, in bytes; parts are multiples of 64 bytes, their tails zeros.  A weight is a matrix of
// rows (outputs) by depth (inputs), in the order in which waves load it: blocks of 32 rows, in each groups of 16 k, in each the eight k of
// lane 0, then of lane 1, ... (kernels/hip/mma.h).
//   front      groups of 16 rows of C: 8 channels' projections, then their 8 gates; channels 0..H-1 are a, H..2H-1 are b
//   out, gate  a channel's row is place_of(channel), so that a lane's accumulators are 16 neighbouring channels
//   biases     floats, front's in the order of the rows, the others' of the channels; norms: weight, then bias
struct HipPart {
  int rows, depth;       // whole blocks of 64, whole groups of 16
  int64_t weight, bias;  // offsets
};

struct HipPackedLayout {
  HipPart front, out, gate;
  int64_t norm_in, norm_out, total;

  HipPackedLayout(int64_t C, int64_t H, int64_t gate_width, int64_t element_bytes) {
    int64_t at = 0;
    const auto take = [&at](int64_t bytes) {
      const int64_t here = at;
      at += (bytes + 63) / 64 * 64;
      return here;
    };
    const auto part = [&](int64_t rows, int64_t depth) {
      const int whole_rows = static_cast<int>((rows + 63) / 64 * 64), whole_depth = static_cast<int>((depth + 15) / 16 * 16);
      const int64_t weight = take(static_cast<int64_t>(whole_rows) * whole_depth * element_bytes);
      return HipPart{whole_rows, whole_depth, weight, take(whole_rows * 4)};
    };
    front = part(4 * H, C), out = part(C, H), gate = part(gate_width, C);
    norm_in = take(2 * C * 4), norm_out = take(2 * H * 4);
    total = at;
  }
};

struct HipPackJob {
  Norm norm_in, norm_out;
  Linear a_projection, a_gate, b_projection, b_gate, out_projection, out_gate;
  int C, H, gate_width;
  HipPackedLayout layout;
  char *packed;
};

// The output gate into planes [gate width][cells.count], where back cannot compute it itself: in gate_before_projection the planes hold
// LayerNorm(o) * gate and become back's o; for layers wider than one pass of back they hold the gate alone.
struct HipGateJob {
  View pair;
  bool pair_aligned, times_norm;
  Cells cells;
  PackedNorm norm_in, norm_out;
  PackedLinear gate;
  const void *o;
  void *planes;
  int width;
};

struct HipBackJob {
  BackJob back;             // norm_out without weight: o is normalised and gated already
  const void *gate_planes;  // or null: back computes the gate, unless gate_before_projection
};

}  // namespace lamina::triangle_multiplication
