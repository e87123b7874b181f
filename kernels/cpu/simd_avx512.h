// The vector words of kernels/cpu for AVX-512: 16 floats, micro tiles of 8 x 32.  simd_avx2.h has the same words.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace lamina::cpu {

using Vector = __m512;
constexpr int width = 16;      // floats of a vector
constexpr int micro_rows = 8;  // a micro tile is micro_rows x 2 vectors: 16 accumulators, which is what vdpbf16ps needs
#define LAMINA_PAIR_DOT        // the words `pairs`, `store_pairs` and PairProduct are there
constexpr bool has_pair_dot = true;

inline Vector zero() { return _mm512_setzero_ps(); }
inline Vector splat(float value) { return _mm512_set1_ps(value); }
inline Vector load(const float *from) { return _mm512_loadu_ps(from); }
inline void store(float *to, Vector v) { _mm512_storeu_ps(to, v); }
inline void stream(float *to, Vector v) { _mm512_stream_ps(to, v); }  // 64-byte aligned
inline void stream_fence() { _mm_sfence(); }
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
inline Vector square_root(Vector v) { return _mm512_sqrt_ps(v); }

// One operand in a register of its own: left alone, g++ folds the broadcast into every FMA, and loads bind.
inline Vector broadcast(const float *from) {
  Vector v = _mm512_set1_ps(*from);
  asm("" : "+v"(v));
  return v;
}

inline float sum(Vector v) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  const __m128 two = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

inline __mmask16 first(int count) { return static_cast<__mmask16>((1u << count) - 1); }

inline Vector keep_first_lanes(Vector v, int64_t count) {  // any count: 0 or less keeps none, width or more all
  return _mm512_maskz_mov_ps(static_cast<__mmask16>(count <= 0 ? 0 : count >= 16 ? 0xffff : (1u << count) - 1), v);
}
inline Vector keep_first(Vector v, int count) { return _mm512_maskz_mov_ps(first(count), v); }  // the other lanes become 0

// `count` is 16, or fewer for the tail of a row: nothing beyond is touched, the rest of the vector is 0.
struct Float32 {
  static constexpr int bytes = 4;
  static Vector load(const void *from, int count) { return _mm512_maskz_loadu_ps(first(count), from); }
  static void store(void *to, Vector v, int count) { _mm512_mask_storeu_ps(to, first(count), v); }
};
struct BFloat16 {
  static constexpr int bytes = 2;
  static Vector load(const void *from, int count) {
    const __m256i bits = _mm256_maskz_loadu_epi16(first(count), from);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  // Round to nearest even by integers: every AVX-512 machine can, and denormals survive.
  static __m256i round(Vector v) {
    const __m512i bits = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
    return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), quiet));
  }
  static void store(void *to, Vector v, int count) { _mm256_mask_storeu_epi16(to, first(count), round(v)); }
};
struct Float16 {
  static constexpr int bytes = 2;
  static Vector load(const void *from, int count) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(count), from)); }
  static void store(void *to, Vector v, int count) {
    _mm256_mask_storeu_epi16(to, first(count), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
};

// 2 * width consecutive values.
template <class Io>
inline void store_two(Io, void *to, Vector first, Vector second) {
  Io::store(to, first, width), Io::store(static_cast<char *>(to) + width * Io::bytes, second, width);
}

// Rounds by AVX-512-BF16's own instruction, which makes zeros of denormals: for arithmetic by vdpbf16ps, which does so too.
struct BFloat16ByInstruction : BFloat16 {
  static void store(void *to, Vector v, int count) {
    const __m256bh rounded = _mm512_cvtneps_pbh(v);
    __m256i bits;
    memcpy(&bits, &rounded, sizeof bits);
    _mm256_mask_storeu_epi16(to, first(count), bits);
  }
};

// 32 consecutive values in 16 bits each.
inline Vector join(Vector first, Vector second) { return (Vector)_mm512_cvtne2ps_pbh(second, first); }
inline void store_two(BFloat16ByInstruction, void *to, Vector first, Vector second) {
  store(static_cast<float *>(to), join(first, second));
}

// What `pairs` joins: both bfloat16 of each unit, as floats.
inline void split_pairs(Vector units, Vector &even, Vector &odd) {
  const __m512i bits = _mm512_castps_si512(units);
  even = _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
  odd = _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
}

// The low half of each 32-bit unit from `even`, the high half from `odd`, both rounded to bfloat16.
inline Vector pairs(Vector even, Vector odd) {
  alignas(64) static constexpr uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512bh both = _mm512_cvtne2ps_pbh(odd, even);
  __m512i bits;
  memcpy(&bits, &both, sizeof bits);
  return _mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_load_si512(order), bits));
}
// 16 consecutive values as 8 pair units.
inline void store_pairs(float *to, Vector v) {
  const __m256bh rounded = _mm512_cvtneps_pbh(v);
  memcpy(to, &rounded, sizeof rounded);
}

struct FloatProduct {  // a unit is one float
  static constexpr int per_unit = 1;
  static Vector accumulate(Vector c, Vector a, Vector b) { return _mm512_fmadd_ps(a, b, c); }
};
struct PairProduct {  // a unit is two bfloat16: AVX-512-BF16 only
  static constexpr int per_unit = 2;
  static Vector accumulate(Vector c, Vector a, Vector b) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }
};

inline __attribute__((always_inline)) void transpose(Vector (&r)[16]) {
  Vector t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 4; ++i) {
    const __m512d a = _mm512_castps_pd(t[4 * i]), b = _mm512_castps_pd(t[4 * i + 1]);
    const __m512d c = _mm512_castps_pd(t[4 * i + 2]), d = _mm512_castps_pd(t[4 * i + 3]);
    r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
    r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
  }
#pragma GCC unroll 16
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0x88);
    r[8 + i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0xdd);
    r[4 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0x88);
    r[12 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0xdd);
  }
}

// 1 / (1 + 2^(-x log2 e)).  NaN stays NaN, +-inf give 1 and 0.
struct AccurateSigmoid {  // 2e-7 relative: degree 6 on [-1/2, 1/2], one Newton step
  static Vector of(Vector x) {
    const Vector t = _mm512_min_ps(splat(126.f), _mm512_mul_ps(x, splat(-1.44269504f)));  // NaN is the second operand, so it survives
    const Vector f = _mm512_reduce_ps(t, 8);
    Vector p = splat(1.5403530e-4f);
    p = multiply_add(p, f, splat(1.3333558e-3f));
    p = multiply_add(p, f, splat(9.6181291e-3f));
    p = multiply_add(p, f, splat(5.5504109e-2f));
    p = multiply_add(p, f, splat(0.24022651f));
    p = multiply_add(p, f, splat(0.69314718f));
    p = multiply_add(p, f, splat(1.f));
    const Vector d = _mm512_scalef_ps(p, t - f) + splat(1.f), r = _mm512_rcp14_ps(d);
    return r * _mm512_fnmadd_ps(d, r, splat(2.f));
  }
};
struct ShortSigmoid {  // 1.1e-4 relative, for 16-bit results: degree 3 on [0, 1), vscalefps floors its exponent itself
  static Vector of(Vector x) {
    const Vector t = x * splat(-1.44269504f), f = _mm512_reduce_ps(t, 9);
    Vector p = splat(7.802387050e-02f);
    p = multiply_add(p, f, splat(2.260669260e-01f));
    p = multiply_add(p, f, splat(6.958342504e-01f));
    p = multiply_add(p, f, splat(9.999250774e-01f));
    return _mm512_rcp14_ps(_mm512_scalef_ps(p, t) + splat(1.f));
  }
};

}  // namespace lamina::cpu
