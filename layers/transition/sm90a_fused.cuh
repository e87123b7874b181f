// The transition on Hopper in one kernel: the hidden rows live in registers, never in memory.
//
// Clusters of two CTAs stream the weights past their rows, each bringing half of every box to both.  Two warpgroups a CTA hold 64 rows each:
// x as TMA brought it (the norm is folded into the weights), the sums of out, and 128 packed rows' sums of gate and up at a time.  What
// these sums become is the register operand of the product with down; it runs together with the next group's gate and up, while the
// other warpgroup computes its activation.
#pragma once
#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/tile_statistics.cuh"
#include "sm90a_job.h"

namespace lamina::transition::hopper {

using cuda::Barrier, cuda::Lines, cuda::RowPair;

template <class T, int C>
struct FusedShared {
  static constexpr int slots = tile_slots(C);
  alignas(1024) T weights[ring][128][64];
  alignas(1024) T rows[workers][slots][C / 64][tile][64];  // x, then out in its place
  float up_bias[most_rows];
  Barrier full[ring], free[ring];
  Barrier rows_full[workers][slots], staged[workers][slots];
};

// A place in the ring of boxes and the parity of its phase.
struct RingPlace {
  int at = 0, parity = 0;
  __device__ void advance() {
    if (++at == ring) at = 0, parity ^= 1;
  }
};

// The shape of one group's products.
template <int C, bool gated>
struct GroupShape {
  static constexpr int hidden = gated ? 64 : 128;  // of 128 packed rows
  static constexpr int up_boxes = C / 64, halves = C / 128, depths = hidden / 64;
};

// One thread a CTA: the boxes in the order in which the workers use them.
template <class T, int C, bool gated>
__device__ void load_weights(const FusedJob &job, FusedShared<T, C> &shared) {
  using Shape = GroupShape<C, gated>;
  const int rank = cuda::cluster_rank();
  RingPlace place;
  const auto load = [&](const CUtensorMap &map, int column, int row) {
    shared.free[place.at].wait(place.parity ^ 1);
    shared.full[place.at].expect(128 * 64 * 2);
    cuda::load_box_for_all(map, shared.full[place.at], shared.weights[place.at][rank * 64], column, row + rank * 64, 0,
                           (1 << together) - 1);
    place.advance();
  };
  for (int round = 0; round < job.rounds; ++round)
    for (int group = 0; group <= job.groups; ++group) {
      if (group < job.groups)
        for (int box = 0; box < Shape::up_boxes; ++box) load(job.up, box * 64, group * 128);
      if (group > 0)
        for (int depth = 0; depth < Shape::depths; ++depth)
          for (int half = 0; half < Shape::halves; ++half) load(job.down, (group - 1) * Shape::hidden + depth * 64, half * 128);
    }
}

__device__ inline int tile_of(int round, int worker) {
  return (round * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x)) * workers + worker;
}

// One thread a worker: its rows in, its results out.
template <class T, int C>
__device__ void serve_rows(const FusedJob &job, FusedShared<T, C> &shared, int w) {
  constexpr int slots = tile_slots(C);
  const auto load = [&](int round) {
    Barrier &full = shared.rows_full[w][round % slots];
    const int t = tile_of(round, w);
    if (t >= job.tiles) return full.arrive();
    full.expect(tile * C * 2);
    for (int box = 0; box < C / 64; ++box) cuda::load_box(job.x, full, shared.rows[w][round % slots][box], box * 64, t * tile);
  };
  load(0);
  for (int round = 0; round < job.rounds; ++round) {
    if (slots == 2 && round + 1 < job.rounds) load(round + 1);
    const int slot = round % slots, t = tile_of(round, w);
    shared.staged[w][slot].wait(round / slots & 1);
    if (t < job.tiles)
      for (int box = 0; box < C / 64; ++box) cuda::store_box(job.out, shared.rows[w][slot][box], box * 64, t * tile);
    cuda::commit_stores();
    cuda::wait_stores_read<0>();
    if (slots == 1 && round + 1 < job.rounds) load(round + 1);
  }
  cuda::wait_stores<0>();
}

// What a worker warpgroup knows of itself.
template <class T, int C, bool gated>
struct Worker {
  using Shape = GroupShape<C, gated>;
  static constexpr int steps = Shape::hidden / 16;
  const FusedJob &job;
  FusedShared<T, C> &shared;
  int w;
  RingPlace ahead{}, behind{};  // the next box to use, the next one to hand back

  __device__ uint64_t next_box() {
    shared.full[ahead.at].wait(ahead.parity);
    const uint64_t box = cuda::operand(cuda::shared_address(shared.weights[ahead.at]));
    ahead.advance();
    return box;
  }
  __device__ void hand_back(int boxes) {
    for (int i = 0; i < boxes; ++i, behind.advance())
      if (threadIdx.x % 128 < together) cuda::arrive_at(shared.free[behind.at], threadIdx.x % 128);
  }

  __device__ void issue_up(float (&sum)[64], const T (*rows)[tile][64]) {
#pragma unroll
    for (int box = 0; box < Shape::up_boxes; ++box) {
      const uint64_t a = cuda::operand(cuda::shared_address(rows[box])), b = next_box();
#pragma unroll
      for (int k = 0; k < 4; ++k)
        cuda::product<T, Lines::along_k, Lines::along_k>(sum, cuda::deeper<Lines::along_k>(a, k), cuda::deeper<Lines::along_k>(b, k),
                                                         box > 0 || k > 0);
    }
    cuda::commit_products();
  }
  __device__ void issue_down(float (&out)[Shape::halves][64], const uint32_t (&hidden)[steps][4], bool add) {
#pragma unroll
    for (int depth = 0; depth < Shape::depths; ++depth)
#pragma unroll
      for (int half = 0; half < Shape::halves; ++half) {
        const uint64_t b = next_box();
#pragma unroll
        for (int k = 0; k < 4; ++k)
          cuda::product<T, Lines::along_k>(out[half], hidden[depth * 4 + k], cuda::deeper<Lines::along_k>(b, k), add || depth > 0 || k > 0);
      }
    cuda::commit_products();
  }

  // Sums of 128 packed rows to the register operand of the product with down.
  __device__ void activate(const float (&sum)[64], int group, RowPair scale, uint32_t (&hidden)[steps][4]) {
    const float *bias = shared.up_bias + group * 128 + threadIdx.x % 4 * 2;
#pragma unroll
    for (int t = 0; t < Shape::hidden / 8; ++t) {  // 8 hidden channels
      if constexpr (gated) {
        const float2 gate_bias = *reinterpret_cast<const float2 *>(bias + 16 * t),
                     value_bias = *reinterpret_cast<const float2 *>(bias + 16 * t + 8);
#pragma unroll
        for (int lower = 0; lower < 2; ++lower) {
          const float s = lower ? scale.lower : scale.upper;
          const float *gate = sum + 8 * t + 2 * lower, *value = gate + 4;
          const float g0 = fmaf(gate[0], s, gate_bias.x), g1 = fmaf(gate[1], s, gate_bias.y);  // halves: silu(2 g) = g (1 + tanh(g))
          hidden[t / 2][t % 2 * 2 + lower] = cuda::pack_pair<T>(fmaf(g0, cuda::tanh_approximate(g0), g0) * fmaf(value[0], s, value_bias.x),
                                                                fmaf(g1, cuda::tanh_approximate(g1), g1) * fmaf(value[1], s, value_bias.y));
        }
      } else {
        const float2 b = *reinterpret_cast<const float2 *>(bias + 8 * t);
#pragma unroll
        for (int lower = 0; lower < 2; ++lower) {
          const float s = lower ? scale.lower : scale.upper;
          const float *value = sum + 4 * t + 2 * lower;
          const float v0 = fmaf(value[0], s, b.x), v1 = fmaf(value[1], s, b.y);
          hidden[t / 2][t % 2 * 2 + lower] = cuda::pack_pair<T>(v0 < 0 ? 0.0f : v0, v1 < 0 ? 0.0f : v1);
        }
      }
    }
  }

  // residual + row_mask * (out + bias), in the place of x.
  __device__ void finish(const float (&out)[Shape::halves][64], T (*rows)[tile][64], int64_t first) {
    const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, matrix = lane / 8;
    const int64_t row = first + warp * 16 + lane / 4;
    RowPair mask{1, 1};
    if (job.row_mask.present) {
      const View &view = job.row_mask;
      if (row < job.M) mask.upper = gpu::load_any(view.data, view.dtype, row * view.stride[0]);
      if (row + 8 < job.M) mask.lower = gpu::load_any(view.data, view.dtype, (row + 8) * view.stride[0]);
    }
#pragma unroll
    for (int half = 0; half < Shape::halves; ++half)
#pragma unroll
      for (int j = 0; j < 16; j += 2) {
        const uint32_t box = cuda::shared_address(rows[half * 2 + j / 8]);
        uint32_t result[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {  // upper and lower rows of the first 8 columns, then of the second
          const float *s = out[half] + (j + i / 2) * 4 + i % 2 * 2;
          const int column = half * 128 + (j + i / 2) * 8 + lane % 4 * 2;
          const float2 bias = __ldg(reinterpret_cast<const float2 *>(job.down_bias + column));
          const float m = i % 2 ? mask.lower : mask.upper;
          float2 before{0, 0};
          if (job.residual_is_x) {
            uint32_t pair;
            asm volatile("ld.shared.b32 %0, [%1];"
                         : "=r"(pair)
                         : "r"(cuda::swizzled(box, warp * 16 + lane / 4 + i % 2 * 8, j % 8 + i / 2) + lane % 4 * 4)
                         : "memory");
            before = cuda::unpack_pair<T>(pair);
          } else if (job.residual.present && row + i % 2 * 8 < job.M) {
            const T *at = static_cast<const T *>(job.residual.data) + (row + i % 2 * 8) * job.residual.stride[0] + column;
            before = {gpu::to_float(at[0]), gpu::to_float(at[1])};
          }
          result[i] = cuda::pack_pair<T>(fmaf(s[0] + bias.x, m, before.x), fmaf(s[1] + bias.y, m, before.y));
        }
        __syncwarp();  // x of these 16 columns is in registers of the whole warp before it is overwritten
        cuda::store_matrices(cuda::swizzled(box, warp * 16 + matrix % 2 * 8 + lane % 8, j % 8 + matrix / 2), result[0], result[1],
                             result[2], result[3]);
      }
  }

  __device__ void work() {
    constexpr int slots = tile_slots(C);
    for (int round = 0; round < job.rounds; ++round) {
      const int slot = round % slots;
      T(*rows)[tile][64] = shared.rows[w][slot];
      float out[Shape::halves][64], sum[64];
      uint32_t hidden[steps][4];
      shared.rows_full[w][slot].wait(round / slots & 1);
      cuda::begin_products();
      issue_up(sum, rows);
      RowPair scale{1, 1};
      if (job.normed) scale = cuda::inverse_deviations<T, C>(rows, job.eps);
      cuda::wait_products<0>();
      hand_back(Shape::up_boxes);
      for (int group = 0; group < job.groups; ++group) {
        activate(sum, group, scale, hidden);
        cuda::begin_products();
        const bool more = group + 1 < job.groups;
        if (more) issue_up(sum, rows);
        issue_down(out, hidden, group > 0);
        cuda::wait_products<0>();
        hand_back((more ? Shape::up_boxes : 0) + Shape::depths * Shape::halves);
      }
      finish(out, rows, static_cast<int64_t>(tile_of(round, w)) * tile);
      cuda::publish_shared();
      __syncwarp();
      if (threadIdx.x % 32 == 0) shared.staged[w][slot].arrive();
    }
  }
};

template <class T, int C, bool gated>
__device__ void fused(const FusedJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  auto &shared = *reinterpret_cast<FusedShared<T, C> *>(dynamic);
  static_assert(sizeof shared <= fused_shape(C).shared_bytes && cuda::registers_fit(workers, 240, 24));
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  if (threadIdx.x == 0) {
    cuda::allow_next_kernel();
    for (int i = 0; i < ring; ++i) shared.full[i].init(1), shared.free[i].init(workers * together);
    for (int w = 0; w < workers; ++w)
      for (int i = 0; i < tile_slots(C); ++i) shared.rows_full[w][i].init(1), shared.staged[w][i].init(4);
    cuda::publish_barriers();
  }
  cuda::wait_for_previous_kernel();
  for (int i = threadIdx.x; i < job.groups * 128; i += blockDim.x) shared.up_bias[i] = job.up_bias[i];
  cuda::meet_cluster();
  if (group == workers) {
    cuda::lower_registers<24>();
    if (threadIdx.x % 32 == 0) {
      if (warp == 0) load_weights<T, C, gated>(job, shared);
      else if (warp <= workers) serve_rows<T, C>(job, shared, warp - 1);
    }
    __syncwarp();
  } else {
    cuda::raise_registers<240>();
    Worker<T, C, gated>{job, shared, group}.work();
  }
  cuda::meet_cluster();  // nobody leaves while the other may still arrive at its barriers or fill its memory
}

}  // namespace lamina::transition::hopper
