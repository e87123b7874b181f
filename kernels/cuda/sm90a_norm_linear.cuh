// A LayerNorm and a linear map on Hopper where all weights fit into shared memory: they stay there, folded with the norm, and two
// warpgroups walk over tiles of 64 rows, 128 columns at a time.  One thread a warpgroup fetches its rows and stores its results.
#pragma once
#include "sm90a_norm_linear_job.h"
#include "tile_statistics.cuh"

namespace lamina::cuda {

template <class T, int K>
struct NormLinearShared {
  static constexpr int slots = norm_linear_slots(K);
  alignas(1024) T weights[norm_linear_passes(K)][K / 64][128][64];
  alignas(1024) T rows[2][slots][K / 64][64][64];
  alignas(1024) T box[2][2][64][64];
  Barrier weights_full, rows_full[2][slots];
  Barrier ready[2][2], staged[2][2];  // a box may be written; a box holds the result
};

template <class T, int K>
__device__ void serve_norm_linear(const NormLinearJob &job, NormLinearShared<T, K> &shared, int w, int first, int step) {
  constexpr int slots = norm_linear_slots(K);
  const auto load = [&](int t, int slot) {
    Barrier &full = shared.rows_full[w][slot];
    full.expect(64 * K * 2);
    for (int box = 0; box < K / 64; ++box) load_box(job.x, full, shared.rows[w][slot][box], box * 64, t * 64);
  };
  if (w == 0) {
    const int passes = (job.columns + 127) / 128;
    shared.weights_full.expect(passes * 128 * K * 2);
    for (int pass = 0; pass < passes; ++pass)
      for (int box = 0; box < K / 64; ++box) load_box(job.weights, shared.weights_full, shared.weights[pass][box], box * 64, pass * 128);
  }
  if (first < job.tiles) load(first, 0);
  const int boxes = (job.columns + 63) / 64;
  int sent = 0;
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    if (slots == 2 && t + step < job.tiles) load(t + step, (round + 1) % 2);
    for (int box = 0; box < boxes; ++box, ++sent) {
      shared.staged[w][sent & 1].wait(sent >> 1 & 1);
      if (slots == 1 && box + 1 == boxes && t + step < job.tiles) load(t + step, 0);
      store_box(job.out, shared.box[w][sent & 1], box * 64, t * 64);
      commit_stores();
      wait_stores_read<0>();
      shared.ready[w][sent & 1].arrive();
    }
  }
  wait_stores<0>();
}

template <class T, int K>
__device__ void work_norm_linear(const NormLinearJob &job, NormLinearShared<T, K> &shared, int w, int first, int step) {
  constexpr int slots = norm_linear_slots(K);
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, matrix = lane / 8;
  const int passes = (job.columns + 127) / 128;
  int boxes = 0;
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    const int slot = round % slots;
    shared.rows_full[w][slot].wait(round / slots & 1);
    if (round == 0) shared.weights_full.wait(0);
    RowPair scale;
    for (int pass = 0; pass < passes; ++pass) {
      float sum[64];
      begin_products();
#pragma unroll
      for (int box = 0; box < K / 64; ++box) {
        const uint64_t a = operand(shared_address(shared.rows[w][slot][box])), b = operand(shared_address(shared.weights[pass][box]));
#pragma unroll
        for (int k = 0; k < 4; ++k)
          product<T, Lines::along_k, Lines::along_k>(sum, deeper<Lines::along_k>(a, k), deeper<Lines::along_k>(b, k), box > 0 || k > 0);
      }
      commit_products();
      if (pass == 0) scale = inverse_deviations<T, K>(shared.rows[w][slot], job.eps);
      wait_products<0>();
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int column = pass * 128 + half * 64;
        if (column >= job.columns) break;
        shared.ready[w][boxes & 1].wait((boxes >> 1 & 1) ^ 1);
        const uint32_t to = shared_address(shared.box[w][boxes & 1]);
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
          uint32_t result[4];
#pragma unroll
          for (int i = 0; i < 4; ++i) {  // upper and lower rows of the first 8 columns, then of the second
            const float *s = sum + (half * 8 + j + i / 2) * 4 + i % 2 * 2;
            const float factor = i % 2 ? scale.lower : scale.upper;
            const float2 bias = __ldg(reinterpret_cast<const float2 *>(job.bias + column + (j + i / 2) * 8 + lane % 4 * 2));
            result[i] = pack_pair<T>(fmaf(s[0], factor, bias.x), fmaf(s[1], factor, bias.y));
          }
          store_matrices(swizzled(to, warp * 16 + matrix % 2 * 8 + lane % 8, j + matrix / 2), result[0], result[1], result[2], result[3]);
        }
        publish_shared();
        __syncwarp();
        if (lane == 0) shared.staged[w][boxes & 1].arrive();
        ++boxes;
      }
    }
  }
}

template <class T, int K>
__device__ void norm_linear(const NormLinearJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  auto &shared = *reinterpret_cast<NormLinearShared<T, K> *>(dynamic);
  static_assert(sizeof shared <= norm_linear_shape().shared_bytes && registers_fit(2, 232, 40));
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  if (threadIdx.x == 0) {
    allow_next_kernel();
    shared.weights_full.init(1);
    for (int w = 0; w < 2; ++w) {
      for (int i = 0; i < norm_linear_slots(K); ++i) shared.rows_full[w][i].init(1);
      for (int i = 0; i < 2; ++i) shared.ready[w][i].init(1), shared.staged[w][i].init(4);
    }
    publish_barriers();
  }
  __syncthreads();
  // The first tiles go to all CTAs' first workers, the next to their second ones, so that few tiles still spread over all processors.
  const int w = group < 2 ? group : warp, first = static_cast<int>(blockIdx.x) + w * static_cast<int>(gridDim.x),
            step = 2 * static_cast<int>(gridDim.x);
  if (group == 2) {
    lower_registers<40>();
    if (w < 2 && threadIdx.x % 32 == 0) {
      wait_for_previous_kernel();
      serve_norm_linear<T, K>(job, shared, w, first, step);
    }
  } else {
    raise_registers<232>();
    work_norm_linear<T, K>(job, shared, w, first, step);
  }
}

}  // namespace lamina::cuda
