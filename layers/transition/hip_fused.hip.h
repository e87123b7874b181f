// The transition in one kernel: hidden channels never leave the workgroup.  16-bit rows of up to 256 channels, gated.
//
// Rows are normalised into a panel in LDS once.  Then, chunk by chunk of hidden channels, each wave multiplies the panel with its gates
// and values, puts their products into a second panel, and adds that panel times its part of the outputs' weights to its sums.
#pragma once
#include "hip_job.h"
#include "kernels/hip/panel.h"
#include "kernels/hip/rows_product.hip.h"

namespace lamina::transition {

using gpu::Eight, gpu::from_float, gpu::to_float;

// 64 rows into the panel, normalised if there is a norm, zeros behind their channels; 16 lanes a row, that nobody else needs before.
template <class T>
__device__ void load_rows(const hip::ProductJob &job, int64_t first, T *panel, int line) {
  const hip::MeanOver16 mean_over(job.depth);
  const int lane = hip::thread_index() % 16;
  for (int at = hip::thread_index() / 16; at < fused_rows; at += hip::rows_threads / 16) {
    const T *row = hip::row_of<T>(job, first + at);
    gpu::Moments moments{};
    if (job.norm_weight) moments = gpu::row_moments<16>(row, job.depth, job.x_aligned, lane, job.eps, mean_over, hip::reciprocal_root);
    for (int k = lane * 8; k < job.line; k += 16 * 8) {
      float x[8] = {};
      if (k < job.depth) {  // whole eights
        const Eight<T> eight = gpu::load_eight(row + k, job.x_aligned);
#pragma unroll
        for (int e = 0; e < 8; ++e) x[e] = to_float(eight.value[e]);
        if (job.norm_weight) gpu::normalise(x, moments, job.norm_weight + k, job.norm_bias + k);
      }
      Eight<T> result;
#pragma unroll
      for (int e = 0; e < 8; ++e) result.value[e] = from_float<T>(x[e]);
      gpu::store_eight(panel + at * line + k, result, true);
    }
  }
}

// This wave's hidden channels of a chunk, from the panel of rows to the panel of hidden channels; both barriers are the workgroup's.
template <class T, int blocks>
__device__ void hide(const FusedJob &job, int chunk, const T *panel, int line, T *hidden, int hidden_line) {
  constexpr int columns = fused_rows / hip::mma_lines;
  const int groups = job.rows.line / hip::mma_depth, block_size = groups * hip::fragment_group;
  const int row = chunk * 2 * fused_chunk(blocks) + hip::wave_index() * blocks * 32;  // of gates and values
  hip::PanelSums<blocks, columns> sums;
  sums.multiply(
      static_cast<const T *>(job.hidden_weight) + static_cast<int64_t>(row / 32) * block_size + hip::lane_index() * hip::lane_depth,
      block_size, groups, panel, line);
  hip::barrier();  // nobody reads the chunk before
#pragma unroll
  for (int r = 0; r < blocks; ++r) {
    const float *bias = job.hidden_bias + row + r * 32 + hip::lane_half() * 16;
    const Eight<float> gate_bias = gpu::load_eight(bias, true), value_bias = gpu::load_eight(bias + 8, true);
    const int channel = (hip::wave_index() * blocks + r) * 16 + hip::lane_half() * 8;
#pragma unroll
    for (int c = 0; c < columns; ++c) {
      Eight<T> h;
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const float gate = sums.at[r][c][e] + gate_bias.value[e];
        h.value[e] = from_float<T>(gate * gpu::sigmoid(gate) * (sums.at[r][c][8 + e] + value_bias.value[e]));
      }
      gpu::store_eight(hidden + (c * 32 + hip::lane_line()) * hidden_line + channel, h, true);
    }
  }
  hip::barrier();
}

template <class T, int blocks>
__device__ __attribute__((always_inline)) void fused(const FusedJob &job) {
  constexpr int columns = fused_rows / hip::mma_lines, hidden_line = fused_line(fused_chunk(blocks));
  extern __shared__ __attribute__((aligned(16))) char dynamic[];
  const int line = fused_line(job.rows.depth);
  T *panel = reinterpret_cast<T *>(dynamic), *hidden = panel + fused_rows * line;
  const int64_t first = static_cast<int64_t>(hip::block_x()) * fused_rows;
  load_rows(job.rows, first, panel, line);
  hip::barrier();

  hip::PanelSums<blocks, columns> sums;
  const int block_size = job.hidden * 32, channel = hip::wave_index() * blocks * 32;
  const T *weight =
      static_cast<const T *>(job.out_weight) + static_cast<int64_t>(channel / 32) * block_size + hip::lane_index() * hip::lane_depth;
  const bool busy = channel < job.rows.outputs;
  for (int chunk = 0; chunk * fused_chunk(blocks) < job.hidden; ++chunk) {
    hide<T, blocks>(job, chunk, panel, line, hidden, hidden_line);
    if (busy)
      sums.multiply(weight + chunk * fused_chunk(blocks) * 32, block_size, fused_chunk(blocks) / hip::mma_depth, hidden, hidden_line);
  }

  if (!busy) return;
#pragma unroll
  for (int c = 0; c < columns; ++c) {
    const int64_t row = first + c * 32 + hip::lane_line();
    if (row >= job.rows.rows) continue;
    float factor = 1;
    if (job.rows.row_mask.present)
      factor = gpu::load_any(job.rows.row_mask.data, job.rows.row_mask.dtype, row * job.rows.row_mask.stride[0]);
#pragma unroll
    for (int r = 0; r < blocks; ++r)
      hip::finish_sums<T, hip::After::linear>(job.rows, sums.at[r][c], row, channel + r * 32 + hip::lane_half() * 16, factor);
  }
}

}  // namespace lamina::transition
