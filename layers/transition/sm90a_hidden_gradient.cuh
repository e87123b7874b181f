// Backward of the gated transition on Hopper where rows are too wide for sm90a_gradient.cuh: gradients of gates and values, and hidden values,
// in one kernel; the norm before it and the product with the weights behind it are kernels of their own.
//
// Clusters of two CTAs stream boxes of weights past their rows, 64 a warpgroup; a box is handed back as soon as its products are done, so that the
// other warpgroup, half a group behind, finds the next ones on their way.
#pragma once
#include "kernels/cuda/cluster.cuh"
#include "sm90a_activate_gradient.cuh"
#include "sm90a_gradient_job.h"

namespace lamina::transition::hopper {

template <class T, int C>
struct HiddenGradientShared {
  alignas(1024) T weights[hidden_gradient_ring][128][64];
  alignas(1024) T z[workers][C / 64][tile][64], gradient[workers][C / 64][tile][64];
  cuda::Barrier full[hidden_gradient_ring], free[hidden_gradient_ring];
  cuda::Barrier rows_full[workers], rows_free[workers];
};

struct HiddenRingPlace {
  int at = 0, parity = 0;
  __device__ void advance() {
    if (++at == hidden_gradient_ring) at = 0, parity ^= 1;
  }
};

// One thread a CTA: of each group the boxes of down, then those of gate and up; each CTA brings half of every box to both.
template <class T, int C>
__device__ void load_hidden_weights(const GradientJob &job, HiddenGradientShared<T, C> &shared) {
  const int rank = cuda::cluster_rank();
  HiddenRingPlace place;
  const auto load = [&](const CUtensorMap &map, int column, int row) {
    shared.free[place.at].wait(place.parity ^ 1);
    shared.full[place.at].expect(128 * 64 * 2);
    cuda::load_box_for_all(map, shared.full[place.at], shared.weights[place.at][rank * 64], column, row + rank * 64, 0,
                           (1 << together) - 1);
    place.advance();
  };
  for (int round = 0; round < job.rounds; ++round)
    for (int group = 0; group < job.groups; ++group) {
      for (int row = 0; row < C; row += 128) load(job.down, group * 64, row);
      for (int column = 0; column < C; column += 64) load(job.up, column, group * 128);
    }
}

__device__ inline int hidden_tile_of(int round, int worker) {
  return (round * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x)) * workers + worker;
}

// One thread a worker: its rows in.
template <class T, int C>
__device__ void serve_hidden_rows(const GradientJob &job, HiddenGradientShared<T, C> &shared, int w) {
  for (int round = 0; round < job.rounds; ++round) {
    const int t = hidden_tile_of(round, w);
    cuda::Barrier &full = shared.rows_full[w];
    shared.rows_free[w].wait(round & 1 ^ 1);
    if (t >= job.tiles) {
      full.arrive();
      continue;
    }
    full.expect(2 * tile * C * 2);
    for (int box = 0; box < C / 64; ++box) {
      cuda::load_box(job.x, full, shared.z[w][box], box * 64, t * tile);
      cuda::load_box(job.out_gradient, full, shared.gradient[w][box], box * 64, t * tile);
    }
  }
}

template <class T, int C>
__device__ void work_hidden(const GradientJob &job, HiddenGradientShared<T, C> &shared, int w) {
  using cuda::Lines;
  HiddenRingPlace ahead, behind;
  const auto next_box = [&] {
    shared.full[ahead.at].wait(ahead.parity);
    const uint64_t box = cuda::operand(cuda::shared_address(shared.weights[ahead.at]), 8192);
    ahead.advance();
    return box;
  };
  const auto hand_back = [&] {
    if (threadIdx.x % 128 < together) cuda::arrive_at(shared.free[behind.at], threadIdx.x % 128);
    behind.advance();
  };
  for (int round = 0; round < job.rounds; ++round) {
    const int row = hidden_tile_of(round, w) * tile + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
    shared.rows_full[w].wait(round & 1);
    for (int group = 0; group < job.groups; ++group) {
      float before[64], dh[32];
      uint32_t inner[hidden_blocks][4];
#pragma unroll
      for (int box = 0; box < C / 128 + C / 64; ++box) {
        const uint64_t b = next_box();
        const bool down = box < C / 128;
        cuda::begin_products();
#pragma unroll
        for (int k = 0; k < (down ? 8 : 4); ++k) {
          if (down)
            cuda::product<T, Lines::along_k, Lines::along_rows>(
                dh, cuda::deeper<Lines::along_k>(cuda::operand(cuda::shared_address(shared.gradient[w][box * 2 + k / 4])), k % 4),
                cuda::deeper<Lines::along_rows>(b, k), box > 0 || k > 0);
          else
            cuda::product<T, Lines::along_k, Lines::along_k>(
                before, cuda::deeper<Lines::along_k>(cuda::operand(cuda::shared_address(shared.z[w][box - C / 128])), k),
                cuda::deeper<Lines::along_k>(b, k), box > C / 128 || k > 0);
        }
        cuda::commit_products();
        if (box > 0) {  // the products of the box before are done
          cuda::wait_products<1>();
          hand_back();
        }
      }
      cuda::wait_products<0>();
      hand_back();
      if (group + 1 == job.groups && threadIdx.x % 128 == 0) shared.rows_free[w].arrive();
      activate_gradient<T>(job, before, dh, group, row, inner);
    }
  }
}

template <class T, int C>
__device__ void hidden_gradient(const GradientJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  auto &shared = *reinterpret_cast<HiddenGradientShared<T, C> *>(dynamic);
  static_assert(C == 256 && sizeof shared <= hidden_gradient_shape().shared_bytes && cuda::registers_fit(workers, 240, 24));
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  if (threadIdx.x == 0) {
    cuda::allow_next_kernel();
    for (cuda::Barrier &barrier : shared.full) barrier.init(1);
    for (cuda::Barrier &barrier : shared.free) barrier.init(workers * together);
    for (int w = 0; w < workers; ++w) shared.rows_full[w].init(1), shared.rows_free[w].init(1);
    cuda::publish_barriers();
  }
  cuda::wait_for_previous_kernel();
  cuda::meet_cluster();
  if (group == workers) {
    cuda::lower_registers<24>();
    if (threadIdx.x % 32 == 0) {
      if (warp == 0) load_hidden_weights<T, C>(job, shared);
      else if (warp <= workers) serve_hidden_rows<T, C>(job, shared, warp - 1);
    }
    __syncwarp();
  } else {
    cuda::raise_registers<240>();
    work_hidden<T, C>(job, shared, group);
  }
  cuda::meet_cluster();  // nobody leaves while the other may still arrive at its barriers or fill its memory
}

}  // namespace lamina::transition::hopper
