// LayerNorm of rows of floats, 16 lanes a row; and parameters of any strides and dtypes into packed bytes.
#pragma once
#include "panel.h"
#include "rows_product.hip.h"

namespace lamina::hip {

template <class T>
__device__ void norm(const NormJob &job) {
  const int64_t row = static_cast<int64_t>(block_x()) * (rows_threads / 16) + thread_index() / 16;
  if (row >= job.rows) return;
  const float *x = job.x + row * job.line;
  const int lane = thread_index() % 16;
  const gpu::Moments moments = gpu::row_moments<16>(x, job.channels, true, lane, job.eps, MeanOver16(job.channels), reciprocal_root);
  for (int channel = lane * 8; channel < job.channels; channel += 16 * 8) {  // line and vectors are padded to eights
    Eight<float> u = gpu::load_eight(x + channel, true);
    gpu::normalise(u.value, moments, job.weight + channel, job.bias + channel);
    store_some<T>(job.out, row * job.out.stride[0] + channel, u.value, job.out_aligned, job.channels - channel);
  }
}

template <class T>
__device__ void pack_part(const PackPart &part) {
  const int blocks = rows_pack_blocks;
  for (int64_t row = block_x(); row < part.padded_rows; row += blocks) {
    const PackSource &source = part.source[part.gated && row % 16 >= 8];
    const int64_t from = part.gated ? row / 16 * 8 + row % 8 : row;
    T *to = static_cast<T *>(part.weight);
    const int64_t placed = row / mma_lines * mma_lines + place_of(static_cast<int>(row % mma_lines));
    for (int k = thread_index(); k < part.line; k += rows_threads) {
      const bool there = row < part.rows && k < part.depth;
      to[part.fragments ? fragment_place(placed, k, part.line) : row * part.line + k] = from_float<T>(
          there ? gpu::load_any(source.weight.data, source.weight.dtype, from * source.weight.stride[0] + k * source.weight.stride[1])
                : 0.0f);
    }
    if (thread_index() == 0) { part.bias[row] = row < part.rows ? gpu::load_or(source.bias, from, 0.0f) : 0.0f; }
  }
}

// The grid's y: a part, or behind them the norm's vectors.
template <class T>
__device__ void pack_rows(const RowsPackJob &job) {
  if (block_y() < pack_parts) return pack_part<T>(job.part[block_y()]);
  const PackVectors &norm = job.norm;
  if (!norm.to) return;
  for (int at = static_cast<int>(block_x()) * rows_threads + thread_index(); at < 2 * norm.padded; at += rows_pack_blocks * rows_threads) {
    const bool is_bias = at >= norm.padded;
    const int channel = is_bias ? at - norm.padded : at;
    const bool there = channel < norm.channels;
    norm.to[at] = there ? gpu::load_or(is_bias ? norm.bias : norm.weight, channel, is_bias ? 0.0f : 1.0f) : 0.0f;
  }
}

}  // namespace lamina::hip
