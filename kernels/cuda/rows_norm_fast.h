// What the LayerNorm in a warp's registers takes, for host and device.
#pragma once

namespace lamina::cuda {

constexpr int fast_norm_channels = 2048;  // at most, a multiple of 8
// Rows that a warp holds at once: as many as its registers take, so that it fetches the channels' weights for all of them together.
constexpr int fast_norm_rows(int channels) { return channels <= 1024 ? 4 : 2; }

}  // namespace lamina::cuda
