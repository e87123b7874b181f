// Activations of a vector, and their slopes.  Include after simd_avx512.h or simd_avx2.h.
#pragma once
#include "kernels/common/row_linear.h"

namespace lamina::cpu {

// e^x for x <= 0 to 2e-7 relative; below -87 it fades into zero.  NaN stays NaN.
inline Vector exponential(Vector x) {
  const Vector scaled = x * splat(1.44269504f);
#ifdef __AVX512F__
  const Vector t = _mm512_max_ps(splat(-150.f), scaled), f = _mm512_reduce_ps(t, 8);  // NaN is the second operand, so it survives
#else
  const Vector t = _mm256_max_ps(splat(-126.f), scaled), whole = _mm256_round_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const Vector f = t - whole;
#endif
  Vector p = splat(1.5403530e-4f);  // 2^f on [-1/2, 1/2]
  p = multiply_add(p, f, splat(1.3333558e-3f));
  p = multiply_add(p, f, splat(9.6181291e-3f));
  p = multiply_add(p, f, splat(5.5504109e-2f));
  p = multiply_add(p, f, splat(0.24022651f));
  p = multiply_add(p, f, splat(0.69314718f));
  p = multiply_add(p, f, splat(1.f));
#ifdef __AVX512F__
  return _mm512_scalef_ps(p, t - f);
#else
  return p * _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(whole), _mm256_set1_epi32(127)), 23));
#endif
}

// a >= b ? yes : no, lane by lane; no where a or b is NaN.
inline Vector select_at_least(Vector a, Vector b, Vector yes, Vector no) {
#ifdef __AVX512F__
  return _mm512_mask_mov_ps(no, _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ), yes);
#else
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GE_OQ));
#endif
}

inline Vector magnitude(Vector v) {
#ifdef __AVX512F__
  return _mm512_abs_ps(v);
#else
  return _mm256_andnot_ps(_mm256_set1_ps(-0.f), v);
#endif
}

// The normal distribution: its density at y and its area below y, 2e-7 absolute.  The area's tail is t P(t) exp(-y^2 / 2) with
// t = 1 / (1 + 0.39 |y| / sqrt 2), P of degree 5 fitted to 8e-9 by weighted least squares on [0, 6].
struct NormalPoint {
  Vector area, density;
};
inline NormalPoint normal_point(Vector y) {
  const Vector a = magnitude(y) * splat(0.70710678f), power = exponential(zero() - a * a);
  const Vector t = splat(1.f) / multiply_add(splat(0.39f), a, splat(1.f));
  Vector p = splat(-0.22753702f);
  p = multiply_add(p, t, splat(0.88666397f));
  p = multiply_add(p, t, splat(-0.63539964f));
  p = multiply_add(p, t, splat(0.64955884f));
  p = multiply_add(p, t, splat(0.091388629f));
  p = multiply_add(p, t, splat(0.23532519f));
  const Vector tail = p * t * power * splat(0.5f);
  return {select_at_least(y, zero(), splat(1.f) - tail, tail), power * splat(0.39894228f)};
}

// The other forms are y s(t(y)) with the logistic function s.
template <Activation activation>
inline Vector logistic_argument(Vector y) {
  if constexpr (activation == Activation::gelu_tanh)  // (1 + tanh u) / 2 = s(2 u)
    return y * multiply_add(y * y, splat(2 * 0.79788456f * 0.044715f), splat(2 * 0.79788456f));
  if constexpr (activation == Activation::gelu_sigmoid) return y * splat(1.702f);
  return y;
}

template <Activation activation>
inline Vector activate(Vector y) {
  if constexpr (activation == Activation::none) return y;
  if constexpr (activation == Activation::relu) return select_at_least(zero(), y, zero(), y);
  if constexpr (activation == Activation::gelu_erf) {
    // The argument is held to 20 sigma on both sides, so that an infinity times an area of zero is zero as in the limit.
    return select_at_least(splat(-20.f), y, zero(), y * normal_point(y).area);
  }
  return select_at_least(splat(-200.f), y, zero(), y * AccurateSigmoid::of(logistic_argument<activation>(y)));
}

template <Activation activation>
inline Vector slope(Vector y) {
  if constexpr (activation == Activation::none) return splat(1.f);
  if constexpr (activation == Activation::relu) return select_at_least(zero(), y, zero(), splat(1.f));
  if constexpr (activation == Activation::gelu_erf) {
    const NormalPoint point = normal_point(y);
    return multiply_add(y, point.density, point.area);
  }
  const Vector s = AccurateSigmoid::of(logistic_argument<activation>(y));
  Vector d = splat(activation == Activation::gelu_sigmoid ? 1.702f : 1.f);  // of the logistic function's argument
  if constexpr (activation == Activation::gelu_tanh) d = multiply_add(y * y, splat(6 * 0.79788456f * 0.044715f), splat(2 * 0.79788456f));
  return multiply_add(y * d * s, splat(1.f) - s, s);
}

// Calls use.template operator()<activation>() with the activation as a constant.
template <class F>
auto with_activation(Activation activation, F use) {
  switch (activation) {
    case Activation::relu: return use.template operator()<Activation::relu>();
    case Activation::gelu_erf: return use.template operator()<Activation::gelu_erf>();
    case Activation::gelu_tanh: return use.template operator()<Activation::gelu_tanh>();
    case Activation::gelu_sigmoid: return use.template operator()<Activation::gelu_sigmoid>();
    case Activation::silu: return use.template operator()<Activation::silu>();
    case Activation::none: break;
  }
  return use.template operator()<Activation::none>();
}

}  // namespace lamina::cpu
