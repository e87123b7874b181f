// Stands in for kernels/cuda/wgmma.cuh.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "tensor_copy.cuh"

namespace lamina::cuda {

template <class T>
constexpr bool is_half = false;
template <>
constexpr bool is_half<__half> = true;

enum class Lines : int { along_k = 0, along_rows = 1 };

inline uint64_t operand(uint32_t address, int box_bytes = 16) {
  constexpr uint64_t swizzle_128 = uint64_t{1} << 62, group = uint64_t{1024 >> 4} << 32;
  return uint64_t{(address & 0x3ffff) >> 4} | static_cast<uint64_t>(box_bytes >> 4) << 16 | group | swizzle_128;
}
template <Lines lines>
uint64_t deeper(uint64_t operand, int steps) {
  return operand + static_cast<uint64_t>(steps * (lines == Lines::along_k ? 32 >> 4 : 16 * line_bytes >> 4));
}

inline void begin_products() { cuda_emulator::begin_products(); }
inline void commit_products() { cuda_emulator::commit_products(); }
template <int pending>
void wait_products() {
  cuda_emulator::wait_products(pending);
}

// Twice as many columns as a thread has sums.
template <class T, int sums>
void emulated_product(float (&sum)[sums], uint64_t a, Lines a_lines, uint64_t b, Lines b_lines, bool add) {
  cuda_emulator::multiply(sum, {is_half<T>, add, a_lines == Lines::along_rows, b_lines == Lines::along_rows, 2 * sums, nullptr, a, b});
}
template <class T, int sums>
void emulated_product(float (&sum)[sums], const uint32_t (&a)[4], uint64_t b, Lines b_lines, bool add) {
  cuda_emulator::multiply(sum, {is_half<T>, add, false, b_lines == Lines::along_rows, 2 * sums, a, 0, b});
}

template <class T = __nv_bfloat16, int sums>
void multiply(float (&sum)[sums], const uint32_t (&a)[4], uint64_t b, bool add) {
  static_assert(sums == 32 || sums == 64, "the widths that kernels/cuda/wgmma.cuh and wgmma_mixed.cuh have");
  emulated_product<T>(sum, a, b, Lines::along_k, add);
}
template <Lines lines, class T = __nv_bfloat16, int sums>
void multiply(float (&sum)[sums], uint64_t a, uint64_t b, bool add) {
  static_assert(sums == 64 || sums == 128, "the widths that kernels/cuda/wgmma.cuh has");
  emulated_product<T>(sum, a, lines, b, lines, add);
}

// PTX ISA, "stmatrix": as ldmatrix, the other way.
inline void store_matrices_any(uint32_t line, const uint32_t (&pairs)[4], bool transposed) {
  uint64_t lines[32];
  cuda_emulator::gather(line, lines);
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (int m = 0; m < 4; ++m)
    for (int i = 0; i < 2; ++i) {
      const int row = transposed ? lane % 4 * 2 + i : lane / 4, column = transposed ? lane / 4 : lane % 4 * 2 + i;
      const auto element = static_cast<uint16_t>(pairs[m] >> 16 * i);
      std::memcpy(cuda_emulator::shared_pointer(static_cast<uint32_t>(lines[m * 8 + row])) + column * 2, &element, 2);
    }
  cuda_emulator::wrote_shared(line, 16);
  cuda_emulator::meet_warp();
}
inline void store_matrices(uint32_t line, uint32_t a, uint32_t b, uint32_t c, uint32_t d) { store_matrices_any(line, {a, b, c, d}, false); }
inline void store_matrices_transposed(uint32_t line, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  store_matrices_any(line, {a, b, c, d}, true);
}

template <class T = __nv_bfloat16>
uint32_t pack(float low, float high) {
  if constexpr (is_half<T>)
    return __half_as_ushort(__float2half_rn(low)) | static_cast<uint32_t>(__half_as_ushort(__float2half_rn(high))) << 16;
  else return __bfloat16_as_ushort(__float2bfloat16_rn(low)) | static_cast<uint32_t>(__bfloat16_as_ushort(__float2bfloat16_rn(high))) << 16;
}
template <class T = __nv_bfloat16>
float low_half(uint32_t pair) {
  if constexpr (is_half<T>) return __half2float(__ushort_as_half(static_cast<unsigned short>(pair)));
  else return __uint_as_float(pair << 16);
}
template <class T = __nv_bfloat16>
float high_half(uint32_t pair) {
  if constexpr (is_half<T>) return __half2float(__ushort_as_half(static_cast<unsigned short>(pair >> 16)));
  else return __uint_as_float(pair & 0xffff0000u);
}

inline float tanh_approximate(float x) { return std::tanh(x); }

}  // namespace lamina::cuda
