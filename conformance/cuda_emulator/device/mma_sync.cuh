// Stands in for kernels/cuda/mma_sync.cuh.
#pragma once
#include "conformance/cuda_emulator/numbers.h"
#include "copy.cuh"
#include "kernels/gpu/element.cuh"

namespace lamina::cuda {

// PTX ISA, "Matrix fragments for mma.m16n8k16": a[i] are rows l / 4 and (i odd) eight below, depths 2 (l % 4) and (i > 1) eight deeper; b0, b1
// column l / 4 at those depths; sums as of wgmma.
template <bool half>
void emulated_mma(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const auto value = [](uint64_t pair, int e) {
    const auto bits = static_cast<uint16_t>(pair >> 16 * e);
    return half ? cuda_emulator::half_value(bits) : cuda_emulator::bfloat_value(bits);
  };
  const int lane = static_cast<int>(threadIdx.x % 32);
  uint64_t of_b[32];
  cuda_emulator::gather(b0 | static_cast<uint64_t>(b1) << 32, of_b);
  uint64_t upper[32], lower[32];
  cuda_emulator::gather(a[0] | static_cast<uint64_t>(a[2]) << 32, upper);
  cuda_emulator::gather(a[1] | static_cast<uint64_t>(a[3]) << 32, lower);
  for (int i = 0; i < 4; ++i) {
    const int column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; ++k) {
      const int shift = k / 8 * 32, from = k % 8 / 2;
      const uint64_t left = (i < 2 ? upper : lower)[lane / 4 * 4 + from] >> shift, right = of_b[column * 4 + from] >> shift;
      sum[i] += value(left, k % 2) * value(right, k % 2);
    }
  }
}

inline void mma(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, gpu::bfloat16) { emulated_mma<false>(sum, a, b0, b1); }
inline void mma(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, gpu::float16) { emulated_mma<true>(sum, a, b0, b1); }

}  // namespace lamina::cuda
