// A wave's product of 32 lines by 32 lines over 16 k: sum[m][n] += A[m][k] * B[n][k], float accumulators, by MFMA.
//
// One form for all element types: lane l holds line l % 32, k 8 * (l / 32) to 8 * (l / 32) + 7 of the 16.  Which k an instruction
// multiplies together is free as long as A and B agree, so 16-bit elements take two 32x32x8 instructions (one 32x32x16 on gfx950) and
// float elements eight 32x32x2, which are exact to fp32.
//
// Lane l's accumulator r is m = 8 * (r / 4) + 4 * (l / 32) + r % 4, n = l % 32.
#pragma once
#include "copy.h"

namespace lamina::hip {

using gpu::bfloat16, gpu::float16;

constexpr int mma_lines = 32, mma_depth = 16, lane_depth = 8;

typedef float Sums __attribute__((ext_vector_type(16)));
template <class T>
using Fragment = gpu::Eight<T>;  // a lane's part of 32 lines x 16 k

// The lane's line and its first k.
__device__ inline int lane_line() { return lane_index() % mma_lines; }
__device__ inline int lane_half() { return lane_index() / mma_lines; }

// m of a lane's accumulators made contiguous: a line that lies at place_of(m) is accumulator m % 16 of half m / 16.
constexpr int place_of(int m) { return m / 32 * 32 + m % 16 / 4 * 8 + m % 32 / 16 * 4 + m % 4; }

#ifdef __gfx950__
template <class T>
using Eight16Bit = T __attribute__((ext_vector_type(8)));
__device__ inline Sums multiply(const Fragment<bfloat16> &a, const Fragment<bfloat16> &b, Sums sum) {
  using V = Eight16Bit<__bf16>;
  return __builtin_amdgcn_mfma_f32_32x32x16_bf16(__builtin_bit_cast(V, a), __builtin_bit_cast(V, b), sum, 0, 0, 0);
}
__device__ inline Sums multiply(const Fragment<float16> &a, const Fragment<float16> &b, Sums sum) {
  using V = Eight16Bit<_Float16>;
  return __builtin_amdgcn_mfma_f32_32x32x16_f16(__builtin_bit_cast(V, a), __builtin_bit_cast(V, b), sum, 0, 0, 0);
}
#else
template <class V>
struct Halves {  // of a fragment
  V value[2];
};
__device__ inline Sums multiply(const Fragment<bfloat16> &a, const Fragment<bfloat16> &b, Sums sum) {
  typedef short V __attribute__((ext_vector_type(4)));
  const auto x = __builtin_bit_cast(Halves<V>, a), y = __builtin_bit_cast(Halves<V>, b);
  sum = __builtin_amdgcn_mfma_f32_32x32x8bf16_1k(x.value[0], y.value[0], sum, 0, 0, 0);
  return __builtin_amdgcn_mfma_f32_32x32x8bf16_1k(x.value[1], y.value[1], sum, 0, 0, 0);
}
__device__ inline Sums multiply(const Fragment<float16> &a, const Fragment<float16> &b, Sums sum) {
  typedef _Float16 V __attribute__((ext_vector_type(4)));
  const auto x = __builtin_bit_cast(Halves<V>, a), y = __builtin_bit_cast(Halves<V>, b);
  sum = __builtin_amdgcn_mfma_f32_32x32x8f16(x.value[0], y.value[0], sum, 0, 0, 0);
  return __builtin_amdgcn_mfma_f32_32x32x8f16(x.value[1], y.value[1], sum, 0, 0, 0);
}
#endif
__device__ inline Sums multiply(const Fragment<float> &a, const Fragment<float> &b, Sums sum) {
#pragma unroll
  for (int e = 0; e < lane_depth; ++e) sum = __builtin_amdgcn_mfma_f32_32x32x2f32(a.value[e], b.value[e], sum, 0, 0, 0);
  return sum;
}

// A fragment whose eight elements lie behind each other, 16-byte aligned.
template <class T>
__device__ Fragment<T> load_fragment(const T *from) {
  return gpu::load_eight(from, true);
}

// A fragment of k group `group` from lines of 64 bytes (copy.h): 32 k of 16-bit elements are two groups, 16 floats one.
template <class T>
constexpr int line_groups = sizeof(T) == 2 ? 2 : 1;
template <class T>
__device__ Fragment<T> load_fragment(const Piece *lines, int line, int group) {
  if constexpr (sizeof(T) == 2) return __builtin_bit_cast(Fragment<T>, lines[piece_at(line, group * 2 + lane_half())]);
  else {
    struct Two {
      Piece piece[2];
    };
    const Two two = {{lines[piece_at(line, lane_half() * 2)], lines[piece_at(line, lane_half() * 2 + 1)]}};
    return __builtin_bit_cast(Fragment<float>, two);
  }
}

}  // namespace lamina::hip
