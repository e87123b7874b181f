// Step 1 on Hopper: a and b from pair.
//
// A CTA keeps 128 KB of packed weights in shared memory for good and walks over tiles of 64 positions.  Worker warpgroups take turns with
// the tiles: TMA -> wgmma -> norm, gate and mask -> shared memory -> TMA, 128 weight rows and so 64 channels at a time.  In the last
// warpgroup one warp runs ahead and fills a ring of tiles, with their masks, and one warp a worker stores what that worker has staged;
// nothing else synchronises.
#pragma once
#include "cuda_front.cuh"
#include "sm90a_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

// narrow: pair comes normalised already, in 16 bits, and behind a and b lie the channels of the output gate (sm90a_narrow.cuh).
template <int channels, int hidden, class T, bool is_narrow>
struct FrontShape {
  using Element = T;
  static constexpr int C = channels, H = hidden;
  static constexpr bool narrow = is_narrow, folds = !narrow && front_folds(C), normalises = !narrow && !folds;
  static constexpr int splits = narrow ? narrow_splits(C) : front_splits(C), workers = narrow ? narrow_workers : front_workers(C);
  static constexpr int gate_rows = narrow ? narrow_hidden : 0, passes = (4 * H + gate_rows) / splits / 128;
  static constexpr int slots = workers * (C == 64 ? 2 : 1);  // of the ring of tiles: a worker's own, in turn
  static constexpr int buffers = 2;                          // staged passes of a worker
  static constexpr bool in_turns = !narrow && front_in_turns(C);
  static constexpr int turns = passes;  // of a tile
  static constexpr int worker_registers = workers == 3 ? 152 : 224, service_registers = 56;
  static_assert(cuda::registers_fit(workers, worker_registers, service_registers));
};

template <class Shape>
struct FrontShared {
  using T = typename Shape::Element;
  static constexpr int C = Shape::C;
  alignas(1024) T weights[Shape::passes * C / 64][128][64];
  alignas(1024) T pair[Shape::slots][C / 64][tile][64];
  alignas(1024) T staged[Shape::workers][Shape::buffers][64][tile];  // [channel][position]
  NormPair norm[Shape::normalises ? C / 2 : 1];
  float bias[Shape::folds ? Shape::passes * 128 : 1];
  float half_mask[Shape::slots][tile];
  // A slot is always the same worker's: who waits for a phase must see every phase of that parity before it.
  Barrier weights_full[Shape::passes], pair_full[Shape::slots], pair_free[Shape::slots];
  Barrier staged_full[Shape::workers][Shape::buffers], staged_free[Shape::workers][Shape::buffers];
  cuda::Turns<Shape::workers> turns;

  // Of a pass and 64 channels of pair.  Where one product takes both passes, their rows lie behind each other.
  __device__ T *weight_box(int pass, int box) { return weights[Shape::folds ? box * Shape::passes + pass : pass * C / 64 + box][0]; }
};

// The masks of a position and the next on their way from memory: value_of makes numbers of them.  What padding gets is never read, so it
// gets its neighbour's.
__device__ inline void look_up_masks(const FrontJob &job, const Walk &at, uint64_t (&bits)[2]) {
  const MaskLines &mask = job.mask_lines;
  if (!mask.data) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const triangle_multiplication::Cell cell(job.cells, at.position + half);
      bits[half] = cell.inside ? __float_as_uint(mask_of(job.pair_mask, job.token_mask, cell)) : 0;
    }
    return;
  }
  const int64_t line = min(at.line, mask.last_line) * mask.line;
#pragma unroll
  for (int half = 0; half < 2; ++half)
    bits[half] = gpu::load_bits(mask.data, size_of(mask.dtype), line + min(at.j + half, mask.last) * mask.element);
}
__device__ inline float value_of(const FrontJob &job, uint64_t mask) {
  return job.mask_lines.data ? gpu::value_of(mask, job.mask_lines.dtype) : __uint_as_float(static_cast<uint32_t>(mask));
}

// The warp that fills the ring: tile after tile, and behind each of the first ones a pass of weights, so that the first worker waits for
// one of each instead of all the weights.
template <class Shape>
__device__ void load_front(const FrontJob &job, FrontShared<Shape> &shared, int split, int first, int step) {
  constexpr int C = Shape::C;
  const int lane = threadIdx.x % 32;
  int passes = 0;  // whose weights are under way
  const auto load_weights = [&](int until) {
    for (; passes < until; ++passes) {
      shared.weights_full[passes].expect(128 * C * 2);
      for (int box = 0; box < C / 64; ++box)
        cuda::load_box(job.weights, shared.weights_full[passes], shared.weight_box(passes, box), box * 64,
                       (split * Shape::passes + passes) * 128);
    }
  };
  // A mask's way from memory is long: it is under way while this warp waits for a slot, and a lane's two positions share a sector.
  uint64_t mask[2];
  Walk at(job.cells, first * tile + 2 * lane, step * tile);
  if (first < job.tiles) look_up_masks(job, at, mask);
  RingIndex<Shape::slots> slot;
  Walk begin = at.of_first_lane();
  for (int t = first; t < job.tiles; t += step, slot.advance()) {
    Barrier &full = shared.pair_full[slot.at];  // waits for the copy and for the mask
    shared.pair_free[slot.at].wait(slot.parity ^ 1);
    load_tile<C / 64>(job.pair, job.cells, full, shared.pair[slot.at], begin);
    // With the ring's last slot come all of them: a slot may not be freed before its worker has seen every pass.
    if (lane == 0) load_weights(slot.at == Shape::slots - 1 ? Shape::passes : passes + 1 < Shape::passes ? passes + 1 : Shape::passes);
#pragma unroll
    for (int half = 0; half < 2; ++half) shared.half_mask[slot.at][2 * lane + half] = 0.5f * value_of(job, mask[half]);
    __syncwarp();
    if (lane == 0) full.arrive();
    at.advance(), begin = at.of_first_lane();
    if (t + step < job.tiles) look_up_masks(job, at, mask);
  }
  if (lane == 0) load_weights(Shape::passes);
}

// The first channel of a, b and output gate that a pass makes: 64 of 128 rows of a and b, all 128 of the gate.
template <class Shape>
__device__ int first_plane(int split, int pass) {
  const int row = (split * Shape::passes + pass) * 128, gated = Shape::narrow ? 4 * narrow_hidden : row;
  return row <= gated ? row / 2 : gated / 2 + row - gated;
}

// The thread that stores what worker w stages.
template <class Shape>
__device__ void store_front(const FrontJob &job, FrontShared<Shape> &shared, int w, int split, int first, int step) {
  static_assert(Shape::buffers == 2);
  RingIndex<Shape::buffers> buffer;
  bool before = false;
  for (int t = first; t < job.tiles; t += step) {
    const int from = first_plane<Shape>(split, 0), to = first_plane<Shape>(split, Shape::passes);
    for (int plane = from; plane < to; plane += 64, buffer.advance()) {
      shared.staged_full[w][buffer.at].wait(buffer.parity);
      cuda::store_box(job.planes, shared.staged[w][buffer.at], t * tile, plane);
      cuda::commit_stores();
      // A buffer is free when its store has read it: with two buffers, look at the store before.
      cuda::wait_stores_read<1>();
      if (before) shared.staged_free[w][buffer.at ^ 1].arrive();
      before = true;
    }
  }
  cuda::wait_stores<0>();
}

// Where a lane's lines of the first 16 staged channels are.
__device__ inline uint32_t staged_line(void *staged) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, matrix = lane / 8, within = lane % 8;
  return cuda::swizzled(cuda::shared_address(staged), matrix / 2 * 8 + within, warp * 2 + matrix % 2);
}

// value * sigmoid(gate) * mask of the 64 channels of one pass, into [channel][position].  `sum` holds column tiles of 8 values, then
// their 8 halved gates: (v m / 2) (1 + tanh(g)).
template <class T, bool exact>
__device__ void gate_and_stage(const float *sum, RowPair half_mask, void *staged) {
  const uint32_t line = staged_line(staged);
#pragma unroll
  for (int group = 0; group < 8; group += 2) {  // of 8 channels
    uint32_t result[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // upper and lower of the first group, then of the second
      const float mask = i % 2 ? half_mask.lower : half_mask.upper;
      const float *value = sum + (group + i / 2) * 8 + i % 2 * 2, *gate = value + 4;
      const float v0 = value[0] * mask, v1 = value[1] * mask;
      if constexpr (exact) result[i] = cuda::pack<T>(2 * v0 * gpu::sigmoid(2 * gate[0]), 2 * v1 * gpu::sigmoid(2 * gate[1]));
      else result[i] = cuda::pack<T>(fmaf(v0, cuda::tanh_approximate(gate[0]), v0), fmaf(v1, cuda::tanh_approximate(gate[1]), v1));
    }
    cuda::store_matrices_transposed(line + group * 8 * cuda::line_bytes, result[0], result[1], result[2], result[3]);
  }
}

// Of 64 channels of the output gate, alike.
template <class T>
__device__ void sigmoid_and_stage(const float *sum, void *staged) {
  const uint32_t line = staged_line(staged);
#pragma unroll
  for (int group = 0; group < 8; group += 2) {
    uint32_t result[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float *x = sum + (group + i / 2) * 4 + i % 2 * 2;
      result[i] = cuda::pack<T>(gpu::sigmoid(x[0]), gpu::sigmoid(x[1]));
    }
    cuda::store_matrices_transposed(line + group * 8 * cuda::line_bytes, result[0], result[1], result[2], result[3]);
  }
}

// Adds the biases; where the LayerNorm is folded into the weights, scales by 1 / deviation first.
template <bool folds>
__device__ void scale_and_shift(float *sum, const float *bias, RowPair scale) {
#pragma unroll
  for (int j = 0; j < 16; ++j) {
    const float2 b = *reinterpret_cast<const float2 *>(bias + j * 8 + threadIdx.x % 4 * 2);
    float *s = sum + 4 * j;
    if constexpr (folds) {
      s[0] = fmaf(s[0], scale.upper, b.x), s[1] = fmaf(s[1], scale.upper, b.y);
      s[2] = fmaf(s[2], scale.lower, b.x), s[3] = fmaf(s[3], scale.lower, b.y);
    } else {
      s[0] += b.x, s[1] += b.y, s[2] += b.x, s[3] += b.y;
    }
  }
}

// What a worker warpgroup knows of itself.
template <class Shape>
struct FrontWorker {
  using T = typename Shape::Element;
  static constexpr int C = Shape::C;
  const FrontJob &job;
  FrontShared<Shape> &shared;
  int w, split;
  cuda::Turn<Shape::workers, Shape::in_turns> turn{shared.turns, w};
  RingIndex<Shape::buffers> buffer{};

  // 64 channels by way of `put(staged)` to the thread that stores them.
  template <class Put>
  __device__ void stage(Put put) {
    shared.staged_free[w][buffer.at].wait(buffer.parity ^ 1);
    put(shared.staged[w][buffer.at]);
    cuda::publish_shared();
    __syncwarp();
    if (threadIdx.x % 32 == 0) shared.staged_full[w][buffer.at].arrive();
    buffer.advance();
  }

  // Products of one pass.
  __device__ void finish_pass(float *sum, int pass, RowPair scale, RowPair half_mask) {
    const int row = (split * Shape::passes + pass) * 128;
    if constexpr (Shape::folds) scale_and_shift<true>(sum, shared.bias + pass * 128, scale);
    else if (job.bias) scale_and_shift<false>(sum, job.bias + row, scale);
    if (Shape::narrow && row >= 4 * narrow_hidden) {
      for (int half = 0; half < 2; ++half) stage([&](void *staged) { sigmoid_and_stage<T>(sum + 32 * half, staged); });
    } else {
      stage([&](void *staged) { gate_and_stage<T, Shape::narrow>(sum, half_mask, staged); });
    }
  }

  // Pair comes as the products need it.
  __device__ void work_as_it_comes(int slot, RowPair half_mask, bool first) {
#pragma unroll 1
    for (int pass = 0; pass < Shape::passes; ++pass) {
      float sum[64];
      if (first) shared.weights_full[pass].wait(0);
      cuda::begin_products();
#pragma unroll
      for (int k = 0; k < C / 16; ++k) {
        const uint64_t a = cuda::operand(cuda::shared_address(shared.pair[slot][k / 4]));
        const uint64_t b = cuda::operand(cuda::shared_address(shared.weight_box(pass, k / 4)));
        cuda::multiply<cuda::Lines::along_k, T>(sum, cuda::deeper<cuda::Lines::along_k>(a, k % 4),
                                                cuda::deeper<cuda::Lines::along_k>(b, k % 4), k > 0);
      }
      cuda::commit_products();
      cuda::wait_products<0>();
      if (pass == Shape::passes - 1) arrive_behind_loads(shared.pair_free[slot], mixed(half_mask));
      finish_pass(sum, pass, {}, half_mask);
    }
  }

  // The row's LayerNorm in registers, then pass after pass.
  __device__ void work_from_registers(int slot, RowPair half_mask, bool first) {
    Rows<C, T> rows;
    rows.load_by_position(shared.pair[slot]);
    rows.release(shared.pair_free[slot], mixed(half_mask));
    rows.normalise(shared.norm, job.eps);
#pragma unroll 1
    for (int pass = 0; pass < Shape::passes; ++pass) {
      float sum[64];
      if (first) shared.weights_full[pass].wait(0);
      turn.take();
      rows.multiply(sum, shared.weight_box(pass, 0));
      turn.give();  // wgmma with a register operand holds its warp until nearly all is done
      cuda::wait_products<0>();
      finish_pass(sum, pass, {}, half_mask);
    }
  }

  // Both passes by one product from shared memory; while it runs, these warps compute the rows' statistics.
  __device__ void work_from_shared(int slot, RowPair half_mask, bool first) {
    static_assert(!Shape::folds || Shape::passes == 2);
    float sum[128];
    if (first) shared.weights_full[0].wait(0), shared.weights_full[1].wait(0);
    cuda::begin_products();
#pragma unroll
    for (int k = 0; k < C / 16; ++k) {
      const uint64_t a = cuda::operand(cuda::shared_address(shared.pair[slot][k / 4]));
      const uint64_t b = cuda::operand(cuda::shared_address(shared.weight_box(0, k / 4)));
      cuda::multiply<cuda::Lines::along_k, T>(sum, cuda::deeper<cuda::Lines::along_k>(a, k % 4),
                                              cuda::deeper<cuda::Lines::along_k>(b, k % 4), k > 0);
    }
    cuda::commit_products();
    const RowPair scale = statistics_of<C, T>(shared.pair[slot], job.eps).scale;
    cuda::wait_products<0>();
    arrive_behind_loads(shared.pair_free[slot], mixed(scale) ^ mixed(half_mask));
    finish_pass(sum, 0, scale, half_mask);
    finish_pass(sum + 64, 1, scale, half_mask);
  }
};

template <class Shape>
__device__ void work_front(const FrontJob &job, FrontShared<Shape> &shared, int w, int split, int first, int step) {
  FrontWorker<Shape> worker{job, shared, w, split};
  RingIndex<Shape::slots> slot;
  slot.advance(w);
  int t = first;
  for (; t < job.tiles; t += step, slot.advance(Shape::workers)) {
    shared.pair_full[slot.at].wait(slot.parity);
    const RowPair half_mask = pair_of(shared.half_mask[slot.at]);
    if constexpr (Shape::narrow) worker.work_as_it_comes(slot.at, half_mask, t == first);
    else if constexpr (Shape::folds) worker.work_from_shared(slot.at, half_mask, t == first);
    else worker.work_from_registers(slot.at, half_mask, t == first);
  }
  if (t - w * (step / Shape::workers) < job.tiles) worker.turn.pass(Shape::turns);  // in this round the first worker has a tile
}

template <int C, int H, class T, bool narrow = false>
__device__ void front(const FrontJob &job) {
  using Shape = FrontShape<C, H, T, narrow>;
  constexpr LaunchShape launched = narrow ? narrow_front_shape(C) : front_shape(C, H);
  static_assert(sizeof(FrontShared<Shape>) == launched.shared_bytes && (Shape::workers + 1) * 128 == launched.threads);
  extern __shared__ __align__(1024) char dynamic[];
  FrontShared<Shape> &shared = *reinterpret_cast<FrontShared<Shape> *>(dynamic);
  if (threadIdx.x == 0) {
    for (Barrier &barrier : shared.weights_full) barrier.init(1);
    for (Barrier &barrier : shared.pair_full) barrier.init(2);
    for (Barrier &barrier : shared.pair_free) barrier.init(4);
    shared.turns.init();
    for (int w = 0; w < Shape::workers; ++w) {
      for (int buffer = 0; buffer < Shape::buffers; ++buffer) shared.staged_full[w][buffer].init(4), shared.staged_free[w][buffer].init(1);
    }
    cuda::publish_barriers();
  }
  if (threadIdx.x == 32) cuda::prefetch_map(job.pair.whole), cuda::prefetch_map(job.weights), cuda::prefetch_map(job.planes);
  // In this order: whoever starts early behind this kernel may then read packed weights before it waits itself.
  cuda::wait_for_previous_kernel();
  if (threadIdx.x == 0) cuda::allow_next_kernel();
  const int split = blockIdx.x % Shape::splits;
  if constexpr (Shape::normalises) load_norm<C>(shared.norm, job.norm_weight, job.norm_bias);
  if constexpr (Shape::folds)
    for (int row = threadIdx.x; row < Shape::passes * 128; row += blockDim.x)
      shared.bias[row] = job.bias[split * Shape::passes * 128 + row];
  __syncthreads();
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  const int ctas = gridDim.x / Shape::splits, first = blockIdx.x / Shape::splits, step = ctas * Shape::workers;
  if (group < Shape::workers) {
    cuda::raise_registers<Shape::worker_registers>();
    work_front<Shape>(job, shared, group, split, first + group * ctas, step);
  } else {
    cuda::lower_registers<Shape::service_registers>();
    if (warp == 3) load_front<Shape>(job, shared, split, first, ctas);
    else if (warp < Shape::workers && threadIdx.x % 32 == 0) store_front<Shape>(job, shared, warp, split, first + warp * ctas, step);
    __syncwarp();
  }
}

}  // namespace lamina::triangle_multiplication::hopper
