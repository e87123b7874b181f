// Step 1 on Hopper for wide layers: a and b from pair, the weights streamed.  The LayerNorm is folded into them.
//
// A tile's channels stay in shared memory for all passes of 256 weight rows, 128 channels of a and b each; its boxes of 64 channels are freed
// one by one in the last pass, so that the next tile's come while products still run.
#pragma once
#include "sm90a_front.cuh"
#include "sm90a_streamed.cuh"

namespace lamina::triangle_multiplication::hopper {

template <int channels, int hidden, class T>
struct StreamedFrontShared {
  using Element = T;
  static constexpr int C = channels, H = hidden, workers = streamed_workers, boxes = C / 64, stages = C == 384 ? 3 : 4;
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
      for (int box = 0; box < Shared::boxes; ++box) feed.bring(job.weights, box * 64, pass * streamed_front_rows);
}

// The thread that stores what worker w stages.
template <class Shared>
__device__ void store_streamed_front(const FrontJob &job, Shared &shared, int w, StreamedWalk walk, int first_pass, int last_pass) {
  RingIndex<2> buffer;
  bool before = false;
  for (; walk.more(); walk.advance())
    for (int plane = first_pass * 128; plane < last_pass * 128; plane += 64, buffer.advance()) {
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

template <class Shared>
__device__ void work_streamed_front(const FrontJob &job, Shared &shared, int w, StreamedWalk walk, int first_pass, int last_pass) {
  using T = typename Shared::Element;
  StreamedProducts<Shared> products(shared);
  RingIndex<2> buffer;
  for (int parity = 0; walk.more(); walk.advance(), parity ^= 1) {
    Moments moments;
    RowPair half_mask{}, scale{};
#pragma unroll 1
    for (int pass = first_pass; pass < last_pass; ++pass) {
      float sum[128];
      const bool first = pass == first_pass, last = pass == last_pass - 1;
#pragma unroll 1
      for (int box = 0; box < Shared::boxes; ++box) {
        if (first) shared.pair_full[w][box].wait(parity);
        products.template add<Lines::along_k>(sum, shared.pair[w][box], box == 0);
        if (first) moments.add_box<T, false>(shared.pair[w][box]);
        if (first && box == 0) half_mask = pair_of(shared.half_mask[w]);
        if (box == 0) continue;
        products.template finish<1>();
        if (last) arrive_behind_loads(shared.pair_free[w][box - 1], moments.mark() ^ mixed(half_mask));
      }
      products.template finish<0>();
      if (last) arrive_behind_loads(shared.pair_free[w][Shared::boxes - 1], moments.mark());
      if (first) scale = moments.over(Shared::C, job.eps).scale;
#pragma unroll
      for (int half = 0; half < 2; ++half, buffer.advance()) {
        scale_and_shift<true>(sum + 64 * half, job.bias + pass * streamed_front_rows + 128 * half, scale);
        shared.staged_free[w][buffer.at].wait(buffer.parity ^ 1);
        gate_and_stage<T, false>(sum + 64 * half, half_mask, shared.staged[w][buffer.at]);
        cuda::publish_shared();
        __syncwarp();
        if (threadIdx.x % 32 == 0) shared.staged_full[w][buffer.at].arrive();
      }
    }
  }
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
