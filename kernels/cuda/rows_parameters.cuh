// Parameters of any strides and dtypes into packed bytes, and gradients of parameters out of sums.
#pragma once
#include "rows_norm.cuh"

namespace lamina::cuda {

// Zeros from the end of a piece of packed bytes to the beginning of the next.
__device__ inline void zero_tail(void *piece, int64_t bytes, int64_t thread) {
  const int64_t at = bytes + thread;
  if (at < (bytes + packed_align - 1) / packed_align * packed_align) static_cast<char *>(piece)[at] = 0;
}

// A warp a row of the packed part.
template <class T>
__device__ void pack_part(const PackPart &part, int64_t warp, int64_t warps) {
  const int lane = threadIdx.x % 32;
  for (int64_t packed = warp; packed < part.rows; packed += warps) {
    const PackSource &source = part.source[part.gated && packed % 16 >= 8];
    const int64_t row = part.gated ? packed / 16 * 8 + packed % 8 : packed;
    const auto value = [&](int64_t k) {
      return source.factor *
             gpu::load_any(source.weight.data, source.weight.dtype, row * source.weight.stride[0] + k * source.weight.stride[1]);
    };
    float mean = 0, shift = 0;
    if (part.folded) {
      for (int64_t k = lane; k < part.depth; k += 32) {
        const float w = value(k);
        mean = fmaf(w, gpu::load_or(part.norm_weight, k, 1.0f), mean), shift = fmaf(w, gpu::load_or(part.norm_bias, k, 0.0f), shift);
      }
      mean = over_warp(mean) / static_cast<float>(part.depth), shift = over_warp(shift);
    }
    T *to = reinterpret_cast<T *>(part.weight) + (part.paired ? paired_place(packed) : packed) * part.line;
    for (int64_t k = lane; k < part.line; k += 32) {
      float w = 0;
      if (k < part.depth) w = part.folded ? value(k) * gpu::load_or(part.norm_weight, k, 1.0f) - mean : value(k);
      to[k] = gpu::from_float<T>(w);
    }
    if (lane == 0) part.bias[packed] = shift + source.factor * gpu::load_or(source.bias, row, 0.0f);
  }
}

// blockIdx.y: a part, or behind them the norm's vectors.
template <class T>
__device__ void pack(const PackJob &job) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * row_threads + threadIdx.x,
                threads = static_cast<int64_t>(gridDim.x) * row_threads;
  if (blockIdx.y < pack_parts) {
    const PackPart &part = job.part[blockIdx.y];
    if (!part.weight) return;
    zero_tail(part.weight, part.rows * part.line * static_cast<int64_t>(sizeof(T)), thread);
    zero_tail(part.bias, part.rows * 4, thread);
    return pack_part<T>(part, thread / 32, threads / 32);
  }
  const PackVectors &norm = job.norm;
  if (norm.to) zero_tail(norm.to, 2 * norm.channels * 4, thread);
  for (int64_t at = thread; at < 2 * norm.channels; at += threads) {
    const bool is_bias = at >= norm.channels;
    norm.to[at] = gpu::load_or(is_bias ? norm.bias : norm.weight, at % norm.channels, is_bias ? 0.0f : 1.0f);
  }
}

// blockIdx.y: a gradient; a thread an element: splits are added in their order.
__device__ inline void gather(const GatherJobs &jobs) {
  const GatherJob &job = jobs.job[blockIdx.y];
  const int64_t at = static_cast<int64_t>(blockIdx.x) * row_threads + threadIdx.x;
  if (at >= job.rows * job.columns) return;
  const int64_t row = job.transposed ? at % job.rows : at / job.columns,
                column = job.transposed ? at / job.rows : at % job.columns;  // near threads read near sums
  const int64_t packed = job.group < 0 ? row : row / 8 * 16 + job.group + row % 8;
  const int64_t from_row = job.rows_paired ? paired_place(packed) : packed,
                from_column = job.columns_paired ? paired_place(column) : column;
  const float *from = job.sums + (job.transposed ? from_column * job.line + from_row : from_row * job.line + from_column);
  float sum = 0;
#pragma unroll 16
  for (int split = 0; split < job.splits; ++split) sum += from[split * job.split_stride];
  gpu::store_any(job.to, row * job.to.stride[0] + column * job.to.stride[1], job.factor * sum);
}

}  // namespace lamina::cuda
