// Activations and their derivatives in float, exact to a few units of its last place, for every dtype.
#pragma once
#include "kernels/common/row_linear.h"
#include "kernels/gpu/element.cuh"

namespace lamina::cuda {

// Also far from zero: exp may become infinite, and the quotient 0.
__device__ inline float exact_sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

__device__ inline float activate(Activation activation, float y) {
  switch (activation) {
    case Activation::none: return y;
    case Activation::relu: return y < 0 ? 0.0f : y;  // a NaN stays one
    case Activation::gelu_erf: return 0.5f * y * (1.0f + erff(y * 0.70710678f));
    case Activation::gelu_tanh: return 0.5f * y * (1.0f + tanhf(0.79788456f * fmaf(0.044715f * y * y, y, y)));
    case Activation::gelu_sigmoid: return y * exact_sigmoid(1.702f * y);
    case Activation::silu: return y * exact_sigmoid(y);
  }
  return 0;
}

__device__ inline float activation_slope(Activation activation, float y) {
  switch (activation) {
    case Activation::none: return 1;
    case Activation::relu: return y > 0 ? 1.0f : 0.0f;
    case Activation::gelu_erf: return 0.5f * (1.0f + erff(y * 0.70710678f)) + y * 0.39894228f * expf(-0.5f * y * y);
    case Activation::gelu_tanh: {
      const float t = tanhf(0.79788456f * fmaf(0.044715f * y * y, y, y));
      return 0.5f * (1.0f + t) + 0.5f * y * (1.0f - t * t) * 0.79788456f * fmaf(3 * 0.044715f * y, y, 1.0f);
    }
    case Activation::gelu_sigmoid: {
      const float s = exact_sigmoid(1.702f * y);
      return s + 1.702f * y * s * (1.0f - s);
    }
    case Activation::silu: {
      const float s = exact_sigmoid(y);
      return s + y * s * (1.0f - s);
    }
  }
  return 0;
}

}  // namespace lamina::cuda
