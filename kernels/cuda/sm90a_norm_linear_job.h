// What the Hopper kernel of a LayerNorm and a linear map of few columns gets from the host.
#pragma once
#include "sm90a_linear_job.h"

namespace lamina::cuda {

constexpr int norm_linear_weights = 128 * 1024;  // bytes of weights that a CTA keeps
constexpr int norm_linear_passes(int K) { return norm_linear_weights / (K * 128 * 2); }
constexpr int norm_linear_slots(int K) { return K == 128 ? 2 : 1; }
constexpr LaunchShape norm_linear_shape() { return {384, norm_linear_weights + 64 * 1024 + 4 * 8192 + 1024}; }

struct NormLinearJob {
  CUtensorMap x, out;   // [M, K], [M, N]: boxes of 64 x 64
  CUtensorMap weights;  // packed, folded: [N, K], boxes of 128 rows x 64
  const float *bias;    // folded; readable up to the next multiple of 64
  int tiles, columns;   // tiles of 64 rows
  float eps;
};

}  // namespace lamina::cuda
