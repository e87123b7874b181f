// What stands between sums and memory at both ends of the layer, for the CUDA and the HIP compiler.
#pragma once
#include "gpu_cell.cuh"

namespace lamina::triangle_multiplication {

// An element of a or b.  The padding of a row is zero by choice, not by product: it meets the other operand's padding in the contraction.
__device__ inline float gated(float value, float gate, float mask, bool inside) {
  return inside ? value * gpu::sigmoid(gate) * mask : 0.0f;
}

struct RowOffsets {  // of one position's first channel
  int64_t out, residual, dropout;
  __device__ RowOffsets(const BackJob &job, const Cell &cell)
      : out(cell.offset(job.out)),
        residual(job.residual.present ? cell.offset(job.residual) : 0),
        dropout(job.dropout_mask.present ? cell.offset(job.dropout_mask) : 0) {}
};

// Dropout mask, residual and store of neighbouring channels.
template <class Io, int count>
__device__ void finish(const BackJob &job, const RowOffsets &row, int channel, float (&u)[count]) {
  if (job.dropout_mask.present) {
    const View &mask = job.dropout_mask;
    const bool is_float = mask.dtype == DType::float32;  // else pair's dtype
#pragma unroll
    for (int e = 0; e < count; ++e) {
      const int64_t at = row.dropout + (channel + e) * mask.stride[3];
      u[e] *= is_float ? static_cast<const float *>(mask.data)[at] : gpu::to_float(static_cast<const Io *>(mask.data)[at]);
    }
  }
  if (job.residual.present) {
    const auto before = gpu::load_neighbours<count>(static_cast<const Io *>(job.residual.data) + row.residual + channel, job.out_aligned);
#pragma unroll
    for (int e = 0; e < count; ++e) u[e] += gpu::to_float(before.value[e]);
  }
  gpu::Neighbours<Io, count> result;
#pragma unroll
  for (int e = 0; e < count; ++e) result.value[e] = gpu::from_float<Io>(u[e]);
  gpu::store_neighbours(static_cast<Io *>(job.out.data) + row.out + channel, result, job.out_aligned);
}

}  // namespace lamina::triangle_multiplication
