// Stands in for kernels/cuda/wgmma_product.cuh.
#pragma once
#include "kernels/gpu/element.cuh"
#include "wgmma.cuh"

namespace lamina::cuda {

template <class T, Lines a_lines, Lines b_lines, int sums>
void product(float (&sum)[sums], uint64_t a, uint64_t b, bool add) {
  static_assert(sums == 32 || sums == 64 || sums == 96 || sums == 128, "64, 128, 192 or 256 columns");
  emulated_product<T>(sum, a, a_lines, b, b_lines, add);
}
template <class T, Lines b_lines>
void product(float (&sum)[64], const uint32_t (&a)[4], uint64_t b, bool add) {
  emulated_product<T>(sum, a, b, b_lines, add);
}

template <class T>
uint32_t pack_pair(float low, float high) {
  return pack<T>(low, high);
}
template <class T>
float2 unpack_pair(uint32_t pair) {
  return {low_half<T>(pair), high_half<T>(pair)};
}

}  // namespace lamina::cuda
