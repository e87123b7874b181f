// Step 3 on Hopper: out from pair and o.  The same skeleton as the front's: 128 output channels' weights of both linear layers stay in
// shared memory, each worker warpgroup walks over tiles of 64 positions with a service thread of its own.
#pragma once
#include "cuda_back.cuh"
#include "sm90a_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

template <int C>
struct BackShape {
  static constexpr int splits = back_splits(C);   // CTAs that share a tile, 128 output channels each
  static constexpr int slots = C == 128 ? 2 : 1;  // pair and o have a slot each, or take turns
};

template <int C>
struct BackShared {
  alignas(1024) bfloat16 gate[C / 64][128][64];
  alignas(1024) bfloat16 weights[C / 64][128][64];
  alignas(1024) bfloat16 slot[back_workers][BackShape<C>::slots][tile * C];
  alignas(1024) bfloat16 staged[back_workers][2][tile][64];
  float half_gate_bias[128], bias[128];
  Barrier weights_full[2];
  Barrier full[back_workers][2], free[back_workers][2];  // of pair, of o
  Barrier staged_full[back_workers], staged_free[back_workers];
};

template <int C>
__device__ void serve_back(const BackJob &job, BackShared<C> &shared, int w, int split, int first, int step) {
  constexpr bool own_slots = BackShape<C>::slots == 2;
  const auto load_pair = [&](int t) {
    shared.full[w][0].expect(tile * C * 2);
    for (int box = 0; box < C / 64; ++box)
      load_positions(job.pair, job.cells, shared.full[w][0], shared.slot[w][0] + box * tile * 64, box * 64, t * tile);
  };
  const auto load_o = [&](int t) {
    shared.full[w][1].expect(tile * C * 2);
    cuda::load_box(job.o, shared.full[w][1], shared.slot[w][own_slots], t * tile, 0);
  };
  if (w < 2) {
    shared.weights_full[w].expect(128 * C * 2);
    for (int box = 0; box < C / 64; ++box)
      cuda::load_box(w ? job.weights : job.gate, shared.weights_full[w], w ? shared.weights[box] : shared.gate[box], box * 64, split * 128);
  }
  cuda::wait_for_previous_kernel();
  if (first < job.tiles) {
    load_pair(first);
    if (own_slots) load_o(first);
  }
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    const bool more = t + step < job.tiles;
    shared.free[w][0].wait(round & 1);
    if (own_slots && more) load_pair(t + step);
    if (!own_slots) load_o(t);
    shared.free[w][1].wait(round & 1);
    if (own_slots && more) load_o(t + step);
    if (!own_slots && more) load_pair(t + step);
    shared.staged_full[w].wait(round & 1);
    for (int box = 0; box < 2; ++box) store_positions(job.out, job.cells, shared.staged[w][box], split * 128 + box * 64, t * tile);
    cuda::commit_stores();
    cuda::wait_stores_read<0>();
    shared.staged_free[w].arrive();
  }
  cuda::wait_stores<0>();
}

// Two neighbouring bf16 numbers; `at` need not be a multiple of 4 bytes.
__device__ inline float2 load_two(const bfloat16 *at) {
  if (reinterpret_cast<uintptr_t>(at) % 4) return {gpu::to_float(at[0]), gpu::to_float(at[1])};
  const uint32_t pair = *reinterpret_cast<const uint32_t *>(at);
  return {cuda::low_half(pair), cuda::high_half(pair)};
}

// Dropout mask and residual at one position; of a position that is padding, nothing.
struct Extras {
  bool inside;
  int64_t dropout, residual;  // elements from the views' data to channel 0

  __device__ Extras(const BackJob &job, int64_t position) {
    const triangle_multiplication::Cell cell(job.cells, position);
    inside = cell.inside, dropout = cell.offset(job.dropout_mask), residual = cell.offset(job.residual);
  }
  // For two neighbouring channels.
  __device__ void finish(const BackJob &job, int channel, float (&u)[2]) const {
    if (!inside) return;
    if (const View &mask = job.dropout_mask; mask.present) {
      float2 factor;
      if (mask.dtype == DType::bfloat16 && mask.stride[3] == 1) {
        factor = load_two(static_cast<const bfloat16 *>(mask.data) + dropout + channel);
      } else {
        factor.x = gpu::load_any(mask.data, mask.dtype, dropout + channel * mask.stride[3]);
        factor.y = gpu::load_any(mask.data, mask.dtype, dropout + (channel + 1) * mask.stride[3]);
      }
      u[0] *= factor.x, u[1] *= factor.y;
    }
    if (job.residual.present) {
      const float2 more = load_two(static_cast<const bfloat16 *>(job.residual.data) + residual + channel);
      u[0] += more.x, u[1] += more.y;
    }
  }
};

template <int C, bool extras>
__device__ void work_back(const BackJob &job, BackShared<C> &shared, int w, int split, int first, int step) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, column = lane % 4 * 2, matrix = lane / 8;
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    Rows<C> rows;
    float sum[64];
    uint32_t gate[32];

    shared.full[w][0].wait(round & 1);
    rows.load_by_position(shared.slot[w][0]);
    rows.release(shared.free[w][0]);
    if (round == 0) shared.weights_full[0].wait(0);
    rows.multiply(sum, shared.gate);
    RowPair scale = rows.statistics(job.eps).scale;
    cuda::wait_products<0>();
    scale.upper *= 0.5f, scale.lower *= 0.5f;
#pragma unroll
    for (int pair = 0; pair < 32; ++pair) {  // sigmoid(x) = (1 + tanh(x / 2)) / 2
      const float *bias = shared.half_gate_bias + pair / 2 * 8 + column;
      const float s = pair % 2 ? scale.lower : scale.upper;
      gate[pair] = cuda::pack(fmaf(cuda::tanh_approximate(fmaf(sum[2 * pair], s, bias[0])), 0.5f, 0.5f),
                              fmaf(cuda::tanh_approximate(fmaf(sum[2 * pair + 1], s, bias[1])), 0.5f, 0.5f));
    }

    shared.full[w][1].wait(round & 1);
    rows.load_by_channel(shared.slot[w][BackShape<C>::slots - 1]);
    rows.release(shared.free[w][1]);
    if (round == 0) shared.weights_full[1].wait(0);
    rows.multiply(sum, shared.weights);
    scale = rows.statistics(job.eps).scale;
    cuda::wait_products<0>();

    shared.staged_free[w].wait((round & 1) ^ 1);
    const int64_t position = static_cast<int64_t>(t) * tile + warp * 16 + lane / 4;
    const auto at = [&](int64_t further) {
      if constexpr (extras) return Extras(job, position + further);
      else return 0;
    };
    [[maybe_unused]] const auto upper = at(0), lower = at(8);
#pragma unroll
    for (int j = 0; j < 16; j += 2) {  // two column tiles of 8
      uint32_t result[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {  // upper and lower of the first, then of the second
        const int pair = (j + i / 2) * 2 + i % 2;
        const float *bias = shared.bias + (j + i / 2) * 8 + column;
        const float s = i % 2 ? scale.lower : scale.upper;
        float u[2] = {fmaf(sum[2 * pair], s, bias[0]) * cuda::low_half(gate[pair]),
                      fmaf(sum[2 * pair + 1], s, bias[1]) * cuda::high_half(gate[pair])};
        if constexpr (extras) (i % 2 ? lower : upper).finish(job, split * 128 + (j + i / 2) * 8 + column, u);
        result[i] = cuda::pack(u[0], u[1]);
      }
      cuda::store_matrices(
          cuda::swizzled(cuda::shared_address(shared.staged[w][j / 8]), warp * 16 + matrix % 2 * 8 + lane % 8, j % 8 + matrix / 2),
          result[0], result[1], result[2], result[3]);
    }
    cuda::publish_shared();
    __syncwarp();
    if (lane == 0) shared.staged_full[w].arrive();
  }
}

// extras: there is a residual or a dropout mask.
template <int C, bool extras>
__device__ void back(const BackJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  BackShared<C> &shared = *reinterpret_cast<BackShared<C> *>(dynamic);
  static_assert(sizeof(BackShared<C>) == back_shape(C).shared_bytes && (back_workers + 1) * 128 == back_shape(C).threads);
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  const int split = blockIdx.x % BackShape<C>::splits, step = gridDim.x / BackShape<C>::splits * back_workers;
  if (threadIdx.x == 0) {
    cuda::allow_next_kernel();
    for (Barrier &barrier : shared.weights_full) barrier.init(1);
    for (int w = 0; w < back_workers; ++w) {
      for (int which = 0; which < 2; ++which) shared.full[w][which].init(1), shared.free[w][which].init(4);
      shared.staged_full[w].init(4), shared.staged_free[w].init(1);
    }
    cuda::publish_barriers();
  }
  if (threadIdx.x < 128) {
    shared.half_gate_bias[threadIdx.x] = 0.5f * job.gate_bias[split * 128 + threadIdx.x];
    shared.bias[threadIdx.x] = job.bias[split * 128 + threadIdx.x];
  }
  __syncthreads();
  const int w = group < back_workers ? group : warp, first = blockIdx.x / BackShape<C>::splits + w * (gridDim.x / BackShape<C>::splits);
  if (group < back_workers) {
    cuda::raise_registers<240>();
    work_back<C, extras>(job, shared, w, split, first, step);
  } else {
    cuda::lower_registers<24>();
    if (warp < back_workers && threadIdx.x % 32 == 0) serve_back<C>(job, shared, w, split, first, step);
  }
}

}  // namespace lamina::triangle_multiplication::hopper
