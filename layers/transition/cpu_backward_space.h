// How backward cuts its work and its memory.  All of it follows from the problem alone, not from the number of threads, so that every
// sum has one order.
#pragma once
#include "cpu_rows.h"

namespace lamina::transition {

// Values of a chunk of rows, in units along the rows: [rows / values of a unit][stride].
struct Chunk {
  float *z, *du, *h, *d;
};

struct BackwardSpace {
  int64_t block, rows, blocks;         // rows of a task, of a chunk; blocks of a chunk
  int64_t z, d, dz;                    // floats between local rows: of z and du, of the front's gradients, of z's gradient
  int64_t chunk_z, chunk_h, chunk_d;   // floats between units of the chunk
  int64_t sums, sums_down, sums_norm;  // floats of a block's vector sums (front biases first), where the others begin
  bool needs_hidden, needs_dz, needs_front, needs_down;
  // Offsets into the workspace in floats; `workers` is where each worker's own begins.
  int64_t packed, chunk, front_sums, down_sums, total_sums, block_sums, workers, worker_bytes;

  BackwardSpace(const Problem &p, const Gradients &g, const PackedLayout &layout) {
    const auto wanted = [](const Linear &l) { return l.weight.present || l.bias.present; };
    needs_front = g.gate.weight.present || g.up.weight.present, needs_down = g.down.weight.present;
    needs_dz = g.x.present || g.norm.weight.present || g.norm.bias.present;
    needs_hidden = needs_dz || needs_down || wanted(g.gate) || wanted(g.up);
    block = cpu_rows / 2;
    z = round_up(p.C / layout.per_unit, width) + 16, d = layout.outputs / layout.per_unit + 16, dz = layout.channels + 16;
    chunk_z = layout.channels + 16, chunk_h = layout.hidden + 16, chunk_d = layout.outputs + 16;
    const int64_t row_floats = (2 * chunk_z + chunk_h + chunk_d) / layout.per_unit;
    rows = cpu_chunk_floats / row_floats;
    rows = (rows < 512 ? 512 : rows > 4096 ? 4096 : rows) / block * block;
    if (rows > p.M) rows = round_up(p.M, block);
    blocks = rows / block;
    sums_down = layout.outputs, sums_norm = sums_down + layout.channels, sums = sums_norm + 2 * layout.channels;

    int64_t at = 0;
    const auto take = [&at](int64_t floats) {
      const int64_t here = at;
      at += round_up(floats, 16);
      return here;
    };
    packed = take(layout.total);
    chunk = take(rows * row_floats);
    front_sums = take(needs_front ? layout.outputs * layout.channels : 0);
    down_sums = take(needs_down ? layout.channels * layout.hidden : 0);
    total_sums = take(sums), block_sums = take(blocks * sums);
    workers = take(0);
    worker_bytes = round_up((block * (2 * z + d + dz) + block * 2) * 4, 4096) + 64;
  }
  uint64_t bytes(int threads) const { return static_cast<uint64_t>(workers * 4 + threads * worker_bytes); }

  Chunk chunk_at(float *base, int64_t per_unit) const {
    const int64_t units = rows / per_unit;
    float *z_at = base + chunk, *du_at = z_at + units * chunk_z, *h_at = du_at + units * chunk_z;
    return {z_at, du_at, h_at, h_at + units * chunk_h};
  }
};

}  // namespace lamina::transition
