// Backward of the gated transition on Hopper, what rows alone decide, in one kernel: the rows' normalised values, gradients of gates and values,
// hidden values, and the gradient of x.  Gradients of weights are products of these over the rows, for other kernels.
//
// Clusters of two CTAs stream the weights past their rows, as the forward kernel does.  Two warpgroups a CTA hold 64 rows each: x, z and the
// incoming gradient in shared memory; in registers the sums of dz, and of 64 gates, 64 values and 64 hidden gradients at a time.  What these
// become is stored, and is the register operand of the product with the same boxes of weights that gives dz; that product runs together with
// the next group's, while the other warpgroup computes its activation.
#pragma once
#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/tile_statistics.cuh"
#include "kernels/gpu/rows.cuh"
#include "sm90a_activate_gradient.cuh"
#include "sm90a_gradient_job.h"

namespace lamina::transition::hopper {

using cuda::Barrier, cuda::Lines, cuda::RowPair;

template <class T, int C>
struct GradientShared {
  alignas(1024) T up[gradient_up_slots][C / 64][128][64];  // 128 packed rows
  alignas(1024) T down[gradient_down_slots][C][64];        // 64 hidden channels
  alignas(1024) T x[workers][C / 64][tile][64], z[workers][C / 64][tile][64], gradient[workers][C / 64][tile][64];
  Barrier up_full[gradient_up_slots], up_free[gradient_up_slots], down_full[gradient_down_slots], down_free[gradient_down_slots];
  Barrier rows_full[workers], normed[workers], staged[workers];  // x and gradient are there; z is; x's gradient is, in the place of x
};

// A place in a ring of `slots` and the parity of its phase.
template <int slots>
struct SlotPlace {
  int at = 0, parity = 0;
  __device__ void advance() {
    if (++at == slots) at = 0, parity ^= 1;
  }
};

// One thread a CTA: the boxes in the order in which the workers use them; each CTA brings half of every box to both.
template <class T, int C>
__device__ void load_gradient_weights(const GradientJob &job, GradientShared<T, C> &shared) {
  const int rank = cuda::cluster_rank();
  constexpr uint16_t both = (1 << together) - 1;
  SlotPlace<gradient_up_slots> up;
  SlotPlace<gradient_down_slots> down;
  for (int round = 0; round < job.rounds; ++round)
    for (int group = 0; group < job.groups; ++group) {
      shared.down_free[down.at].wait(down.parity ^ 1);
      shared.down_full[down.at].expect(C * 64 * 2);
      for (int row = rank * 64; row < C; row += together * 64)
        cuda::load_box_for_all(job.down, shared.down_full[down.at], shared.down[down.at][row], group * 64, row, 0, both);
      down.advance();
      shared.up_free[up.at].wait(up.parity ^ 1);
      shared.up_full[up.at].expect(128 * C * 2);
      for (int box = 0; box < C / 64; ++box)
        cuda::load_box_for_all(job.up, shared.up_full[up.at], shared.up[up.at][box][rank * 64], box * 64, group * 128 + rank * 64, 0, both);
      up.advance();
    }
}

__device__ inline int gradient_tile_of(int round, int worker) {
  return (round * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x)) * workers + worker;
}

// One thread a worker: its rows in, its results out.
template <class T, int C>
__device__ void serve_gradient_rows(const GradientJob &job, GradientShared<T, C> &shared, int w) {
  for (int round = 0; round < job.rounds; ++round) {
    const int t = gradient_tile_of(round, w);
    Barrier &full = shared.rows_full[w];
    if (t >= job.tiles) full.arrive();
    else {
      full.expect(2 * tile * C * 2);
      for (int box = 0; box < C / 64; ++box) {
        cuda::load_box(job.x, full, shared.x[w][box], box * 64, t * tile);
        cuda::load_box(job.out_gradient, full, shared.gradient[w][box], box * 64, t * tile);
      }
    }
    if (job.normed) {
      shared.normed[w].wait(round & 1);
      if (t < job.tiles)
        for (int box = 0; box < C / 64; ++box) cuda::store_box(job.z, shared.z[w][box], box * 64, t * tile);
      cuda::commit_stores();
    }
    shared.staged[w].wait(round & 1);
    if (t < job.tiles && job.x_wanted)
      for (int box = 0; box < C / 64; ++box) cuda::store_box(job.x_gradient, shared.x[w][box], box * 64, t * tile);
    cuda::commit_stores();
    cuda::wait_stores_read<0>();
  }
  cuda::wait_stores<0>();
}

// What a worker warpgroup knows of itself.
template <class T, int C>
struct GradientWorker {
  static constexpr int blocks = hidden_blocks;
  const GradientJob &job;
  GradientShared<T, C> &shared;
  int w;
  SlotPlace<gradient_up_slots> up{}, up_behind{};  // the next slot to use, the next one to hand back
  SlotPlace<gradient_down_slots> down{};

  __device__ int warp() const { return threadIdx.x / 32 % 4; }
  __device__ int lane() const { return threadIdx.x % 32; }

  __device__ void hand_back(Barrier &free) {
    if (threadIdx.x % 128 < together) cuda::arrive_at(free, threadIdx.x % 128);
  }
  __device__ void hand_up_back() { hand_back(shared.up_free[up_behind.at]), up_behind.advance(); }
  __device__ void hand_down_back() { hand_back(shared.down_free[down.at ^ 1]); }  // the one before

  // The operand 16 k deeper, boxes of 64 deep and `lines` lines lying behind each other.
  __device__ static uint64_t in_boxes(uint64_t operand, int k, int lines) {
    return cuda::deeper<Lines::along_k>(operand, k % 4) + k / 4 * (lines * cuda::line_bytes >> 4);
  }
  // The operand that begins at `box`, made anew each time: hoisted out of the loop, all of them would not fit into the registers.
  __device__ static uint64_t fresh_operand(const void *box) {
    uint32_t address = cuda::shared_address(box);
    asm volatile("" : "+r"(address));
    return cuda::operand(address);
  }

  // Gates and values of 128 packed rows, and the gradients of the 64 hidden values behind them.
  __device__ void issue_hidden(const T (*rows)[tile][64], float (&before)[64], float (&hidden)[32]) {
    shared.down_full[down.at].wait(down.parity);
    const uint64_t by_down = cuda::operand(cuda::shared_address(shared.down[down.at]), 8192);
    const uint64_t out_gradient = fresh_operand(shared.gradient[w]);
#pragma unroll
    for (int k = 0; k < C / 16; ++k)
      cuda::product<T, Lines::along_k, Lines::along_rows>(hidden, in_boxes(out_gradient, k, tile),
                                                          cuda::deeper<Lines::along_rows>(by_down, k), k > 0);
    down.advance();
    shared.up_full[up.at].wait(up.parity);
    const uint64_t z = fresh_operand(rows), by_up = cuda::operand(cuda::shared_address(shared.up[up.at]));
#pragma unroll
    for (int k = 0; k < C / 16; ++k)
      cuda::product<T, Lines::along_k, Lines::along_k>(before, in_boxes(z, k, tile), in_boxes(by_up, k, 128), k > 0);
    up.advance();
    cuda::commit_products();
  }

  // dz += the gates' and values' gradients times their rows of weights, the oldest that are not handed back.
  __device__ void issue_through(float (&dz)[64], const uint32_t (&inner)[blocks][4], bool add) {
    const uint64_t b = cuda::operand(cuda::shared_address(shared.up[up_behind.at]), 128 * 64 * 2);
#pragma unroll
    for (int k = 0; k < blocks; ++k) cuda::product<T, Lines::along_rows>(dz, inner[k], cuda::deeper<Lines::along_rows>(b, k), add || k > 0);
    cuda::commit_products();
  }

  struct Moments {
    float mean[2], scale[2];  // of the upper and the lower row
  };

  // z of x, in the arithmetic of two passes.  Rows behind the last one get scale 0.
  __device__ Moments normalise(int row) {
    const int matrix = lane() / 8, line = warp() * 16 + matrix % 2 * 8 + lane() % 8, quad = lane() % 4;
    uint32_t held[C / 16][4];
    Moments of{};
    float sum[2] = {}, square[2] = {};
    const auto each = [&](auto use) {
#pragma unroll
      for (int k = 0; k < C / 16; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i) use(held[k][i], i % 2, k * 16 + i / 2 * 8 + quad * 2);
    };
#pragma unroll
    for (int k = 0; k < C / 16; ++k)
      cuda::load_matrices(held[k], cuda::swizzled(cuda::shared_address(shared.x[w][k / 4]), line, k % 4 * 2 + matrix / 2));
    each([&](uint32_t pair, int lower, int) {
      const float2 x = cuda::unpack_pair<T>(pair);
      sum[lower] += x.x + x.y;
    });
    for (int lower = 0; lower < 2; ++lower) of.mean[lower] = cuda::over_quad(sum[lower]) / C;
    each([&](uint32_t pair, int lower, int) {
      const float2 x = cuda::unpack_pair<T>(pair);
      const float a = x.x - of.mean[lower], b = x.y - of.mean[lower];
      square[lower] = fmaf(a, a, fmaf(b, b, square[lower]));
    });
    for (int lower = 0; lower < 2; ++lower) {
      const float scale = rsqrtf(cuda::over_quad(square[lower]) / C + job.eps);
      of.scale[lower] = row + lower * 8 < job.rows ? scale : 0.0f;
    }
    each([&](uint32_t &pair, int lower, int column) {
      const float2 x = cuda::unpack_pair<T>(pair), weight = __ldg(reinterpret_cast<const float2 *>(job.norm + column)),
                   bias = __ldg(reinterpret_cast<const float2 *>(job.norm + C + column));
      pair = cuda::pack_pair<T>(fmaf((x.x - of.mean[lower]) * of.scale[lower], weight.x, bias.x),
                                fmaf((x.y - of.mean[lower]) * of.scale[lower], weight.y, bias.y));
    });
#pragma unroll
    for (int k = 0; k < C / 16; ++k)
      cuda::store_matrices(cuda::swizzled(cuda::shared_address(shared.z[w][k / 4]), line, k % 4 * 2 + matrix / 2), held[k][0], held[k][1],
                           held[k][2], held[k][3]);
    cuda::publish_shared();
    __syncwarp();
    if (lane() == 0) shared.normed[w].arrive();
    return of;
  }

  // Two neighbouring elements of a row of x, standardised.
  __device__ float2 standardised(const Moments &of, int j, int lower) const {
    const int line = warp() * 16 + lane() / 4 + lower * 8;
    const T *pair = &shared.x[w][j / 8][line][(j % 8 ^ line % 8) * 8 + lane() % 4 * 2];
    const float2 x = cuda::unpack_pair<T>(*reinterpret_cast<const uint32_t *>(pair));
    return {(x.x - of.mean[lower]) * of.scale[lower], (x.y - of.mean[lower]) * of.scale[lower]};
  }

  // What the norm's parameters get from this warp's 16 rows.
  __device__ void sum_norm(const float (&dz)[64], const Moments &of, int first) {
    float *to = job.norm_sums + static_cast<int64_t>(first / 16 + warp()) * 2 * C;
#pragma unroll
    for (int j = 0; j < C / 8; ++j) {
      const float2 upper = standardised(of, j, 0), lower = standardised(of, j, 1);
      float sums[4] = {dz[4 * j] + dz[4 * j + 2], dz[4 * j + 1] + dz[4 * j + 3], fmaf(dz[4 * j], upper.x, dz[4 * j + 2] * lower.x),
                       fmaf(dz[4 * j + 1], upper.y, dz[4 * j + 3] * lower.y)};
#pragma unroll
      for (float &sum : sums)
#pragma unroll
        for (int step = 4; step < 32; step *= 2) sum += __shfl_xor_sync(~0u, sum, step);
      if (lane() < 4 && first < job.rows) {
        *reinterpret_cast<float2 *>(to + j * 8 + lane() * 2) = {sums[0], sums[1]};
        *reinterpret_cast<float2 *>(to + C + j * 8 + lane() * 2) = {sums[2], sums[3]};
      }
    }
  }

  // The gradient of x, in its place.
  __device__ void finish(float (&dz)[64], const Moments &of) {
    float slope[2] = {}, along[2] = {};
    if (job.normed) {
#pragma unroll
      for (int j = 0; j < C / 8; ++j) {
        const float2 weight = __ldg(reinterpret_cast<const float2 *>(job.norm + j * 8 + lane() % 4 * 2));
#pragma unroll
        for (int lower = 0; lower < 2; ++lower) {
          const float2 hat = standardised(of, j, lower);
          float &a = dz[4 * j + 2 * lower], &b = dz[4 * j + 2 * lower + 1];
          a *= weight.x, b *= weight.y;
          slope[lower] += a + b, along[lower] = fmaf(a, hat.x, fmaf(b, hat.y, along[lower]));
        }
      }
#pragma unroll
      for (int lower = 0; lower < 2; ++lower)
        slope[lower] = cuda::over_quad(slope[lower]) / C, along[lower] = cuda::over_quad(along[lower]) / C;
    }
    const int matrix = lane() / 8;
#pragma unroll
    for (int j = 0; j < C / 8; j += 2) {
      uint32_t result[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {  // upper and lower rows of the first 8 columns, then of the second
        const int lower = i % 2;
        const float *d = dz + 4 * (j + i / 2) + 2 * lower;
        float2 value{d[0], d[1]};
        if (job.normed) {
          const float2 hat = standardised(of, j + i / 2, lower);
          value = {gpu::input_gradient(d[0], hat.x, of.scale[lower], slope[lower], along[lower]),
                   gpu::input_gradient(d[1], hat.y, of.scale[lower], slope[lower], along[lower])};
        }
        result[i] = cuda::pack_pair<T>(value.x, value.y);
      }
      __syncwarp();  // x of these 16 columns is in registers of the whole warp before it is overwritten
      cuda::store_matrices(
          cuda::swizzled(cuda::shared_address(shared.x[w][j / 8]), warp() * 16 + matrix % 2 * 8 + lane() % 8, j % 8 + matrix / 2),
          result[0], result[1], result[2], result[3]);
    }
  }

  __device__ void work() {
    for (int round = 0; round < job.rounds; ++round) {
      const int first = gradient_tile_of(round, w) * tile, row = first + warp() * 16 + lane() / 4;
      const T(*rows)[tile][64] = job.normed ? shared.z[w] : shared.x[w];
      float dz[64], before[64], dh[32];
      uint32_t inner[blocks][4];
      Moments of{};
      shared.rows_full[w].wait(round & 1);
      if (job.normed) {
        of = normalise(row);
        shared.normed[w].wait(round & 1);
      }
      cuda::begin_products();
      issue_hidden(rows, before, dh);
      cuda::wait_products<0>();
      hand_down_back();
      for (int group = 0; group < job.groups; ++group) {
        activate_gradient<T>(job, before, dh, group, row, inner);
        cuda::begin_products();
        const bool more = group + 1 < job.groups;
        if (more) issue_hidden(rows, before, dh);
        issue_through(dz, inner, group > 0);
        cuda::wait_products<0>();
        hand_up_back();
        if (more) hand_down_back();
      }
      if (job.norm_sums) sum_norm(dz, of, first);
      finish(dz, of);
      cuda::publish_shared();
      __syncwarp();
      if (lane() == 0) shared.staged[w].arrive();
    }
  }
};

template <class T, int C>
__device__ void gradient(const GradientJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  auto &shared = *reinterpret_cast<GradientShared<T, C> *>(dynamic);
  static_assert(C == 128 && sizeof shared <= gradient_shape().shared_bytes && cuda::registers_fit(workers, 240, 24));
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  if (threadIdx.x == 0) {
    cuda::allow_next_kernel();
    for (Barrier &barrier : shared.up_full) barrier.init(1);
    for (Barrier &barrier : shared.down_full) barrier.init(1);
    for (Barrier &barrier : shared.up_free) barrier.init(workers * together);
    for (Barrier &barrier : shared.down_free) barrier.init(workers * together);
    for (int w = 0; w < workers; ++w) shared.rows_full[w].init(1), shared.normed[w].init(4), shared.staged[w].init(4);
    cuda::publish_barriers();
  }
  cuda::wait_for_previous_kernel();
  cuda::meet_cluster();
  if (group == workers) {
    cuda::lower_registers<24>();
    if (threadIdx.x % 32 == 0) {
      if (warp == 0) load_gradient_weights<T, C>(job, shared);
      else if (warp <= workers) serve_gradient_rows<T, C>(job, shared, warp - 1);
    }
    __syncwarp();
  } else {
    cuda::raise_registers<240>();
    GradientWorker<T, C>{job, shared, group}.work();
  }
  cuda::meet_cluster();  // nobody leaves while the other may still arrive at its barriers or fill its memory
}

}  // namespace lamina::transition::hopper
