// Activations in float as exact as float allows, so that they serve float tensors too; no device library.
#pragma once
#include "wave.h"

namespace lamina::hip {

// e^x for -87 <= x <= 88: x log2(e) as a float and its rest.
__device__ inline float exact_exponential(float x) {
  const float whole = x * 1.44269504f, rest = __builtin_fmaf(x, 1.44269504f, -whole) + x * 1.92596299e-8f;
  const float power = __builtin_amdgcn_exp2f(whole);
  return __builtin_fmaf(power, rest * 0.69314718f, power);
}

__device__ inline float exact_sigmoid(float x) {
  const float inside = __builtin_fminf(__builtin_fmaxf(x, -87.0f), 87.0f);
  return precise_reciprocal(1.0f + exact_exponential(-inside));
}

// x (1 + erf(x / sqrt 2)) / 2, from erfc by Abramowitz and Stegun 7.1.26: 1.5e-7 of x at most, and no cancellation far below zero.
__device__ inline float gelu_erf(float x) {
  const float z = __builtin_fminf(__builtin_fabsf(x) * 0.70710678f, 9.0f);
  const float t = precise_reciprocal(__builtin_fmaf(0.3275911f, z, 1.0f));
  float sum = __builtin_fmaf(t, 1.061405429f, -1.453152027f);
  sum = __builtin_fmaf(t, sum, 1.421413741f);
  sum = __builtin_fmaf(t, sum, -0.284496736f);
  sum = __builtin_fmaf(t, sum, 0.254829592f);
  const float half_erfc = 0.5f * t * sum * exact_exponential(-z * z);
  return x * (x < 0 ? half_erfc : 1.0f - half_erfc);
}

}  // namespace lamina::hip
