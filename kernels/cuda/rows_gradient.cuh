// Gradients through activations, element by element.
#pragma once
#include "activation.cuh"
#include "rows_norm.cuh"

namespace lamina::cuda {

template <class T>
__device__ void activation_gradient(const ActivationGradientJob &job) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * row_threads + threadIdx.x, row = at / job.columns;
  const int column = static_cast<int>(at % job.columns);
  if (row >= job.rows) return;
  float gradient = element<T>(job.gradient, job.gradient_is_float, row * job.gradient_line + column);
  if (job.row_mask.present) gradient *= gpu::load_any(job.row_mask.data, job.row_mask.dtype, row * job.row_mask.stride[0]);
  T *out = static_cast<T *>(job.out) + row * job.out_line;
  const auto before_at = [&](int c) { return element<T>(job.before, job.before_is_float, row * job.before_line + c); };
  float hidden;
  if (job.gated) {
    const int gate_at = column / 8 * 16 + column % 8;
    const float gate = before_at(gate_at), value = before_at(gate_at + 8);
    const float opened = activate(Activation::silu, gate);
    out[gate_at] = gpu::from_float<T>(gradient * value * activation_slope(Activation::silu, gate));
    out[gate_at + 8] = gpu::from_float<T>(gradient * opened);
    hidden = opened * value;
  } else {
    const float before = job.before ? before_at(column) : 0.0f;
    out[column] = gpu::from_float<T>(gradient * activation_slope(job.activation, before));
    hidden = activate(job.activation, before);
  }
  if (job.hidden) static_cast<T *>(job.hidden)[row * job.hidden_line + column] = gpu::from_float<T>(hidden);
}

}  // namespace lamina::cuda
