// What the fused HIP kernel gets from the host beside kernels/hip/rows_job.h.  Plain C++, seen by both compilers.
#pragma once
#include "kernels/hip/rows_job.h"

namespace lamina::transition {

// A workgroup of four waves computes 64 rows: all their channels and a chunk of their hidden channels lie in LDS.  blocks: of 32 outputs
// a wave; one for up to 128 channels, two for up to 256.  With one, two workgroups share a compute unit's 64 KB.
constexpr int fused_rows = 64, fused_waves = 4, fused_channels = 256;
constexpr int fused_blocks(int64_t channels) { return channels <= 128 ? 1 : 2; }
constexpr int fused_chunk(int blocks) { return 64 * blocks; }  // hidden channels: a gate and a value each
constexpr int fused_width(int blocks) { return fused_waves * 32 * blocks; }

// Lines of a panel end with 16 bytes that keep reads of neighbouring lines apart.
constexpr int fused_line(int channels) { return (channels + 63) / 64 * 64 + 8; }  // of 16-bit elements
constexpr int fused_lds_bytes(int channels, int blocks) {
  return fused_rows * (fused_line(channels) + fused_line(fused_chunk(blocks))) * 2;
}

struct FusedJob {
  hip::ProductJob rows;  // x, norm, residual, row mask, out; bias: the outputs'; depth and outputs: C; line: C in whole groups of 16
  const void *hidden_weight = nullptr, *out_weight = nullptr;  // in fragments: [2 * padded hidden][line], [width][padded hidden]
  const float *hidden_bias = nullptr;                          // groups of 16: 8 gates, their 8 values
  int hidden = 0;                                              // padded to whole chunks
};

}  // namespace lamina::transition
