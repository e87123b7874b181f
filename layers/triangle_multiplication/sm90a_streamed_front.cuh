// Step 1 on Hopper for wide layers: a and b from pair, the weights streamed.  The LayerNorm is folded into them.
//
// A tile's channels stay in shared memory for all passes of 128 weight rows, 64 channels of a and b each; its boxes of 64 channels are freed
// one by one in the last pass, so that the next tile's come while products still run.  A worker has two sets of sums: while the tensor cores
// fill one, it gates and stages the other, across the tiles' borders too.
#pragma once
#include "sm90a_front.cuh"
#include "sm90a_streamed.cuh"

namespace lamina::triangle_multiplication::hopper {

template <int channels, int hidden, class T>
struct StreamedFrontShared {
  using Element = T;
  static constexpr int C = channels, H = hidden, workers = streamed_workers, boxes = C / 64, stages = C == 384 ? 6 : 8;
  alignas(1024) T weights[stages][streamed_front_rows][64];
  alignas(1024) T pair[workers][boxes][tile][64];
  alignas(1024) T staged[workers][2][64][tile];  // [channel][position]
  float half_mask[workers][tile];
  Barrier weights_full[stages], weights_free[stages];
  Barrier pair_full[workers][boxes], pair_free[workers][boxes];  // the first box's also says that the masks are there, or read
  Barrier staged_full[workers][2], staged_free[workers][2];
};

// The warp that brings both workers' boxes and masks.
template <class Shared>
__device__ void load_streamed_front(const FrontJob &job, Shared &shared, StreamedWalk walk) {
  const int lane = threadIdx.x % 32;
  Walk at(job.cells, walk.tile_of(0) * tile + 2 * lane, walk.step * streamed_workers * tile);
  uint64_t mask[streamed_workers][2];
  const auto look_up = [&] {
    Walk of = at;
#pragma unroll
    for (int w = 0; w < streamed_workers; ++w, of.move(tile)) look_up_masks(job, of, mask[w]);
  };
  if (walk.more()) look_up();
  for (int parity = 1; walk.more(); parity ^= 1) {
    const Walk begin = at.of_first_lane();
#pragma unroll 1
    for (int box = 0; box < Shared::boxes; ++box) {
      Walk of = begin;
#pragma unroll
      for (int w = 0; w < streamed_workers; ++w, of.move(tile)) {
        Barrier &full = shared.pair_full[w][box];
        shared.pair_free[w][box].wait(parity);
        __syncwarp();  // nobody goes on before all have seen the phase
        if (lane == 0) {
          full.expect(sizeof shared.pair[w][box]);
          load_positions(job.pair, job.cells, full, shared.pair[w][box], box * 64, of);
        }
        if (box > 0) continue;
#pragma unroll
        for (int half = 0; half < 2; ++half) shared.half_mask[w][2 * lane + half] = 0.5f * value_of(job, mask[w][half]);
        __syncwarp();
        if (lane == 0) full.arrive();
      }
    }
    walk.advance(), at.advance();
    if (walk.more()) look_up();
  }
}

// The thread that brings the weights.
template <class Shared>
__device__ void feed_streamed_front(const FrontJob &job, Shared &shared, StreamedWalk walk, int first_pass, int last_pass) {
  WeightFeed<Shared> feed(shared);
  for (; walk.more(); walk.advance())
    for (int pass = first_pass; pass < last_pass; ++pass)
      for (int box = 0; box < Shared::boxes; ++box)
        feed.template bring<streamed_front_rows>(job.weights, box * 64, pass * streamed_front_rows);
}

// The thread that stores what worker w stages.
template <class Shared>
__device__ void store_streamed_front(const FrontJob &job, Shared &shared, int w, StreamedWalk walk, int first_pass, int last_pass) {
  RingIndex<2> buffer;
  bool before = false;
  for (; walk.more(); walk.advance())
    for (int plane = first_pass * 64; plane < last_pass * 64; plane += 64, buffer.advance()) {
      shared.staged_full[w][buffer.at].wait(buffer.parity);
      cuda::store_box(job.planes, shared.staged[w][buffer.at], walk.tile_of(w) * tile, plane);
      cuda::commit_stores();
      // A buffer is free when its store has read it: with two buffers, look at the store before.
      cuda::wait_stores_read<1>();
      if (before) shared.staged_free[w][buffer.at ^ 1].arrive();
      before = true;
    }
  cuda::wait_stores<0>();
}

// A worker warpgroup: the products of one pass beside what is left to do for the one before.
template <class Shared>
struct StreamedFrontWorker {
  using T = typename Shared::Element;
  static constexpr int boxes = Shared::boxes, parts = 4;  // of a pass's 64 channels
  static_assert(boxes >= parts);
  const FrontJob &job;
  Shared &shared;
  const int w;
  const uint64_t pair = operand_of(shared.pair[w]);
  StreamedProducts<Shared> products{shared};
  RingIndex<2> buffer{};
  // Of the pass whose sums are being finished.
  const float *bias = nullptr;  // a lane's first one
  RowPair scale{}, half_mask{};

  __device__ void load_bias(float2 (&to)[4], int part) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) to[j] = *reinterpret_cast<const float2 *>(bias + part * 32 + j * 8);
  }
  // 16 channels of it; the last ones send all 64 on their way.
  __device__ void finish_part(float *sum, int part, const float2 (&b)[4]) {
    if (part == 0) shared.staged_free[w][buffer.at].wait(buffer.parity ^ 1);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      float *s = sum + 4 * j;
      s[0] = fmaf(s[0], scale.upper, b[j].x), s[1] = fmaf(s[1], scale.upper, b[j].y);
      s[2] = fmaf(s[2], scale.lower, b[j].x), s[3] = fmaf(s[3], scale.lower, b[j].y);
    }
    gate_and_stage_16<T, false>(sum, half_mask, staged_line(shared.staged[w][buffer.at]) + part * 16 * cuda::line_bytes);
    if (part < parts - 1) return;
    cuda::publish_shared();
    __syncwarp();
    if (threadIdx.x % 32 == 0) shared.staged_full[w][buffer.at].arrive();
    buffer.advance();
  }

  // Fills `now` with the products of `row` and the ones behind it, and finishes `before`, if there is one.  A tile's first pass takes the rows'
  // statistics along, its last one frees its boxes.
  template <bool even, bool any>
  __device__ void pass(float (&now)[64], float (&before)[64], int row, bool first, bool last, int parity) {
    Moments moments;
    RowPair mask{};
#pragma unroll
    for (int box = 0; box < boxes; ++box) {
      float2 b[4];
      if (any && box < parts) load_bias(b, box);
      if (even && first) shared.pair_full[w][box].wait(parity);
      products.template add<Lines::along_k>(now, pair, box, box == 0);
      if (even && first) moments.template add_box<T, false, 1>(shared.pair[w][box]);
      if (even && first && box == 0) mask = pair_of(shared.half_mask[w]);
      if (!even && box == 0) products.template finish<1>();  // all of `before` is done
      if (any && box < parts) finish_part(before + box * 16, box, b);
      if (box == 0) continue;
      products.template finish<1>();
      if (!even && last) free_box(box - 1);
    }
    if constexpr (!even) {  // nothing may run at the end of the loop around: the compiler would no longer see whose registers it may read
      products.template finish<0>();
      if (last) free_box(boxes - 1);
    }
    bias = job.bias + row + threadIdx.x % 4 * 2;
    if (even && first) scale = moments.over(Shared::C, job.eps).scale, half_mask = mask;
  }
  __device__ void free_box(int box) { arrive_behind_loads(shared.pair_free[w][box], mixed(scale) ^ mixed(half_mask)); }

  // The last pass of all.
  __device__ void finish(float (&before)[64]) {
#pragma unroll
    for (int part = 0; part < parts; ++part) {
      float2 b[4];
      load_bias(b, part);
      finish_part(before + part * 16, part, b);
    }
  }
};

template <class Shared>
__device__ void work_streamed_front(const FrontJob &job, Shared &shared, int w, StreamedWalk walk, int first_pass, int last_pass) {
  if (!walk.more()) return;
  constexpr int rows = streamed_front_rows;
  StreamedFrontWorker<Shared> worker{job, shared, w};
  float even[64], odd[64];
  int pass = first_pass, parity = 0;
  worker.template pass<true, false>(even, odd, pass * rows, true, false, parity);
#pragma unroll 1
  for (;;) {
    worker.template pass<false, true>(odd, even, (pass + 1) * rows, false, pass + 2 == last_pass, parity);
    pass += 2;
    if (pass == last_pass) {
      pass = first_pass, parity ^= 1;
      walk.advance();
      if (!walk.more()) break;
    }
    worker.template pass<true, true>(even, odd, pass * rows, pass == first_pass, false, parity);
  }
  worker.finish(odd);
}

template <int C, int H, class T>
__device__ void streamed_front(const FrontJob &job) {
  using Shared = StreamedFrontShared<C, H, T>;
  static_assert(sizeof(Shared) == streamed_shape.shared_bytes && (streamed_workers + 1) * 128 == streamed_shape.threads);
  extern __shared__ __align__(1024) char dynamic[];
  Shared &shared = *reinterpret_cast<Shared *>(dynamic);
  // In this order: whoever starts early behind this kernel may then read packed weights before it waits itself.
  cuda::wait_for_previous_kernel();
  if (threadIdx.x == 0) {
    cuda::allow_next_kernel();
    init_ring(shared);
    for (int w = 0; w < streamed_workers; ++w) {
      for (int box = 0; box < Shared::boxes; ++box) shared.pair_full[w][box].init(box ? 1 : 2), shared.pair_free[w][box].init(4);
      for (int buffer = 0; buffer < 2; ++buffer) shared.staged_full[w][buffer].init(4), shared.staged_free[w][buffer].init(1);
    }
    cuda::publish_barriers();
  }
  cuda::meet_cluster();
  const StreamedWalk walk(job.tiles, job.splits);
  const int passes = streamed_front_passes(H) / job.splits, first = walk.split * passes, last = first + passes;
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  if (group < streamed_workers) {
    static_assert(cuda::registers_fit(streamed_workers, 208, 88));
    cuda::raise_registers<208>();
    work_streamed_front(job, shared, group, walk, first, last);
  } else {
    cuda::lower_registers<88>();
    if (warp == 2) load_streamed_front(job, shared, walk);
    else if (threadIdx.x % 32 == 0) {
      if (warp == 3) feed_streamed_front(job, shared, walk, first, last);
      else store_streamed_front(job, shared, warp, walk, first, last);
    }
  }
  __syncwarp();
  cuda::meet_cluster();  // nobody leaves while the other may still arrive at its barriers
}

template <int C, int H, class T>
__device__ void front_of(const FrontJob &job) {
  if constexpr (streams(C)) streamed_front<C, H, T>(job);
  else front<C, H, T>(job);
}

}  // namespace lamina::triangle_multiplication::hopper
