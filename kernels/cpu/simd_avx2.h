// The vector words of kernels/cpu for AVX2 with FMA and F16C: 8 floats, micro tiles of 4 x 16.  simd_avx512.h has the same words.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace lamina::cpu {

using Vector = __m256;
constexpr int width = 8;       // floats of a vector
constexpr int micro_rows = 4;  // 8 accumulators cover the latency of two FMA units; more would spill beside 2 operands and a broadcast
constexpr bool has_pair_dot = false;

inline Vector zero() { return _mm256_setzero_ps(); }
inline Vector splat(float value) { return _mm256_set1_ps(value); }
inline Vector load(const float *from) { return _mm256_loadu_ps(from); }
inline void store(float *to, Vector v) { _mm256_storeu_ps(to, v); }
inline void stream(float *to, Vector v) { _mm256_stream_ps(to, v); }  // 32-byte aligned
inline void stream_fence() { _mm_sfence(); }
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
inline Vector square_root(Vector v) { return _mm256_sqrt_ps(v); }
inline Vector broadcast(const float *from) { return _mm256_broadcast_ss(from); }

inline float sum(Vector v) {
  const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

inline Vector keep_first_lanes(Vector v, int64_t count) {  // any count: 0 or less keeps none, width or more all
  const int32_t kept = static_cast<int32_t>(count < 0 ? 0 : count > width ? width : count);
  const __m256i keep = _mm256_cmpgt_epi32(_mm256_set1_epi32(kept), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  return _mm256_and_ps(v, _mm256_castsi256_ps(keep));
}

// Widths are multiples of 8, so a row has no tail here: `count` is always 8.
inline Vector keep_first(Vector v, int) { return v; }
struct Float32 {
  static constexpr int bytes = 4;
  static Vector load(const void *from, int) { return _mm256_loadu_ps(static_cast<const float *>(from)); }
  static void store(void *to, Vector v, int) { _mm256_storeu_ps(static_cast<float *>(to), v); }
};
struct BFloat16 {
  static constexpr int bytes = 2;
  static Vector load(const void *from, int) {
    const __m128i bits = _mm_loadu_si128(static_cast<const __m128i *>(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  static void store(void *to, Vector v, int) {  // round to nearest even
    const __m256i bits = _mm256_castps_si256(v), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)), wide = _mm256_blendv_epi8(rounded, quiet, nan);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(wide, wide), 0x08);
    _mm_storeu_si128(static_cast<__m128i *>(to), _mm256_castsi256_si128(packed));
  }
};
struct Float16 {
  static constexpr int bytes = 2;
  static Vector load(const void *from, int) { return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i *>(from))); }
  static void store(void *to, Vector v, int) {
    _mm_storeu_si128(static_cast<__m128i *>(to), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
};

// 2 * width consecutive values.
template <class Io>
inline void store_two(Io, void *to, Vector first, Vector second) {
  Io::store(to, first, width), Io::store(static_cast<char *>(to) + width * Io::bytes, second, width);
}

struct FloatProduct {  // a unit is one float; this machine has no dot product of bfloat16 pairs
  static constexpr int per_unit = 1;
  static Vector accumulate(Vector c, Vector a, Vector b) { return _mm256_fmadd_ps(a, b, c); }
};

inline void transpose(Vector (&r)[8]) {
  Vector t[8], u[8];
  for (int i = 0; i < 4; ++i)
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]), t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  for (int i = 0; i < 2; ++i) {
    u[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44), u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
    u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44), u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) r[i] = _mm256_permute2f128_ps(u[i], u[4 + i], 0x20), r[4 + i] = _mm256_permute2f128_ps(u[i], u[4 + i], 0x31);
}

// 1 / (1 + 2^(-x log2 e)), 2e-7 relative.  NaN stays NaN, +-inf give 1 and 0.
struct AccurateSigmoid {
  static Vector of(Vector x) {
    // NaN is the second operand of min and max, so it survives.
    const Vector t = _mm256_max_ps(splat(-126.f), _mm256_min_ps(splat(126.f), x * splat(-1.44269504f)));
    const Vector whole = _mm256_round_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), f = t - whole;
    Vector p = splat(1.5403530e-4f);
    p = multiply_add(p, f, splat(1.3333558e-3f));
    p = multiply_add(p, f, splat(9.6181291e-3f));
    p = multiply_add(p, f, splat(5.5504109e-2f));
    p = multiply_add(p, f, splat(0.24022651f));
    p = multiply_add(p, f, splat(0.69314718f));
    p = multiply_add(p, f, splat(1.f));
    const Vector power = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(whole), _mm256_set1_epi32(127)), 23));
    return splat(1.f) / multiply_add(p, power, splat(1.f));
  }
};

}  // namespace lamina::cpu
