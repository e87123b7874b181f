// Parameters of any strides and dtypes into the packed bytes that front and back read; blockIdx.y chooses the part.
#pragma once
#include "cuda_operands.cuh"

namespace lamina::triangle_multiplication {

struct PackedRow {  // what row of which linear layer a packed row holds
  const Linear *linear;
  int64_t row;  // -1: padding
  float factor = 1;
};

enum class Part { front, out, out_gate };

__device__ inline PackedRow packed_row(const PackJob &job, Part part, int64_t row) {
  if (part == Part::out) return {&job.out_projection, row < job.C ? row : -1};
  if (part == Part::out_gate) return {&job.out_gate, row < job.gate_width ? row : -1};
  const int64_t channel = row / 16 * 8 + row % 8;
  const bool gate = row % 16 >= 8;
  const float factor = gate ? gate_factor : 1;
  if (channel < job.H) return {gate ? &job.a_gate : &job.a_projection, channel, factor};
  return {gate ? &job.b_gate : &job.b_projection, channel < 2 * job.H ? channel - job.H : -1, factor};
}

// The neighbour of a 16-bit number upwards or downwards; 0 stays.
template <class Operand>
__device__ Operand next_to(Operand x, bool up) {
  uint16_t bits = __builtin_bit_cast(uint16_t, x);
  if (!(bits & 0x7fff)) return x;
  bits = static_cast<uint16_t>(bits + ((bits >> 15 != 0) == up ? -1 : 1));
  return __builtin_bit_cast(Operand, bits);
}

// A row that sums to zero shall do so when it is rounded, too: what is left is multiplied by the mean of the rows that this is multiplied
// with.  `missing` is what rounding took from a lane's numbers; as many lanes as it needs, in their order, give their first one a step.
template <class Operand>
__device__ Operand balanced(Operand first, float missing) {
  missing = Row<32>::over_lanes(missing);
  const Operand moved = next_to(first, missing > 0);
  const float step = fabsf(gpu::to_float(moved) - gpu::to_float(first));
  float before = 0;  // steps of the lanes before this one
  for (int lane = 0; lane < 32; ++lane) {
    const float other = __shfl_sync(~0u, step, lane);
    if (lane < static_cast<int>(threadIdx.x % 32)) before += other;
  }
  return before + step / 2 < fabsf(missing) ? moved : first;
}

// A warp a row.  norm: the LayerNorm to fold in, or null.
template <class Operand>
__device__ void pack_linear(const PackJob &job, Part which, const PackedPart &part, const Norm *norm, int64_t warp, int64_t warps) {
  Operand *weight = reinterpret_cast<Operand *>(job.packed + part.weight);
  float *bias = reinterpret_cast<float *>(job.packed + part.bias);
  const int lane = threadIdx.x % 32;
  for (int64_t row = warp; row < part.rows; row += warps) {
    const PackedRow source = packed_row(job, which, row);
    const View &from = source.linear->weight, &from_bias = source.linear->bias;
    const auto value = [&](int64_t k) {
      return source.row < 0 ? 0.0f : source.factor * gpu::load_any(from.data, from.dtype, source.row * from.stride[0] + k * from.stride[1]);
    };
    const auto of_norm = [&](const View &view, int64_t k) { return gpu::load_any(view.data, view.dtype, k * view.stride[0]); };
    float mean = 0, shift = 0;
    if (norm) {
      for (int64_t k = lane; k < part.depth; k += 32)
        mean += value(k) * of_norm(norm->weight, k), shift += value(k) * of_norm(norm->bias, k);
      mean = Row<32>::over_lanes(mean) / static_cast<float>(part.depth), shift = Row<32>::over_lanes(shift);
    }
    float missing = 0;
    Operand first{};
    for (int64_t k = lane; k < part.depth; k += 32) {
      const float exact = norm ? value(k) * of_norm(norm->weight, k) - mean : value(k);
      const Operand rounded = gpu::from_float<Operand>(exact);
      weight[row * part.depth + k] = rounded, missing += exact - gpu::to_float(rounded);
      if (k == lane) first = rounded;
    }
    if constexpr (sizeof(Operand) == 2)  // folded parts are 128 wide at least: every lane has a number
      if (norm) weight[row * part.depth + lane] = balanced(first, missing);
    if (lane > 0) continue;
    const bool present = source.row >= 0 && from_bias.present;
    bias[row] = shift + (present ? source.factor * gpu::load_any(from_bias.data, from_bias.dtype, source.row * from_bias.stride[0]) : 0.0f);
  }
}

__device__ inline void pack_norm(const Norm &norm, int64_t channels, float *to, int64_t thread, int64_t threads) {
  for (int64_t at = thread; at < 2 * channels; at += threads) {
    to[at] = gpu::load_or(at < channels ? norm.weight : norm.bias, at % channels, 0.0f);
  }
}

template <class Operand>
__device__ void pack(const PackJob &job) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x,
                threads = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t warp = thread / 32, warps = threads / 32;
  const PackedLayout &layout = job.layout;
  switch (blockIdx.y) {
    case 0: return pack_linear<Operand>(job, Part::front, layout.front, nullptr, warp, warps);
    case 1: return pack_linear<Operand>(job, Part::out, layout.out, nullptr, warp, warps);
    case 2: return pack_linear<Operand>(job, Part::out_gate, layout.out_gate, nullptr, warp, warps);
    case 3: return pack_linear<Operand>(job, Part::front, layout.folded_front, &job.norm_in, warp, warps);
    case 4: return pack_linear<Operand>(job, Part::out, layout.folded_out, &job.norm_out, warp, warps);
    case 5: return pack_linear<Operand>(job, Part::out_gate, layout.folded_gate, &job.norm_in, warp, warps);
    default:
      pack_norm(job.norm_in, job.C, reinterpret_cast<float *>(job.packed + layout.norm_in), thread, threads);
      pack_norm(job.norm_out, job.H, reinterpret_cast<float *>(job.packed + layout.norm_out), thread, threads);
  }
}

}  // namespace lamina::triangle_multiplication
