// The backward's steps that are no matrix products: rows of tensors into planes and back through their LayerNorm, the LayerNorm of o, sums
// over cells, and parameters' gradients from partial sums.  No atomics: every sum has one order, so results are the same bits each time.
#pragma once
#include "cuda_backward_job.h"
#include "cuda_backward_product.cuh"
#include "cuda_operands.cuh"

namespace lamina::triangle_multiplication {

__device__ inline void load_row(Row<32> &row, const View &view, int64_t offset, int channels, bool aligned) {
  const auto load = [&]<class Io>(Io) { row.load(static_cast<const Io *>(view.data) + offset, channels, aligned); };
  if (view.dtype == DType::float32) load(float{});
  else if (view.dtype == DType::bfloat16) load(bfloat16{});
  else load(float16{});
}

template <class T>
__device__ void rows_to_planes(const RowsJob &job) {
  extern __shared__ __align__(128) char dynamic[];
  T *tile = reinterpret_cast<T *>(dynamic);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, line = turned_line(job.channels, sizeof(T));
  const int64_t first = static_cast<int64_t>(blockIdx.x) * cells_of_tile;
  for (int at = warp; at < cells_of_tile; at += rows_warps) {
    const Cell cell(job.cells, first + at);
    Row<32> row{};
    gpu::Moments of_row{0, 0};
    if (cell.inside) {
      load_row(row, job.rows, cell.offset(job.rows), job.channels, job.aligned);
      if (job.dropout_mask.present)
        Row<32>::for_groups(job.channels, [&](int group, int channel) {
          for (int e = 0; e < 8; ++e)
            row.x[group][e] *= gpu::load_any(job.dropout_mask.data, job.dropout_mask.dtype,
                                             cell.offset(job.dropout_mask) + (channel + e) * job.dropout_mask.stride[3]);
        });
      if (job.norm.weight) {
        of_row = row.moments(job.channels, job.norm.eps);
        Row<32>::for_groups(job.channels, [&](int group, int channel) {
          gpu::normalise(row.x[group], of_row, job.norm.weight + channel, job.norm.bias + channel);
        });
      }
    }
    Row<32>::for_groups(job.channels, [&](int group, int channel) {
      for (int e = 0; e < 8; ++e) tile[at * line + channel + e] = from_float<T>(row.x[group][e]);
    });
    if (lane > 0 || first + at >= job.cells.count) continue;
    if (job.mask) job.mask[first + at] = cell.inside ? mask_of(job.pair_mask, job.token_mask, cell) : 0.0f;
    if (job.statistics) job.statistics[first + at] = {of_row.mean, of_row.scale};
  }
  __syncthreads();
  if (first + lane >= job.cells.count) return;
  T *plane = static_cast<T *>(job.planes) + first + lane;
  for (int channel = warp; channel < job.channels; channel += rows_warps) plane[channel * job.cells.count] = tile[lane * line + channel];
}

// Each lane a cell, each warp every eighth channel: sums of `warps` partial values in a fixed order.
__device__ inline float over_warps(float value, float (&shared)[rows_warps][32]) {
  __syncthreads();
  shared[threadIdx.x / 32][threadIdx.x % 32] = value;
  __syncthreads();
  float sum = 0;
  for (int warp = 0; warp < rows_warps; ++warp) sum += shared[warp][threadIdx.x % 32];
  return sum;
}

template <class T>
__device__ void normalise_planes(const NormOutJob &job) {
  __shared__ float shared[rows_warps][32];
  const int warp = threadIdx.x / 32, channels = job.norm.channels;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * cells_of_tile + threadIdx.x % 32, count = job.cells.count;
  const bool inside = Cell(job.cells, at).inside;
  const T *o = static_cast<const T *>(job.o) + (inside ? at : 0);
  const auto value = [&](int channel) {
    const float x = to_float(o[channel * count]);
    return inside ? x : 0.0f;
  };
  const auto each = [&](auto use) {
    for (int channel = warp; channel < channels; channel += rows_warps) use(value(channel));
  };
  const auto mean_over = [&](float sum) { return over_warps(sum, shared) / static_cast<float>(channels); };
  const gpu::Moments of_cell = gpu::moments_of(job.norm.eps, each, each, mean_over, reciprocal_root);
  if (at >= count) return;
  if (warp == 0) job.statistics[at] = inside ? CellStatistics{of_cell.mean, of_cell.scale} : CellStatistics{0, 0};
  if (!job.normalised) return;
  T *to = static_cast<T *>(job.normalised) + at;
  for (int channel = warp; channel < channels; channel += rows_warps)
    to[channel * count] =
        from_float<T>(inside ? gpu::normalised(value(channel), of_cell, job.norm.weight[channel], job.norm.bias[channel]) : 0.0f);
}

__device__ inline float over_warp(float value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  return value;
}

// A block's own sums of each channel's two parameters, kept in shared memory while it walks over its tiles, then written or added.
__device__ inline void write_channel_sums(const float *sums, int channels, float *partial, bool add) {
  __syncthreads();
  float *to = partial + static_cast<int64_t>(blockIdx.x) * 2 * channels;
  for (int at = threadIdx.x; at < 2 * channels; at += rows_threads) to[at] = add ? to[at] + sums[at] : sums[at];
}

template <class T>
__device__ void norm_out_backward(const NormOutBackwardJob &job) {
  extern __shared__ __align__(128) char dynamic[];
  __shared__ float shared[rows_warps][32];
  float *sums = reinterpret_cast<float *>(dynamic);  // [2][channels]; a channel belongs to one warp
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, channels = job.norm.channels;
  const int64_t count = job.cells.count;
  for (int at = threadIdx.x; at < 2 * channels; at += rows_threads) sums[at] = 0;
  __syncthreads();
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * cells_of_tile; first < count;
       first += static_cast<int64_t>(gridDim.x) * cells_of_tile) {
    const int64_t at = first + lane;
    const bool inside = Cell(job.cells, at).inside;
    const gpu::Moments of_cell = inside ? moments_of(job.statistics[at]) : gpu::Moments{0, 0};
    T *o = static_cast<T *>(job.o) + at;
    const T *gradient = static_cast<const T *>(job.gradient) + at;
    float slope = 0, along = 0;
    for (int channel = warp; channel < channels; channel += rows_warps) {
      const float d = inside ? to_float(gradient[channel * count]) : 0.0f;
      const float hat = inside ? gpu::standardised(to_float(o[channel * count]), of_cell) : 0.0f, weight = job.norm.weight[channel];
      slope = fmaf(d, weight, slope), along = fmaf(d * weight, hat, along);
      const float weight_sum = over_warp(d * hat), bias_sum = over_warp(d);
      if (lane == 0) sums[channel] += weight_sum, sums[channels + channel] += bias_sum;
    }
    slope = over_warps(slope, shared) / static_cast<float>(channels);
    along = over_warps(along, shared) / static_cast<float>(channels);
    if (!inside) continue;
    for (int channel = warp; channel < channels; channel += rows_warps) {
      const float hat = gpu::standardised(to_float(o[channel * count]), of_cell);
      const float d = to_float(gradient[channel * count]) * job.norm.weight[channel];
      o[channel * count] = from_float<T>(gpu::input_gradient(d, hat, of_cell.scale, slope, along));
    }
  }
  write_channel_sums(sums, channels, job.partial, job.add);
}

template <class T>
__device__ void pair_gradient(const PairGradientJob &job) {
  extern __shared__ __align__(128) char dynamic[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, channels = job.channels, line = turned_line(channels, sizeof(T));
  T *tile = reinterpret_cast<T *>(dynamic);
  const int64_t count = job.cells.count;
  Row<32> weight_sums{}, bias_sums{};
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * cells_of_tile; first < count;
       first += static_cast<int64_t>(gridDim.x) * cells_of_tile) {
    __syncthreads();
    if (first + lane < count) {
      const T *plane = static_cast<const T *>(job.gradient) + first + lane;
      for (int channel = warp; channel < channels; channel += rows_warps) tile[lane * line + channel] = plane[channel * count];
    }
    __syncthreads();
    for (int at = warp; at < cells_of_tile; at += rows_warps) {
      const Cell cell(job.cells, first + at);
      if (!cell.inside) continue;
      Row<32> dz{}, hat{};
      Row<32>::for_groups(channels, [&](int group, int channel) {
        for (int e = 0; e < 8; ++e) dz.x[group][e] = to_float(tile[at * line + channel + e]);
      });
      if (job.norm.weight) {
        load_row(hat, job.pair, cell.offset(job.pair), channels, job.pair_aligned);
        const gpu::Moments of_row = moments_of(job.statistics[first + at]);
        float slope = 0, along = 0;
        Row<32>::for_groups(channels, [&](int group, int channel) {
          for (int e = 0; e < 8; ++e) {
            float &h = hat.x[group][e], &d = dz.x[group][e];
            h = gpu::standardised(h, of_row);
            weight_sums.x[group][e] = fmaf(d, h, weight_sums.x[group][e]), bias_sums.x[group][e] += d;
            d *= job.norm.weight[channel + e];
            slope += d, along = fmaf(d, h, along);
          }
        });
        slope = Row<32>::over_lanes(slope) / static_cast<float>(channels);
        along = Row<32>::over_lanes(along) / static_cast<float>(channels);
        Row<32>::for_groups(channels, [&](int group, int) {
          for (int e = 0; e < 8; ++e) dz.x[group][e] = gpu::input_gradient(dz.x[group][e], hat.x[group][e], of_row.scale, slope, along);
        });
      }
      if (!job.out.present) continue;
      const int64_t offset = cell.offset(job.out);
      const auto store = [&]<class Io>(Io) {
        Row<32>::for_groups(channels, [&](int group, int channel) {
          for (int e = 0; e < 8; ++e) static_cast<Io *>(job.out.data)[offset + channel + e] = from_float<Io>(dz.x[group][e]);
        });
      };
      if (job.out.dtype == DType::float32) store(float{});
      else if (job.out.dtype == DType::bfloat16) store(bfloat16{});
      else store(float16{});
    }
  }
  if (!job.partial) return;
  float *sums = reinterpret_cast<float *>(dynamic);  // [2][channels]; warp after warp adds its own
  for (int turn = 0; turn < rows_warps; ++turn) {
    __syncthreads();
    if (warp != turn) continue;
    Row<32>::for_groups(channels, [&](int group, int channel) {
      for (int e = 0; e < 8; ++e) {
        float *weight = sums + channel + e, *bias = weight + channels;
        *weight = weight_sums.x[group][e] + (turn ? *weight : 0), *bias = bias_sums.x[group][e] + (turn ? *bias : 0);
      }
    });
  }
  write_channel_sums(sums, channels, job.partial, job.add);
}

template <class T>
__device__ void sum_planes(const SumJob &job) {
  __shared__ float shared[rows_warps];
  const int64_t first = blockIdx.y * job.split, left = job.cells - first, count = left < job.split ? left : job.split;
  const T *plane = static_cast<const T *>(job.planes) + blockIdx.x * job.cells + first;
  float sum = 0;
  for (int64_t at = threadIdx.x * 8; at < count; at += rows_threads * 8) {  // cells and splits are multiples of 8
    const Eight<T> eight = gpu::load_eight(plane + at, true);
    for (int e = 0; e < 8; ++e) sum += to_float(eight.value[e]);
  }
  sum = over_warp(sum);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int warp = 1; warp < rows_warps; ++warp) sum += shared[warp];
  float &to = job.partial[static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x];
  to = job.add ? to + sum : sum;
}

__device__ inline void finish_parameters(const FinishJob &job) {
  const FinishItem &item = job.item[blockIdx.y];
  const int total = item.rows * item.columns;
  for (int at = blockIdx.x * rows_threads + threadIdx.x; at < total; at += gridDim.x * rows_threads) {
    const int row = at / item.columns, column = at % item.columns;
    const int from = item.first + (item.group ? row / 8 * 16 + row % 8 : row);
    float sum = 0;
    for (int part = 0; part < item.count; ++part)
      sum += item.partial[part * item.step + static_cast<int64_t>(from) * item.columns + column];
    gpu::store_any(item.out, row * item.out.stride[0] + column * item.out.stride[1], sum * item.factor);
  }
}

__device__ inline void copy_rows(const CopyJob &job) {
  const int64_t total = job.cells.count * job.channels, step = static_cast<int64_t>(gridDim.x) * rows_threads;
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * rows_threads + threadIdx.x; at < total; at += step) {
    const int64_t position = at / job.channels;
    const Cell cell(job.cells, position);
    if (!cell.inside) continue;
    const int64_t channel = at - position * job.channels;
    const float value = gpu::load_any(job.from.data, job.from.dtype, cell.offset(job.from) + channel);
    gpu::store_any(job.to, cell.offset(job.to) + channel, value);
  }
}

}  // namespace lamina::triangle_multiplication
