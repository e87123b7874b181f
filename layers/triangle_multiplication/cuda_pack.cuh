// Parameters of any strides and dtypes into the packed bytes that front and back read; blockIdx.y chooses the part.
#pragma once
#include "cuda_job.h"
#include "kernels/gpu/element.cuh"

namespace lamina::triangle_multiplication {

struct PackedRow {  // what row of which linear layer a packed row holds
  const Linear *linear;
  int64_t row;  // -1: padding
  float factor = 1;
};

__device__ inline PackedRow packed_row(const PackJob &job, int part, int64_t row) {
  if (part == 1) return {&job.out_projection, row < job.C ? row : -1};
  if (part == 2) return {&job.out_gate, row < job.gate_width ? row : -1};
  const int64_t channel = row / 16 * 8 + row % 8;
  const bool gate = row % 16 >= 8;
  const float factor = gate ? gate_factor : 1;
  if (channel < job.H) return {gate ? &job.a_gate : &job.a_projection, channel, factor};
  return {gate ? &job.b_gate : &job.b_projection, channel < 2 * job.H ? channel - job.H : -1, factor};
}

template <class Operand>
__device__ void pack_linear(const PackJob &job, int part, int64_t thread, int64_t threads) {
  const PackedLayout &layout = job.layout;
  const int64_t rows = part == 0 ? layout.front_rows : part == 1 ? layout.out_rows : layout.gate_rows;
  const int64_t depth = part == 1 ? job.H : job.C;
  const int64_t weight_at = part == 0 ? layout.front : part == 1 ? layout.out : layout.out_gate;
  const int64_t bias_at = part == 0 ? layout.front_bias : part == 1 ? layout.out_bias : layout.gate_bias;
  Operand *weight = reinterpret_cast<Operand *>(job.packed + weight_at);
  float *bias = reinterpret_cast<float *>(job.packed + bias_at);
  for (int64_t at = thread; at < rows * depth; at += threads) {
    const PackedRow source = packed_row(job, part, at / depth);
    const View &from = source.linear->weight;
    weight[at] = gpu::from_float<Operand>(
        source.row < 0 ? 0.0f
                       : source.factor * gpu::load_any(from.data, from.dtype, source.row * from.stride[0] + at % depth * from.stride[1]));
  }
  for (int64_t at = thread; at < rows; at += threads) {
    const PackedRow source = packed_row(job, part, at);
    const View &from = source.linear->bias;
    bias[at] = source.row < 0 || !from.present ? 0.0f : source.factor * gpu::load_any(from.data, from.dtype, source.row * from.stride[0]);
  }
}

__device__ inline void pack_norm(const Norm &norm, int64_t channels, float *to, int64_t thread, int64_t threads) {
  for (int64_t at = thread; at < 2 * channels; at += threads) {
    const View &from = at < channels ? norm.weight : norm.bias;
    to[at] = from.present ? gpu::load_any(from.data, from.dtype, at % channels * from.stride[0]) : 0.0f;
  }
}

template <class Operand>
__device__ void pack(const PackJob &job) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x,
                threads = static_cast<int64_t>(gridDim.x) * blockDim.x;
  if (blockIdx.y < 3) return pack_linear<Operand>(job, static_cast<int>(blockIdx.y), thread, threads);
  pack_norm(job.norm_in, job.C, reinterpret_cast<float *>(job.packed + job.layout.norm_in), thread, threads);
  pack_norm(job.norm_out, job.H, reinterpret_cast<float *>(job.packed + job.layout.norm_out), thread, threads);
}

}  // namespace lamina::triangle_multiplication
