// Number formats and the functions of the transcendental unit, written so that compilers vectorise loops over them.
#pragma once
#include <cmath>
#include <limits>

#include "conformance/hip_emulator/types.h"

namespace lamina::hip_emulator {

inline float half_to_float(u32 half) {
  const u32 magnitude = (half & 0x7fff) << 13;
  u32 bits = as_bits(as_float(magnitude) * 0x1p112f);
  bits |= magnitude >= 0x0f800000 ? 0x7f800000 : 0;  // infinities and NaN
  return as_float(bits | (half & 0x8000) << 16);
}

// To nearest, ties to even.
inline u32 float_to_half(float value) {
  const u32 bits = as_bits(value), x = bits & 0x7fffffff;
  const u32 normal = (x - 0x38000000 + 0xfff + (x >> 13 & 1)) >> 13;
  const u32 tiny = as_bits(as_float(x) + 0.5f) - 0x3f000000;  // the sum rounds at the last place of a subnormal
  u32 half = x < 0x38800000 ? tiny : normal;
  half = x >= 0x47800000 ? 0x7c00 : half;
  half = x > 0x7f800000 ? 0x7e00 | (x >> 13 & 0x3ff) : half;
  return half | (bits >> 16 & 0x8000);
}

inline u32 float_to_half_toward_zero(float value) {
  const u32 bits = as_bits(value), x = bits & 0x7fffffff;
  const u32 tiny = static_cast<u32>(static_cast<i32>(as_float(x < 0x38800000 ? x : 0) * 0x1p24f));
  u32 half = x < 0x38800000 ? tiny : (x - 0x38000000) >> 13;
  half = x >= 0x47800000 ? 0x7bff : half;
  half = x == 0x7f800000 ? 0x7c00 : half;
  half = x > 0x7f800000 ? 0x7e00 | (x >> 13 & 0x3ff) : half;
  return half | (bits >> 16 & 0x8000);
}

// Rounded so that a second rounding to fewer bits is right: the last bit says "inexact".
inline float to_odd(double value) {
  const float near = static_cast<float>(value);
  const double back = near;
  u32 bits = as_bits(near);
  const bool inexact = back != value && value == value && (bits & 0x7fffffff) < 0x7f800000;
  const u32 step = std::fabs(back) < std::fabs(value) ? 1u : ~0u;
  bits += inexact && !(bits & 1) ? step : 0;
  return as_float(bits);
}

inline float bfloat_to_float(u32 low_half) { return as_float(low_half << 16); }
inline u32 float_to_bfloat(float value) {
  const u32 bits = as_bits(value);
  const u32 rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return (bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 0x40 : rounded;
}

inline float flush(float value) {
  const u32 bits = as_bits(value);
  return as_float((bits & 0x7f800000) == 0 ? bits & 0x80000000 : bits);
}

// A value of IEEE half precision in the low half of a register.
struct half {
  float value;
  half(float from) : value(from) {}
  operator float() const { return value; }
};

// The transcendental unit flushes denormals; its results are good to one unit in the last place, these to half of one.
inline float exp2_unit(float x) {
  constexpr double round = 0x1.8p52, ln2 = 0.693147180559945309417;
  const double limited = x > 200.f ? 200.0 : x < -200.f ? -200.0 : static_cast<double>(x);
  const double shifted = limited + round, f = (limited - (shifted - round)) * ln2;
  double sum = 1.0 / 479001600;
  double factorial = 479001600;
  for (int k = 12; k > 0; --k) factorial /= k, sum = sum * f + 1.0 / factorial;
  const double scale = std::bit_cast<double>((std::bit_cast<u64>(shifted) << 52) + (u64{1023} << 52));
  const float result = flush(static_cast<float>(sum * scale));
  return x != x ? x : result;
}

inline float log2_unit(float given) {
  const float x = flush(given);
  constexpr u64 split = 0x3fe6a09e667f3bcd;  // half the root of two
  const u64 bits = std::bit_cast<u64>(static_cast<double>(x > 0 ? x : 1.f));
  const i64 exponent = static_cast<i64>(bits - split) >> 52;
  const double m = std::bit_cast<double>(bits - (static_cast<u64>(exponent) << 52));
  const double s = (m - 1) / (m + 1), s2 = s * s;
  double sum = 0;
  for (int k = 21; k > 0; k -= 2) sum = sum * s2 + 1.0 / k;
  const double whole = std::bit_cast<double>(std::bit_cast<u64>(0x1.8p52) + static_cast<u64>(exponent)) - 0x1.8p52;
  float result = static_cast<float>(whole + s * sum * 2.88539008177792681472);
  result = x == 0 ? -std::numeric_limits<float>::infinity() : result;
  result = x == std::numeric_limits<float>::infinity() ? x : result;
  return x < 0 || x != x ? std::numeric_limits<float>::quiet_NaN() : result;
}

inline float reciprocal_unit(float x) { return flush(1.f / flush(x)); }
inline float root_unit(float x) { return std::sqrt(flush(x)); }
inline float reciprocal_root_unit(float x) { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(flush(x)))); }
// The argument is in turns.
inline float sine_unit(float x) { return static_cast<float>(std::sin(6.28318530717958647692 * (x - std::floor(static_cast<double>(x))))); }
inline float cosine_unit(float x) {
  return static_cast<float>(std::cos(6.28318530717958647692 * (x - std::floor(static_cast<double>(x)))));
}

// IEEE minNum and maxNum: a number wins over NaN; -0 is below +0.
inline float minimum(float a, float b) {
  const float both = a < b || (a == b && std::signbit(a)) ? a : b;
  return a != a ? b : b != b ? a : both;
}
inline float maximum(float a, float b) {
  const float both = a > b || (a == b && !std::signbit(a)) ? a : b;
  return a != a ? b : b != b ? a : both;
}

}  // namespace lamina::hip_emulator
