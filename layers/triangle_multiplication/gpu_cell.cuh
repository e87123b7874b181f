// Positions of the pair grid, for the CUDA and the HIP compiler.
#pragma once
#include "gpu_job.h"
#include "kernels/gpu/element.cuh"

namespace lamina::triangle_multiplication {

// Where position `index` of the cells lies in a [batch, N, N, ...] tensor, or not at all: padding of a row, or beyond the end.
struct Cell {
  int batch, i, j;
  bool inside;

  Cell() = default;
  __device__ Cell(const Cells &cells, int64_t index) {
    const unsigned at = static_cast<unsigned>(index), line = at / static_cast<unsigned>(cells.pitch);  // a group has less than 2^31 cells
    batch = static_cast<int>(line / static_cast<unsigned>(cells.N));
    const int x = static_cast<int>(line) - batch * cells.N, y = static_cast<int>(at - line * static_cast<unsigned>(cells.pitch));
    inside = index < cells.count && y < cells.N;
    i = cells.exchanged ? y : x, j = cells.exchanged ? x : y;
  }
  __device__ int64_t offset(const View &view) const { return batch * view.stride[0] + i * view.stride[1] + j * view.stride[2]; }
};

__device__ inline float mask_of(const View &pair_mask, const View &token_mask, const Cell &cell) {
  if (pair_mask.present) return gpu::load_any(pair_mask.data, pair_mask.dtype, cell.offset(pair_mask));
  if (!token_mask.present) return 1.0f;
  const int64_t batch = cell.batch * token_mask.stride[0];
  return gpu::load_any(token_mask.data, token_mask.dtype, batch + cell.i * token_mask.stride[1]) *
         gpu::load_any(token_mask.data, token_mask.dtype, batch + cell.j * token_mask.stride[1]);
}

}  // namespace lamina::triangle_multiplication
