// What the LayerNorm in a warp's registers takes, for host and device.
#pragma once

namespace lamina::cuda {

constexpr int fast_norm_channels = 2048;  // at most, a multiple of 8

}  // namespace lamina::cuda
