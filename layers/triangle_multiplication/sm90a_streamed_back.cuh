// Step 3 on Hopper for wide layers: out from pair and o, the weights streamed, both LayerNorms folded into them.
//
// First the gates of all output channels from pair, kept as 16-bit numbers in registers, then the projection of o.  The boxes of o take the
// places of pair's as these are done with, and the next tile's pair takes o's.  A worker has two sets of sums: while the tensor cores fill one,
// it makes gates or outputs of the other, across the tiles' borders too.
#pragma once
#include "sm90a_back.cuh"
#include "sm90a_streamed.cuh"

namespace lamina::triangle_multiplication::hopper {

template <int channels, int hidden, class T>
struct StreamedBackShared {
  using Element = T;
  static constexpr int C = channels, H = hidden, workers = streamed_workers, columns = streamed_back_columns(C), passes = C / columns;
  static constexpr int pair_boxes = C / 64, o_boxes = H / 64, stages = C == 384 ? 8 : 16;
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
  // The order in which the boxes of pair are multiplied, and come.  Those that o does not replace come first: they have been free for longest.
  // In the last pass they go last, so that o's boxes come while there still is something to multiply.
  __device__ static constexpr int box_of_pair(int step, bool last) { return last ? step : (o_boxes + step) % pair_boxes; }
};

// The warp that brings both workers' boxes.
template <class Shared>
__device__ void load_streamed_back(const BackJob &job, Shared &shared, StreamedWalk walk) {
  const bool leads = threadIdx.x % 32 == 0;
  Walk at(job.cells, walk.tile_of(0) * tile, walk.step * streamed_workers * tile);
  for (int round = 0; walk.more(); walk.advance(), at.advance(), ++round) {
#pragma unroll 1
    for (int step = 0; step < Shared::pair_boxes; ++step) {
      const int box = Shared::box_of_pair(step, false);
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
      for (int step = 0; step < Shared::pair_boxes; ++step)
        feed.template bring<Shared::columns>(job.gate, Shared::box_of_pair(step, pass == Shared::passes - 1) * 64, pass * Shared::columns);
    for (int pass = 0; pass < Shared::passes; ++pass)
      for (int box = 0; box < Shared::o_boxes; ++box) feed.template bring<Shared::columns>(job.weights, box * 64, pass * Shared::columns);
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

// A worker warpgroup.
template <bool extras, class Shared>
struct StreamedBackWorker {
  using T = typename Shared::Element;
  static constexpr Kept kept = extras ? Kept::dropped : Kept::gate;
  static constexpr int parts = Shared::columns / 32;  // of a pass, of 32 channels, 16 sums: what is finished at a time
  static_assert(parts <= Shared::o_boxes && Shared::pair_boxes % 2 == 0);
  const BackJob &job;
  Shared &shared;
  const int w, column = threadIdx.x % 4 * 2;
  const uint64_t boxes = operand_of(shared.box[w]);
  StreamedProducts<Shared> products{shared};
  RowPair of_pair{}, of_o{};  // the rows' scales, pair's halved
  int staged = 0;             // boxes of out

  __device__ void free_box(int box) { arrive_behind_loads(shared.free[w][box], mixed(of_pair) ^ mixed(of_o)); }

  // All boxes, in the order that box_of says, times the next stages; beside the products, finish(step) of the sums before, which gives
  // something made of its results: the compiler would put them off till they are needed, and keep sums.  A first pass
  // waits for the boxes and takes the rows' statistics along, a last one frees them.  running: products of the sums before, of box `free` if
  // that is one to be freed after them.
  struct Pass {
    bool first, last, running;
    int free = -1;
  };
  template <Lines lines, int count, int sums, class BoxOf, class Parity, class Finish>
  __device__ void multiply(float (&sum)[sums], Moments &moments, Pass pass, BoxOf box_of, Parity parity, Finish finish) {
    uint32_t made = 0;
#pragma unroll
    for (int step = 0; step < count; ++step) {
      const int box = box_of(step);
      if (pass.first) shared.full[w][box].wait(parity(box));
      products.template add<lines>(sum, boxes, box, step == 0);
      if (pass.first) moments.template add_box<T, lines == Lines::along_rows, 1>(shared.box[w][box]);
      if (step == 0 && pass.running) {
        products.template finish<1>();
        if (pass.free >= 0) free_box(pass.free);
      }
      made ^= finish(step);
      if (step == 0) continue;
      products.template finish<1>(made);
      if (pass.last) free_box(box_of(step - 1));
    }
  }

  // 32 channels' gates of a pass: `part` of its sums.  Gives something made of all of them.
  __device__ uint32_t make_gates(const float *sum, uint32_t *gate, int pass, int part, const Dropout &dropout) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int channel = pass * Shared::columns + part * 32 + i / 2 * 8, pair = channel / 4 + i % 2;
      const float2 bias = *reinterpret_cast<const float2 *>(job.gate_bias + column + channel);
      const float s = i % 2 ? of_pair.lower : of_pair.upper;
      const uint32_t factors = extras && job.dropout == MaskForm::pairs ? dropout.pair(pair / 2, pair % 2) : 0;
      gate[i] = gate_of<kept, T>(job, dropout, pair, factors, {fmaf(sum[2 * i], s, 0.5f * bias.x), fmaf(sum[2 * i + 1], s, 0.5f * bias.y)});
    }
    uint32_t made = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) made ^= gate[i];
    return made;
  }

  // 32 output channels; each second time a box is whole.
  __device__ void make_outputs(const float *sum, const uint32_t *gate, int pass, int part) {
    const int number = pass * parts + part, begin = number % 2 * 4, buffer = number / 2 % 2;
    if (begin == 0) shared.staged_free[w][buffer].wait(staged / 2 & 1);
    stage_outputs<kept, T, 4>(job.has_residual, sum, gate, of_o, job.bias + number * 32 + column, shared.staged[w][buffer], begin);
    if (begin == 0) return;
    cuda::publish_shared();
    __syncwarp();
    if (threadIdx.x % 32 == 0) shared.staged_full[w][buffer].arrive();
    ++staged;
  }
};

template <bool extras, class Shared>
__device__ void work_streamed_back(const BackJob &job, Shared &shared, int w, StreamedWalk walk) {
  using Worker = StreamedBackWorker<extras, Shared>;
  constexpr int passes = Shared::passes, parts = Worker::parts;
  if (!walk.more()) return;
  Worker worker{job, shared, w};
  uint32_t gate[Shared::C / 4];
  float gate_sum[2][Shared::columns / 2], sum[2][Shared::columns / 2];
  int round = 0;
  const auto make_outputs = [&](int pass, int part) {
    worker.make_outputs(sum[pass % 2] + part * 16, gate + (pass * parts + part) * 8, pass, part);
  };
  // The products of one pass of gates, beside finish(step) of the sums before, if `running`.
  const auto multiply_pair = [&](int pass, bool running, Moments &moments, auto finish) {
    const bool last = pass == passes - 1;
    worker.template multiply<Lines::along_k, Shared::pair_boxes>(
        gate_sum[pass % 2], moments, {pass == 0, last, running}, [last](int step) { return Shared::box_of_pair(step, last); },
        [round](int box) { return Shared::parity_of_pair(box, round); }, finish);
  };
  // Nothing may run where the loop begins again: the compiler would no longer see whose registers it may read.
  const auto end_first_pass = [&](const Moments &moments) {
    worker.products.template finish<0>();
    worker.of_pair = moments.over(Shared::C, job.eps).scale;
    worker.of_pair.upper *= 0.5f, worker.of_pair.lower *= 0.5f;
  };
  {
    Moments of_pair;
    multiply_pair(0, false, of_pair, [](int) { return 0u; });
    end_first_pass(of_pair);
  }
  for (;;) {
    [[maybe_unused]] const Dropout dropout(job.dropout_mask, job.cells, worker.column,
                                           walk.tile_of(w) * tile + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4);
    const auto make_gates = [&](int pass, int part) {
      return worker.make_gates(gate_sum[pass % 2] + part * 16, gate + (pass * parts + part) * 8, pass, part, dropout);
    };
    Moments of_pair, of_o;
#pragma unroll
    for (int pass = 1; pass < passes; ++pass)
      multiply_pair(pass, pass > 1, of_pair, [&](int step) { return step < parts ? make_gates(pass - 1, step) : 0u; });
#pragma unroll
    for (int pass = 0; pass < passes; ++pass) {
      worker.template multiply<Lines::along_rows, Shared::o_boxes>(
          sum[pass % 2], of_o, {pass == 0, pass == passes - 1, true, pass == 0 ? Shared::pair_boxes - 1 : -1},
          [](int step) { return step; }, [](int) { return Shared::parity_of_o; },
          [&](int step) {
            if (pass == 0 && step < parts) return make_gates(passes - 1, step);
            if (pass > 0 && step < parts) make_outputs(pass - 1, step);
            return 0u;
          });
      if (pass == 0) worker.of_o = of_o.over(Shared::H, job.eps).scale;
    }
    worker.products.template finish<0>();
    worker.free_box(Shared::o_boxes - 1);
    walk.advance(), ++round;
    if (!walk.more()) break;
    multiply_pair(0, false, of_pair, [&](int step) {
      if (step < parts) make_outputs(passes - 1, step);
      return 0u;
    });
    end_first_pass(of_pair);
  }
#pragma unroll
  for (int part = 0; part < parts; ++part) make_outputs(passes - 1, part);
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

template <int C, int H, bool extras, class T>
__device__ void back_of(const BackJob &job) {
  if constexpr (streams(C)) streamed_back<C, H, extras, T>(job);
  else back<C, H, extras, T>(job);
}

}  // namespace lamina::triangle_multiplication::hopper
