// 16-bit floats, and where the 128-byte swizzle puts a byte.
#pragma once
#include <cstdint>
#include <cstring>

namespace lamina::cuda_emulator {

inline float float_of_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float bfloat_value(uint16_t bits) { return float_of_bits(static_cast<uint32_t>(bits) << 16); }

// Subnormals, infinities and NaN too.
inline float half_value(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
  if (exponent == 31) return float_of_bits(sign | 0x7f800000 | fraction << 13);
  if (exponent) return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
  const float small = static_cast<float>(fraction) * 0x1p-24f;
  return sign ? -small : small;
}

// Bits 4 to 6 of an address change by bits 7 to 9.
inline uint32_t swizzled_128(uint32_t address) { return address ^ (address >> 3 & 0x70); }

}  // namespace lamina::cuda_emulator
