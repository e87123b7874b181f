// Parameters of any strides and dtypes into the packed bytes that front, gate and back read; the grid's y chooses the linear layer.
#pragma once
#include "hip_job.h"
#include "kernels/hip/panel.h"

namespace lamina::triangle_multiplication {

// The packed row of a channel: 8 projections, then their 8 gates; or place_of(channel).
enum class RowOrder { projection, gate, placed };
__device__ inline int packed_row(RowOrder order, int channel) {
  if (order == RowOrder::placed) return hip::place_of(channel);
  return channel / 8 * 16 + channel % 8 + (order == RowOrder::gate ? 8 : 0);
}

// Where one linear layer goes: its `count` outputs are the part's channels from `first` on; zeros follow up to channel `end`.
struct Destination {
  const HipPart &part;
  RowOrder order;
  int count, first, end;
};

template <class Operand>
__device__ void pack_linear(const Linear &linear, int depth, const Destination &to, char *packed, int thread) {
  constexpr int threads = pack_blocks * pack_threads;
  const View &from = linear.weight, &from_bias = linear.bias;
  const DType dtype = from.dtype;
  Operand *weight = reinterpret_cast<Operand *>(packed + to.part.weight);
  float *bias = reinterpret_cast<float *>(packed + to.part.bias);
  const unsigned whole = static_cast<unsigned>(to.part.depth);
  for (unsigned at = static_cast<unsigned>(thread); at < static_cast<unsigned>(to.end - to.first) * whole; at += threads) {
    const int source = static_cast<int>(at / whole), k = static_cast<int>(at % whole), row = packed_row(to.order, to.first + source);
    float value = 0;
    if (source < to.count && k < depth) value = gpu::load_any(from.data, dtype, source * from.stride[0] + k * from.stride[1]);
    weight[hip::fragment_place(row, k, static_cast<int>(whole))] = gpu::from_float<Operand>(value);
  }
  for (int source = thread; source < to.end - to.first; source += threads) {
    const int channel = to.first + source;
    bias[to.order == RowOrder::placed ? channel : packed_row(to.order, channel)] =
        source < to.count ? gpu::load_or(from_bias, source, 0.0f) : 0.0f;
  }
}

__device__ inline void pack_vector(const View &from, int channels, float *to, int thread) {
  for (int at = thread; at < channels; at += pack_blocks * pack_threads) to[at] = gpu::load_or(from, at, 0.0f);
}

template <class Operand>
__device__ void pack(const HipPackJob &job) {
  const int thread = static_cast<int>(hip::block_x()) * pack_threads + hip::thread_index(), part = static_cast<int>(hip::block_y());
  const HipPackedLayout &layout = job.layout;
  if (part < 4) {  // a's projection and gate, b's
    const bool is_b = part >= 2;
    const Linear &linear = is_b ? (part == 2 ? job.b_projection : job.b_gate) : (part == 0 ? job.a_projection : job.a_gate);
    const Destination to{layout.front, part % 2 ? RowOrder::gate : RowOrder::projection, job.H, is_b ? job.H : 0,
                         is_b ? layout.front.rows / 2 : job.H};
    return pack_linear<Operand>(linear, job.C, to, job.packed, thread);
  }
  if (part == 4)
    return pack_linear<Operand>(job.out_projection, job.H, {layout.out, RowOrder::placed, job.C, 0, layout.out.rows}, job.packed, thread);
  if (part == 5)
    return pack_linear<Operand>(job.out_gate, job.C, {layout.gate, RowOrder::placed, job.gate_width, 0, layout.gate.rows}, job.packed,
                                thread);
  float *norm_in = reinterpret_cast<float *>(job.packed + layout.norm_in),
        *norm_out = reinterpret_cast<float *>(job.packed + layout.norm_out);
  pack_vector(job.norm_in.weight, job.C, norm_in, thread), pack_vector(job.norm_in.bias, job.C, norm_in + job.C, thread);
  pack_vector(job.norm_out.weight, job.H, norm_out, thread), pack_vector(job.norm_out.bias, job.H, norm_out + job.H, thread);
}

}  // namespace lamina::triangle_multiplication
