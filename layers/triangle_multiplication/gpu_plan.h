// What the host decides alike for every GPU build: the dtypes inside a problem, and how many batches go together.
#pragma once
#include "problem.h"

namespace lamina::triangle_multiplication {

// The order of the modes in every list of cuda_kernels.h and hip_kernels.h.
enum class Mode { float32, bfloat16, float16, bfloat16_wide, float16_wide };

// a, b and o stay in float where the attribute asks for it, and where 16 bits would save nothing: sums of few terms and norms of few
// channels do not average rounding errors out.
inline bool wide_planes(const Problem &p) { return p.settings.contraction_fp32 || p.N <= 32 || p.H <= 16; }

inline Mode mode_of(const Problem &p) {
  if (p.dtype == DType::float32) return Mode::float32;
  if (p.dtype == DType::bfloat16) return wide_planes(p) ? Mode::bfloat16_wide : Mode::bfloat16;
  return wide_planes(p) ? Mode::float16_wide : Mode::float16;
}

// Problems this small share their launches: their batches are one group.
constexpr int64_t group_cells = 1 << 20;

constexpr int64_t batches_at_once(const Problem &p, int64_t per_batch) {
  int64_t group = per_batch ? group_cells / per_batch : 1;
  group = group < 1 ? 1 : group > 32768 ? 32768 : group;
  return group < p.B ? group : p.B;
}

inline bool aligned_16(const View &view, int64_t element_bytes) {
  if (!view.present) return true;
  for (int dim = 0; dim < 3; ++dim)
    if (view.stride[dim] * element_bytes % 16) return false;
  return reinterpret_cast<uintptr_t>(view.data) % 16 == 0;
}

// A view of the same tensor from batch `first` on.
inline View from_batch(View view, int64_t first) {
  if (view.present) view.data = static_cast<char *>(view.data) + first * view.stride[0] * static_cast<int64_t>(size_of(view.dtype));
  return view;
}

}  // namespace lamina::triangle_multiplication
