// A linear map over rows on Hopper: out = residual + scale * activation(a b' + bias), 128 rows x `tile_columns` a tile.
//
// Persistent CTAs.  One thread loads stages of 64 deep, two warpgroups multiply 64 rows each, and one thread a warpgroup fetches the
// residual and stores the result, box by box of 64 x 64 in place, so that a warpgroup in its epilogue waits for nobody and the other one
// multiplies on, up to the depth of the ring.
#pragma once
#include "sm90a_linear_job.h"
#include "wgmma_product.cuh"

namespace lamina::cuda {

constexpr int linear_rows = 128;

template <class T, int tile_columns>
struct LinearShared {
  static constexpr int stages = linear_stages(tile_columns);
  alignas(1024) T a[stages][linear_rows][64];
  alignas(1024) T b[stages][tile_columns][64];
  alignas(1024) T box[2][2][64][64];  // of a warpgroup, in turn
  Barrier full[stages], free[stages];
  Barrier ready[2][2], staged[2][2];  // a box holds the residual or nothing anyone needs; a box holds the result
};

// Columns next to each other first: a few rows of a stay in the L2 cache while all of b passes.
struct LinearTile {
  int row, column, boxes;
  __device__ LinearTile(const LinearJob &job, int index, int tile_columns) {
    row = index / job.column_tiles * linear_rows, column = index % job.column_tiles * tile_columns;
    const int left = (job.columns - column + 63) / 64;
    boxes = left < tile_columns / 64 ? left : tile_columns / 64;
  }
};

template <class T, int tile_columns, Lines b_lines>
__device__ void load_linear(const LinearJob &job, LinearShared<T, tile_columns> &shared, int total) {
  int stage = 0, parity = 1;
  for (int index = blockIdx.x; index < total; index += gridDim.x) {
    const LinearTile tile(job, index, tile_columns);
    for (int chunk = 0; chunk < job.chunks; ++chunk) {
      shared.free[stage].wait(parity);
      shared.full[stage].expect((linear_rows + tile_columns) * 64 * 2);
      load_box(job.a, shared.full[stage], shared.a[stage], chunk * 64, tile.row);
      if constexpr (b_lines == Lines::along_k) {
        load_box(job.b, shared.full[stage], shared.b[stage], chunk * 64, tile.column);
      } else {  // boxes of 64 deep and 64 columns, their lines along the columns
        for (int column = 0; column < tile_columns; column += 64)
          load_box(job.b, shared.full[stage], shared.b[stage][column], tile.column + column, chunk * 64);
      }
      if (++stage == linear_stages(tile_columns)) stage = 0, parity ^= 1;
    }
  }
}

// A warpgroup's boxes in the order of its tiles.
template <int tile_columns>
struct LinearBoxes {
  const LinearJob &job;
  const int total, group;
  int index = blockIdx.x, box = 0;

  __device__ bool more() const { return index < total; }
  __device__ void advance() {
    if (++box < LinearTile(job, index, tile_columns).boxes) return;
    box = 0, index += gridDim.x;
  }
  __device__ int row() const { return LinearTile(job, index, tile_columns).row + group * 64; }
  __device__ int column() const { return LinearTile(job, index, tile_columns).column + box * 64; }
};

template <class T, int tile_columns>
__device__ void serve_linear(const LinearJob &job, LinearShared<T, tile_columns> &shared, int total, int group) {
  LinearBoxes<tile_columns> coming{job, total, group}, going{job, total, group};
  int fetched = 0;
  const auto fetch = [&] {
    if (!coming.more()) return;
    Barrier &ready = shared.ready[group][fetched & 1];
    if (job.has_residual) {
      ready.expect(64 * 64 * 2);
      load_box(job.residual, ready, shared.box[group][fetched & 1], coming.column(), coming.row());
    } else {
      ready.arrive();
    }
    ++fetched, coming.advance();
  };
  fetch(), fetch();
  for (int sent = 0; going.more(); ++sent, going.advance()) {
    shared.staged[group][sent & 1].wait(sent >> 1 & 1);
    store_box(job.out, shared.box[group][sent & 1], going.column(), going.row());
    commit_stores();
    wait_stores_read<0>();
    fetch();
  }
  wait_stores<0>();
}

template <bool smooth>
__device__ float finish(const LinearEpilogue &epilogue, float sum, float bias) {
  const float v = sum + bias;
  if constexpr (!smooth) return v < epilogue.floor ? epilogue.floor : v;  // a NaN stays one
  const float w = fminf(v * v, epilogue.most), half = 0.5f * v;
  return fmaf(half, tanh_approximate(v * fmaf(w, fmaf(w, epilogue.c2, epilogue.c1), epilogue.c0)), half);
}

// One box of the result out of 32 sums, over the residual that may stand there.
template <class T, bool smooth>
__device__ void finish_box(const LinearJob &job, const float *sum, void *box, int column) {
  const int thread = threadIdx.x % 128, lane = thread % 32, matrix = lane / 8;
  const LinearEpilogue &epilogue = job.epilogue;
  const uint32_t to = shared_address(box);
#pragma unroll
  for (int j = 0; j < 8; j += 2) {
    uint32_t result[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // upper and lower rows of the first 8 columns, then of the second
      const float *s = sum + (j + i / 2) * 4 + i % 2 * 2;
      float2 bias{0, 0};
      if (epilogue.bias) bias = __ldg(reinterpret_cast<const float2 *>(epilogue.bias + column + (j + i / 2) * 8 + lane % 4 * 2));
      float y0 = finish<smooth>(epilogue, s[0], bias.x), y1 = finish<smooth>(epilogue, s[1], bias.y);
      if constexpr (!smooth) {
        y0 *= epilogue.scale, y1 *= epilogue.scale;
        if (job.has_residual) {
          const uint32_t address = swizzled(to, thread / 32 * 16 + lane / 4 + i % 2 * 8, j + i / 2) + lane % 4 * 4;
          uint32_t pair;
          asm volatile("ld.shared.b32 %0, [%1];" : "=r"(pair) : "r"(address) : "memory");
          const float2 before = unpack_pair<T>(pair);
          y0 += before.x, y1 += before.y;
        }
      }
      result[i] = pack_pair<T>(y0, y1);
    }
    __syncwarp();  // the residual of these 16 columns is in registers of the whole warp before it is overwritten
    store_matrices(swizzled(to, thread / 32 * 16 + matrix % 2 * 8 + lane % 8, j + matrix / 2), result[0], result[1], result[2], result[3]);
  }
}

template <class T, int tile_columns, bool smooth, Lines b_lines>
__device__ void work_linear(const LinearJob &job, LinearShared<T, tile_columns> &shared, int total, int group) {
  const int thread = threadIdx.x % 128;
  int stage = 0, parity = 0, boxes = 0;
  const auto hand_back = [&] {
    if (thread == 0) shared.free[stage ? stage - 1 : linear_stages(tile_columns) - 1].arrive();
  };
  for (int index = blockIdx.x; index < total; index += gridDim.x) {
    float sum[tile_columns / 2];
    for (int chunk = 0; chunk < job.chunks; ++chunk) {
      shared.full[stage].wait(parity);
      const uint64_t a = operand(shared_address(shared.a[stage][group * 64])), b = operand(shared_address(shared.b[stage]), 8192);
      begin_products();
#pragma unroll
      for (int k = 0; k < 4; ++k)
        product<T, Lines::along_k, b_lines>(sum, deeper<Lines::along_k>(a, k), deeper<b_lines>(b, k), chunk > 0 || k > 0);
      commit_products();
      if (chunk > 0) {  // the products of the stage before are done
        wait_products<1>();
        hand_back();
      }
      if (++stage == linear_stages(tile_columns)) stage = 0, parity ^= 1;
    }
    wait_products<0>();
    hand_back();
    const LinearTile tile(job, index, tile_columns);
#pragma unroll
    for (int box = 0; box < tile_columns / 64; ++box) {
      if (box >= tile.boxes) break;
      shared.ready[group][boxes & 1].wait(boxes >> 1 & 1);
      finish_box<T, smooth>(job, sum + box * 32, shared.box[group][boxes & 1], tile.column + box * 64);
      publish_shared();
      __syncwarp();
      if (thread % 32 == 0) shared.staged[group][boxes & 1].arrive();
      ++boxes;
    }
  }
}

// b_lines: b is [columns, depth], or [depth, columns].
template <class T, int tile_columns, bool smooth, Lines b_lines = Lines::along_k>
__device__ void linear(const LinearJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  auto &shared = *reinterpret_cast<LinearShared<T, tile_columns> *>(dynamic);
  static_assert(sizeof shared <= linear_shape(tile_columns).shared_bytes && registers_fit(2, 232, 40));
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4, total = job.row_tiles * job.column_tiles;
  if (threadIdx.x == 0) {
    allow_next_kernel();
    for (Barrier &barrier : shared.full) barrier.init(1);
    for (Barrier &barrier : shared.free) barrier.init(2);
    for (int g = 0; g < 2; ++g)
      for (int i = 0; i < 2; ++i) shared.ready[g][i].init(1), shared.staged[g][i].init(4);
    publish_barriers();
  }
  __syncthreads();
  if (group == 2) {
    lower_registers<40>();
    if (threadIdx.x % 32 == 0) {
      wait_for_previous_kernel();
      if (warp == 0) load_linear<T, tile_columns, b_lines>(job, shared, total);
      else if (warp < 3) serve_linear<T, tile_columns>(job, shared, total, warp - 1);
    }
  } else {
    raise_registers<232>();
    work_linear<T, tile_columns, smooth, b_lines>(job, shared, total, group);
  }
}

}  // namespace lamina::cuda
