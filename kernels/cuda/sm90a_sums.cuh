// Gradients of weights on Hopper: a' b summed over rows, split into parts that other kernels add in a fixed order.
//
// Persistent CTAs, 128 x `tile_columns` of the sums of one split a tile; both operands lie along their rows, which wgmma takes as they are.
#pragma once
#include "sm90a_linear_job.h"
#include "wgmma_product.cuh"

namespace lamina::cuda {

template <class T, int tile_columns>
struct SumsShared {
  static constexpr int stages = sums_stages(tile_columns);
  alignas(1024) T a[stages][2][64][64], b[stages][tile_columns / 64][64][64];  // [64 of the tile's rows or columns][depth][.]
  Barrier full[stages], free[stages];
};

struct SumsTile {
  int row, column, split, first, end;  // first and end: chunks
  __device__ SumsTile(const SumsJob &job, int index, int tile_columns) {
    const int tiles = job.row_tiles * job.column_tiles, within = index % tiles;
    split = index / tiles;
    row = within / job.column_tiles * 128, column = within % job.column_tiles * tile_columns;
    first = split * job.split_chunks, end = first + job.split_chunks < job.chunks ? first + job.split_chunks : job.chunks;
  }
};

template <class T, int tile_columns>
__device__ void work_sums(const SumsJob &job, SumsShared<T, tile_columns> &shared, int total, int group) {
  const int thread = threadIdx.x % 128, lane = thread % 32;
  int stage = 0, parity = 0;
  const auto hand_back = [&] {
    if (thread == 0) shared.free[stage ? stage - 1 : shared.stages - 1].arrive();
  };
  for (int index = blockIdx.x; index < total; index += gridDim.x) {
    const SumsTile tile(job, index, tile_columns);
    float sum[tile_columns / 2];
#pragma unroll
    for (float &s : sum) s = 0;
    for (int chunk = tile.first; chunk < tile.end; ++chunk) {
      shared.full[stage].wait(parity);
      const uint64_t a = operand(shared_address(shared.a[stage][group]), 8192), b = operand(shared_address(shared.b[stage]), 8192);
      begin_products();
#pragma unroll
      for (int k = 0; k < 4; ++k)
        product<T, Lines::along_rows, Lines::along_rows>(sum, deeper<Lines::along_rows>(a, k), deeper<Lines::along_rows>(b, k), true);
      commit_products();
      if (chunk > tile.first) {  // the products of the stage before are done
        wait_products<1>();
        hand_back();
      }
      if (++stage == shared.stages) stage = 0, parity ^= 1;
    }
    wait_products<0>();
    if (tile.end > tile.first) hand_back();
    const int64_t row = tile.row + group * 64 + thread / 32 * 16 + lane / 4;
#pragma unroll
    for (int lower = 0; lower < 2; ++lower) {
      if (row + lower * 8 >= job.rows) continue;
      float *to = job.sums + (tile.split * job.rows + row + lower * 8) * job.columns;
#pragma unroll
      for (int j = 0; j < tile_columns / 8; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int column = tile.column + j * 8 + lane % 4 * 2 + e;
          if (column < job.columns) to[column] = sum[4 * j + 2 * lower + e] + (job.add ? to[column] : 0.0f);
        }
    }
  }
}

template <class T, int tile_columns>
__device__ void sums(const SumsJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  auto &shared = *reinterpret_cast<SumsShared<T, tile_columns> *>(dynamic);
  static_assert(sizeof shared <= sums_shape(tile_columns).shared_bytes);
  const int group = threadIdx.x / 128, total = job.row_tiles * job.column_tiles * job.splits;
  if (threadIdx.x == 0) {
    allow_next_kernel();
    for (int i = 0; i < shared.stages; ++i) shared.full[i].init(1), shared.free[i].init(2);
    publish_barriers();
  }
  __syncthreads();
  wait_for_previous_kernel();
  if (group == 2) {
    lower_registers<40>();
    if (threadIdx.x % 128 == 0) {
      int stage = 0, parity = 1;
      for (int index = blockIdx.x; index < total; index += gridDim.x) {
        const SumsTile tile(job, index, tile_columns);
        for (int chunk = tile.first; chunk < tile.end; ++chunk) {
          shared.free[stage].wait(parity);
          shared.full[stage].expect((128 + tile_columns) * 64 * 2);
          for (int box = 0; box < 2; ++box) load_box(job.a, shared.full[stage], shared.a[stage][box], tile.row + box * 64, chunk * 64);
          for (int box = 0; box < tile_columns / 64; ++box)
            load_box(job.b, shared.full[stage], shared.b[stage][box], tile.column + box * 64, chunk * 64);
          if (++stage == shared.stages) stage = 0, parity ^= 1;
        }
      }
    }
  } else {
    raise_registers<232>();
    work_sums<T, tile_columns>(job, shared, total, group);
  }
}

}  // namespace lamina::cuda
