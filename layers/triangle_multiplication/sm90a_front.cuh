// Step 1 on Hopper: a and b from pair.
//
// A CTA keeps 128 KB of packed weights in shared memory for good and walks over tiles of 64 positions.  Each worker warpgroup has its
// own tile: TMA -> registers -> LayerNorm -> wgmma against 128 weight rows at a time -> gate and mask -> shared memory -> TMA.  Each has
// its own service warp in the last warpgroup, which does its copies in their order and looks up the mask; nothing else synchronises.
#pragma once
#include "cuda_front.cuh"
#include "sm90a_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

template <int C>
struct FrontShape {
  static constexpr int splits = front_splits(C), passes = 4 * C / splits / 128, workers = front_workers(C);
  static constexpr int worker_registers = workers == 3 ? 152 : 232, service_registers = workers == 3 ? 56 : 40;
};

template <int C>
struct FrontShared {
  using Shape = FrontShape<C>;
  alignas(1024) bfloat16 weights[Shape::passes][C / 64][128][64];
  alignas(1024) bfloat16 pair[Shape::workers][C / 64][tile][64];
  alignas(1024) bfloat16 staged[Shape::workers][2][64][tile];  // [channel][position]
  NormPair norm[front_folds(C) ? 1 : C / 2];
  float half_mask[Shape::workers][tile];
  Barrier weights_full[Shape::passes], pair_full[Shape::workers], pair_free[Shape::workers];
  Barrier staged_full[Shape::workers][2], staged_free[Shape::workers][2];
};

// One lane's part of a tile's mask, halved for gate_and_stage.
__device__ inline float half_mask_of(const FrontJob &job, int position) {
  const unsigned x = static_cast<unsigned>(position) / static_cast<unsigned>(job.cells.N);
  triangle_multiplication::Cell cell;
  cell.batch = static_cast<int>(x / static_cast<unsigned>(job.cells.N));
  cell.i = static_cast<int>(x) - cell.batch * job.cells.N, cell.j = position - static_cast<int>(x) * job.cells.N;
  return 0.5f * mask_of(job.pair_mask, job.token_mask, cell);
}

// The service warp of worker w.
template <int C>
__device__ void serve_front(const FrontJob &job, FrontShared<C> &shared, int w, int split, int first, int step) {
  using Shape = FrontShape<C>;
  const int lane = threadIdx.x % 32;
  // pair_full waits for the copy and for the mask.
  const auto load_pair = [&](int t) {
    if (lane > 0) return;
    shared.pair_full[w].expect(tile * C * 2);
    for (int box = 0; box < C / 64; ++box) cuda::load_box(job.pair, shared.pair_full[w], shared.pair[w][box], box * 64, t * tile);
  };
  const auto look_up_mask = [&](int t) {
    for (int at = lane; at < tile; at += 32) shared.half_mask[w][at] = half_mask_of(job, t * tile + at);
    __syncwarp();
    if (lane == 0) shared.pair_full[w].arrive();
  };
  if (lane == 0) {
    for (int pass = w; pass < Shape::passes; pass += Shape::workers) {
      shared.weights_full[pass].expect(128 * C * 2);
      for (int box = 0; box < C / 64; ++box)
        cuda::load_box(job.weights, shared.weights_full[pass], shared.weights[pass][box], box * 64, (split * Shape::passes + pass) * 128);
    }
  }
  if (first < job.tiles) load_pair(first), look_up_mask(first);
  int stores = 0;
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    const bool more = t + step < job.tiles;
    if (more) {
      shared.pair_free[w].wait(round & 1);
      load_pair(t + step);
    }
    for (int pass = 0; pass < Shape::passes; ++pass, ++stores) {
      const int buffer = stores & 1;
      if (lane == 0) {
        shared.staged_full[w][buffer].wait(stores >> 1 & 1);
        cuda::store_box(job.planes, shared.staged[w][buffer], t * tile, (split * Shape::passes + pass) * 64);
        cuda::commit_stores();
        cuda::wait_stores_read<1>();  // the store before this one has read its buffer
        if (stores > 0) shared.staged_free[w][buffer ^ 1].arrive();
      }
      __syncwarp();
      // The mask's way from memory is long; here the worker has the whole next pass before it needs a buffer.
      if (pass == 0 && more) look_up_mask(t + step);
    }
  }
  if (lane == 0) cuda::wait_stores<0>();
}

// value * sigmoid(gate) * mask of the 64 channels of one pass, into [channel][position].  `sum` holds column tiles of 8 values, then
// their 8 halved gates: (v m / 2) (1 + tanh(g)).
__device__ inline void gate_and_stage(const float (&sum)[64], RowPair half_mask, void *staged) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, matrix = lane / 8, within = lane % 8;
  const uint32_t line = cuda::swizzled(cuda::shared_address(staged), matrix / 2 * 8 + within, warp * 2 + matrix % 2);
#pragma unroll
  for (int group = 0; group < 8; group += 2) {  // of 8 channels
    uint32_t result[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // upper and lower of the first group, then of the second
      const float mask = i % 2 ? half_mask.lower : half_mask.upper;
      const float *value = sum + (group + i / 2) * 8 + i % 2 * 2, *gate = value + 4;
      const float v0 = value[0] * mask, v1 = value[1] * mask;
      result[i] = cuda::pack(fmaf(v0, cuda::tanh_approximate(gate[0]), v0), fmaf(v1, cuda::tanh_approximate(gate[1]), v1));
    }
    cuda::store_matrices_transposed(line + group * 8 * cuda::line_bytes, result[0], result[1], result[2], result[3]);
  }
}

template <int C>
__device__ void work_front(const FrontJob &job, FrontShared<C> &shared, int w, int split, int first, int step) {
  using Shape = FrontShape<C>;
  const int lane = threadIdx.x % 32, row = threadIdx.x / 32 % 4 * 16 + lane / 4;
  int stores = 0;
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    Rows<C> rows;
    shared.pair_full[w].wait(round & 1);
    rows.load_by_position(shared.pair[w]);
    const RowPair half_mask{shared.half_mask[w][row], shared.half_mask[w][row + 8]};
    __syncwarp();
    rows.release(shared.pair_free[w]);
    RowPair scale;
    if constexpr (!front_folds(C)) rows.normalise(shared.norm, job.eps);
#pragma unroll 1
    for (int pass = 0; pass < Shape::passes; ++pass, ++stores) {
      float sum[64];
      if (round == 0) shared.weights_full[pass].wait(0);
      rows.multiply(sum, shared.weights[pass]);
      if constexpr (front_folds(C)) {
        if (pass == 0) scale = rows.statistics(job.eps).scale;
      }
      const int buffer = stores & 1;
      shared.staged_free[w][buffer].wait((stores >> 1 & 1) ^ 1);
      cuda::wait_products<0>();
      if (job.bias) {
        const float *bias = job.bias + (split * Shape::passes + pass) * 128 + lane % 4 * 2;
#pragma unroll
        for (int j = 0; j < 16; ++j) {
          const float2 b = __ldg(reinterpret_cast<const float2 *>(bias + j * 8));
          if constexpr (front_folds(C)) {
            sum[4 * j] = fmaf(sum[4 * j], scale.upper, b.x), sum[4 * j + 1] = fmaf(sum[4 * j + 1], scale.upper, b.y);
            sum[4 * j + 2] = fmaf(sum[4 * j + 2], scale.lower, b.x), sum[4 * j + 3] = fmaf(sum[4 * j + 3], scale.lower, b.y);
          } else {
            sum[4 * j] += b.x, sum[4 * j + 1] += b.y, sum[4 * j + 2] += b.x, sum[4 * j + 3] += b.y;
          }
        }
      }
      gate_and_stage(sum, half_mask, shared.staged[w][buffer]);
      cuda::publish_shared();
      __syncwarp();
      if (lane == 0) shared.staged_full[w][buffer].arrive();
    }
  }
}

template <int C>
__device__ void front(const FrontJob &job) {
  using Shape = FrontShape<C>;
  static_assert(sizeof(FrontShared<C>) == front_shape(C).shared_bytes && (Shape::workers + 1) * 128 == front_shape(C).threads);
  extern __shared__ __align__(1024) char dynamic[];
  FrontShared<C> &shared = *reinterpret_cast<FrontShared<C> *>(dynamic);
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  const int split = blockIdx.x % Shape::splits, step = gridDim.x / Shape::splits * Shape::workers;
  // In this order: whoever starts early behind this kernel may then read packed weights before it waits itself.
  cuda::wait_for_previous_kernel();
  if (threadIdx.x == 0) {
    cuda::allow_next_kernel();
    for (Barrier &barrier : shared.weights_full) barrier.init(1);
    for (int w = 0; w < Shape::workers; ++w) {
      shared.pair_full[w].init(2), shared.pair_free[w].init(4);
      for (int buffer = 0; buffer < 2; ++buffer) shared.staged_full[w][buffer].init(4), shared.staged_free[w][buffer].init(1);
    }
    cuda::publish_barriers();
  }
  if constexpr (!front_folds(C)) load_norm<C>(shared.norm, job.norm_weight, job.norm_bias);
  __syncthreads();
  const int w = group < Shape::workers ? group : warp, first = blockIdx.x / Shape::splits + w * (gridDim.x / Shape::splits);
  if (group < Shape::workers) {
    cuda::raise_registers<Shape::worker_registers>();
    work_front<C>(job, shared, w, split, first, step);
  } else {
    cuda::lower_registers<Shape::service_registers>();
    if (warp < Shape::workers) serve_front<C>(job, shared, w, split, first, step);
  }
}

}  // namespace lamina::triangle_multiplication::hopper
