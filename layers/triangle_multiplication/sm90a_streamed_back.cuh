// Step 3 on Hopper for wide layers: out from pair and o, the weights streamed, both LayerNorms folded into them.
//
// First the gates of all output channels from pair, kept as 16-bit numbers in registers, then the projection of o.  The boxes of o take the
// places of pair's as these are done with, and the next tile's pair takes o's.
#pragma once
#include "sm90a_back.cuh"
#include "sm90a_streamed.cuh"

namespace lamina::triangle_multiplication::hopper {

template <int channels, int hidden, class T>
struct StreamedBackShared {
  using Element = T;
  static constexpr int C = channels, H = hidden, workers = streamed_workers, columns = streamed_back_columns(C), passes = C / columns;
  static constexpr int pair_boxes = C / 64, o_boxes = H / 64, stages = 4;
  static_assert(o_boxes <= pair_boxes && passes * columns == C);
  alignas(1024) T weights[stages][columns][64];
  alignas(1024) T box[workers][pair_boxes][64][64];  // of pair: [position][channel]; the first o_boxes then of o: [channel][position]
  alignas(1024) T staged[workers][2][tile][64];
  Barrier weights_full[stages], weights_free[stages];
  Barrier full[workers][pair_boxes], free[workers][pair_boxes];
  Barrier staged_full[workers][2], staged_free[workers][2];  // free: with the residual in it, where there is one

  // The parity of a box's filling in a round over the tiles: where o comes after pair, two a round.
  __device__ static int parity_of_pair(int box, int round) { return box < o_boxes ? 0 : round & 1; }
  static constexpr int parity_of_o = 1;
};

// The warp that brings both workers' boxes.
template <class Shared>
__device__ void load_streamed_back(const BackJob &job, Shared &shared, StreamedWalk walk) {
  const bool leads = threadIdx.x % 32 == 0;
  Walk at(job.cells, walk.tile_of(0) * tile, walk.step * streamed_workers * tile);
  for (int round = 0; walk.more(); walk.advance(), at.advance(), ++round) {
#pragma unroll 1
    for (int box = 0; box < Shared::pair_boxes; ++box) {
      Walk of = at;
      for (int w = 0; w < streamed_workers; ++w, of.move(tile)) {
        shared.free[w][box].wait(Shared::parity_of_pair(box, round) ^ 1);
        __syncwarp();
        if (!leads) continue;
        shared.full[w][box].expect(sizeof shared.box[w][box]);
        load_positions(job.pair, job.cells, shared.full[w][box], shared.box[w][box], box * 64, of);
      }
    }
#pragma unroll 1
    for (int box = 0; box < Shared::o_boxes; ++box)
      for (int w = 0; w < streamed_workers; ++w) {
        shared.free[w][box].wait(Shared::parity_of_o ^ 1);
        __syncwarp();
        if (!leads) continue;
        shared.full[w][box].expect(sizeof shared.box[w][box]);
        cuda::load_box(job.o, shared.full[w][box], shared.box[w][box], walk.tile_of(w) * tile, box * 64);
      }
  }
}

// The thread that brings the weights: the gates' for all passes, then the projection's.
template <class Shared>
__device__ void feed_streamed_back(const BackJob &job, Shared &shared, StreamedWalk walk) {
  WeightFeed<Shared> feed(shared);
  for (; walk.more(); walk.advance()) {
    for (int pass = 0; pass < Shared::passes; ++pass)
      for (int box = 0; box < Shared::pair_boxes; ++box) feed.bring(job.gate, box * 64, pass * Shared::columns);
    for (int pass = 0; pass < Shared::passes; ++pass)
      for (int box = 0; box < Shared::o_boxes; ++box) feed.bring(job.weights, box * 64, pass * Shared::columns);
  }
}

// The thread that stores what worker w stages, 64 channels a buffer, and brings the residual to where the result will leave from.
template <bool extras, class Shared>
__device__ void store_streamed_back(const BackJob &job, Shared &shared, int w, StreamedWalk walk) {
  constexpr int boxes = Shared::pair_boxes;
  static_assert(boxes >= 2);
  Walk here(job.cells, walk.tile_of(w) * tile, walk.step * streamed_workers * tile);
  const auto make_ready = [&](int buffer, int box, Walk at) {
    Barrier &free = shared.staged_free[w][buffer];
    if (!extras || !job.has_residual) return free.arrive();
    free.expect(sizeof shared.staged[w][buffer]);
    load_positions(job.residual, job.cells, free, shared.staged[w][buffer], box * 64, at);
  };
  if (walk.more()) make_ready(0, 0, here), make_ready(1, 1, here);
  RingIndex<2> buffer;
  bool before = false;
  while (walk.more()) {
    const Walk at = here;
    here.advance(), walk.advance();
    for (int box = 0; box < boxes; ++box, buffer.advance()) {
      shared.staged_full[w][buffer.at].wait(buffer.parity);
      store_positions(job.out, job.cells, shared.staged[w][buffer.at], box * 64, at);
      cuda::commit_stores();
      // The store before has read its buffer: what is staged next goes there.
      cuda::wait_stores_read<1>();
      if (before && box + 1 < boxes) make_ready(buffer.at ^ 1, box + 1, at);
      else if (before && walk.more()) make_ready(buffer.at ^ 1, 0, here);
      before = true;
    }
  }
  cuda::wait_stores<0>();
}

template <bool extras, class Shared>
__device__ void work_streamed_back(const BackJob &job, Shared &shared, int w, StreamedWalk walk) {
  using T = typename Shared::Element;
  constexpr Kept kept = extras ? Kept::dropped : Kept::gate;
  constexpr int pairs = Shared::columns / 4, boxes = Shared::columns / 64;  // of a pass: a lane's pairs of channels, boxes of out
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, column = lane % 4 * 2;
  static_assert(Shared::pair_boxes % 2 == 0);
  StreamedProducts<Shared> products(shared);
  for (int round = 0; walk.more(); walk.advance(), ++round) {
    uint32_t gate[Shared::passes * pairs];
    float sum[2 * pairs];
    // All boxes of pair or o times one pass's weights; in the first pass their statistics, in the last they are freed.
    const auto multiply = [&]<Lines lines, int count>(Moments &moments, bool first, bool last, auto parity) {
#pragma unroll 1
      for (int box = 0; box < count; ++box) {
        if (first) shared.full[w][box].wait(parity(box));
        products.template add<lines>(sum, shared.box[w][box], box == 0);
        if (first) moments.add_box<T, lines == Lines::along_rows>(shared.box[w][box]);
        if (box == 0) continue;
        products.template finish<1>();
        if (last) arrive_behind_loads(shared.free[w][box - 1], moments.mark());
      }
      products.template finish<0>();
      if (last) arrive_behind_loads(shared.free[w][count - 1], moments.mark());
    };
    Moments of_pair, of_o;
    RowPair scale{};
#pragma unroll
    for (int pass = 0; pass < Shared::passes; ++pass) {
      multiply.template operator()<Lines::along_k, Shared::pair_boxes>(of_pair, pass == 0, pass == Shared::passes - 1,
                                                                       [&](int box) { return Shared::parity_of_pair(box, round); });
      if (pass == 0) scale = of_pair.over(Shared::C, job.eps).scale, scale.upper *= 0.5f, scale.lower *= 0.5f;
      const int channel = pass * Shared::columns + column;
      const int position = walk.tile_of(w) * tile + warp * 16 + lane / 4;
      [[maybe_unused]] const Dropout dropout(job.dropout_mask, job.cells, channel, position);
#pragma unroll
      for (int pair = 0; pair < pairs; ++pair) {
        const float2 bias = *reinterpret_cast<const float2 *>(job.gate_bias + channel + pair / 2 * 8);
        const float s = pair % 2 ? scale.lower : scale.upper;
        const uint32_t factors = extras && job.dropout == MaskForm::pairs ? dropout.pair(pair / 2, pair % 2) : 0;
        gate[pass * pairs + pair] = gate_of<kept, T>(job, dropout, pair, factors,
                                                     {fmaf(sum[2 * pair], s, 0.5f * bias.x), fmaf(sum[2 * pair + 1], s, 0.5f * bias.y)});
      }
    }
#pragma unroll
    for (int pass = 0; pass < Shared::passes; ++pass) {
      multiply.template operator()<Lines::along_rows, Shared::o_boxes>(of_o, pass == 0, pass == Shared::passes - 1,
                                                                       [](int) { return Shared::parity_of_o; });
      if (pass == 0) scale = of_o.over(Shared::H, job.eps).scale;
#pragma unroll
      for (int box = 0; box < boxes; ++box) {
        const int number = pass * boxes + box, buffer = number % 2;  // of this tile's boxes; an even number of them
        shared.staged_free[w][buffer].wait((round * (Shared::pair_boxes / 2) + number / 2) & 1);
        stage_outputs<kept, T>(job.has_residual, sum + box * 32, gate + pass * pairs + box * 16, scale,
                               job.bias + pass * Shared::columns + box * 64 + column, shared.staged[w][buffer]);
        cuda::publish_shared();
        __syncwarp();
        if (lane == 0) shared.staged_full[w][buffer].arrive();
      }
    }
  }
}

// extras: there is a residual or a dropout mask.
template <int C, int H, bool extras, class T>
__device__ void streamed_back(const BackJob &job) {
  using Shared = StreamedBackShared<C, H, T>;
  static_assert(sizeof(Shared) == streamed_shape.shared_bytes && (streamed_workers + 1) * 128 == streamed_shape.threads);
  extern __shared__ __align__(1024) char dynamic[];
  Shared &shared = *reinterpret_cast<Shared *>(dynamic);
  if (threadIdx.x == 0) {
    cuda::allow_next_kernel();
    init_ring(shared);
    for (int w = 0; w < streamed_workers; ++w) {
      for (int box = 0; box < Shared::pair_boxes; ++box) shared.full[w][box].init(1), shared.free[w][box].init(4);
      for (int buffer = 0; buffer < 2; ++buffer) shared.staged_full[w][buffer].init(4), shared.staged_free[w][buffer].init(1);
    }
    cuda::publish_barriers();
  }
  cuda::meet_cluster();
  const StreamedWalk walk(job.tiles, 1);
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  if (group < streamed_workers) {
    static_assert(cuda::registers_fit(streamed_workers, 232, 40));
    cuda::raise_registers<232>();
    work_streamed_back<extras>(job, shared, group, walk);
  } else {
    cuda::lower_registers<40>();
    if (warp == 3) {  // the weights do not come from the kernel before
      if (threadIdx.x % 32 == 0) feed_streamed_back(job, shared, walk);
    } else {
      cuda::wait_for_previous_kernel();
      if (warp == 2) load_streamed_back(job, shared, walk);
      else if (threadIdx.x % 32 == 0) store_streamed_back<extras>(job, shared, warp, walk);
    }
  }
  __syncwarp();
  cuda::meet_cluster();  // nobody leaves while the other may still arrive at its barriers
}

// Without extras, fp16's gates become floats so early that registers spill; with the extras' form, none there, they do not.
template <int C, int H, bool extras, class T>
__device__ void back_of(const BackJob &job) {
  if constexpr (streams(C)) streamed_back<C, H, extras || cuda::is_half<T>, T>(job);
  else back<C, H, extras, T>(job);
}

}  // namespace lamina::triangle_multiplication::hopper
