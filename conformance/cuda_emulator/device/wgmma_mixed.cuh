// Stands in for kernels/cuda/wgmma_mixed.cuh.
#pragma once
#include "wgmma.cuh"

namespace lamina::cuda {

template <Lines a_lines, Lines b_lines, class T = __nv_bfloat16, int sums>
void multiply_mixed(float (&sum)[sums], uint64_t a, uint64_t b, bool add) {
  static_assert(sums == 4 || sums == 32 || sums == 64 || sums == 128, "the widths that kernels/cuda/wgmma_mixed.cuh has");
  emulated_product<T>(sum, a, a_lines, b, b_lines, add);
}
template <class T = __nv_bfloat16>
void multiply_by_rows(float (&sum)[64], const uint32_t (&a)[4], uint64_t b, bool add) {
  emulated_product<T>(sum, a, b, Lines::along_rows, add);
}

}  // namespace lamina::cuda
