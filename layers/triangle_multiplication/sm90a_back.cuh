// Step 3 on Hopper: out from pair and o.  The same skeleton as the front's: 128 output channels' weights of both linear layers stay in
// shared memory, each worker warpgroup walks over tiles of 64 positions with a service thread of its own.
#pragma once
#include "cuda_back.cuh"
#include "sm90a_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

template <int C>
struct BackShape {
  static constexpr int splits = back_splits(C);   // CTAs that share a tile, 128 output channels each
  static constexpr int slots = C == 128 ? 2 : 1;  // pair and o have a slot each, or come one after the other
  static constexpr int together = back_together(C);
  static constexpr bool in_turns = C == 128 ? hopper_back_128_turns : hopper_back_256_turns;
  static constexpr int turns = 2;  // of a tile
};

template <int C, class T>
struct BackShared {
  alignas(1024) T gate[C / 64][128][64];
  alignas(1024) T weights[C / 64][128][64];
  alignas(1024) T slot[back_workers][BackShape<C>::slots][tile * C];
  alignas(1024) T staged[back_workers][2][tile][64];
  float half_gate_bias[128], bias[128];
  Barrier weights_full[2];
  Barrier full[back_workers][2], free[back_workers][2];          // of pair, of o
  Barrier staged_full[back_workers], staged_free[back_workers];  // free: with the residual in it, where there is one
  cuda::Turns<back_workers> turns;
};

template <int C, bool extras, class T>
__device__ void serve_back(const BackJob &job, BackShared<C, T> &shared, int w, int split, int first, int step) {
  constexpr bool own_slots = BackShape<C>::slots == 2;
  constexpr int together = BackShape<C>::together, share = C / together;  // channels that this CTA brings
  const int rank = together > 1 ? cuda::cluster_rank() : 0;
  Walk ahead(job.cells, first * tile, step * tile);
  const auto load_pair = [&] {
    shared.full[w][0].expect(tile * C * 2);
    for (int box = rank * share / 64; box < (rank + 1) * share / 64; ++box)
      load_positions_for_all<together>(job.pair, job.cells, shared.full[w][0], shared.slot[w][0] + box * tile * 64, box * 64, ahead);
  };
  const auto load_o = [&](int t) {
    shared.full[w][1].expect(tile * C * 2);
    T *to = shared.slot[w][own_slots] + rank * share * tile;
    if constexpr (together == 1) cuda::load_box(job.o, shared.full[w][1], to, t * tile, 0);
    else cuda::load_box_for_all(job.o, shared.full[w][1], to, t * tile, rank * share, (1 << together) - 1);
  };
  // The residual comes to where the result will leave from.
  const auto load_residual = [&](const Walk &at) {
    if (!extras || !job.has_residual) return shared.staged_free[w].arrive();
    shared.staged_free[w].expect(tile * 128 * 2);
    for (int box = 0; box < 2; ++box)
      load_positions(job.residual, job.cells, shared.staged_free[w], shared.staged[w][box], split * 128 + box * 64, at);
  };
  if (w < 2) {
    shared.weights_full[w].expect(128 * C * 2);
    for (int box = 0; box < C / 64; ++box)
      cuda::load_box(w ? job.weights : job.gate, shared.weights_full[w], w ? shared.weights[box] : shared.gate[box], box * 64, split * 128);
  }
  cuda::wait_for_previous_kernel();
  if (first < job.tiles) {
    load_pair();
    if (own_slots) load_o(first);
    load_residual(ahead);
  }
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    const bool more = t + step < job.tiles;
    const Walk here = ahead;
    ahead.advance();
    shared.free[w][0].wait(round & 1);
    if (own_slots && more) load_pair();
    if (!own_slots) load_o(t);
    shared.free[w][1].wait(round & 1);
    if (own_slots && more) load_o(t + step);
    if (!own_slots && more) load_pair();
    shared.staged_full[w].wait(round & 1);
    for (int box = 0; box < 2; ++box) store_positions(job.out, job.cells, shared.staged[w][box], split * 128 + box * 64, here);
    cuda::commit_stores();
    cuda::wait_stores_read<0>();
    if (more) load_residual(ahead);
  }
  cuda::wait_stores<0>();
}

// A lane's share of the dropout mask: its two positions, 128 channels.  Factors of padding are 0.
class Dropout {
 public:
  __device__ Dropout(const View &mask, const Cells &cells, int channel, int64_t position) : mask_(mask), channel_(channel) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const triangle_multiplication::Cell cell(cells, position + 8 * half);
      at_[half] = cell.inside ? cell.offset(mask) + channel * mask.stride[3] : -1;
    }
  }
  // Of channels 8 column + {0, 1} from the lane's first one on, at its upper or lower position.
  __device__ float2 factors(int column, int half) const {
    if (at_[half] < 0) return {0, 0};
    const int64_t at = at_[half] + 8 * column * mask_.stride[3];
    return {gpu::load_any(mask_.data, mask_.dtype, at), gpu::load_any(mask_.data, mask_.dtype, at + mask_.stride[3])};
  }
  __device__ uint32_t pair(int column, int half) const {  // where the mask has the tensors' dtype and pairs of channels are words
    return at_[half] < 0 ? 0 : *reinterpret_cast<const uint32_t *>(static_cast<const uint16_t *>(mask_.data) + at_[half] + 8 * column);
  }

 private:
  const View &mask_;
  int channel_;
  int64_t at_[2];
};

// (1 + tanh) / 2 times the dropout factor, if there is one, of a lane's pair; `here` holds the mask's own pair where the form says so.
template <class T>
__device__ uint32_t dropped_gate(const BackJob &job, const Dropout &dropout, int pair, float2 tanh, uint32_t here) {
  float2 g = {fmaf(tanh.x, 0.5f, 0.5f), fmaf(tanh.y, 0.5f, 0.5f)};
  if (job.dropout != MaskForm::none) {
    const bool pairs = job.dropout == MaskForm::pairs;
    const float2 factor = pairs ? float2{cuda::low_half<T>(here), cuda::high_half<T>(here)} : dropout.factors(pair / 2, pair % 2);
    g.x *= factor.x, g.y *= factor.y;
  }
  return cuda::pack<T>(g.x, g.y);
}

// Between the products a gate stays as pairs of 16 bits: of tanh in fp16, so that (u / 2) (1 + tanh) loses next to nothing; with extras, of
// the gate with its dropout factor, which may be anything, in T.
template <int C, bool extras, class T>
__device__ void work_back(const BackJob &job, BackShared<C, T> &shared, int w, int split, int first, int step) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, column = lane % 4 * 2, matrix = lane / 8;
  cuda::Turn<back_workers, BackShape<C>::in_turns> turn(shared.turns, w);
  int t = first;
  for (int round = 0; t < job.tiles; t += step, ++round) {
    Rows<C, T> rows;
    float sum[64];
    uint32_t gate[32]{};

    shared.full[w][0].wait(round & 1);
    RowPair scale;
    if constexpr (hopper_hands_scales) scale = left_rows(job.scales, t);  // comes while the products run
    rows.load_by_position(shared.slot[w][0]);
    rows.template release<BackShape<C>::together>(shared.free[w][0]);
    if (round == 0) shared.weights_full[0].wait(0);
    turn.take();
    rows.multiply(sum, shared.gate);
    turn.give();  // wgmma with a register operand holds its warp until nearly all is done
    // A dropout mask becomes part of the gate; where it can, it comes while the products run.
    const int64_t position = static_cast<int64_t>(t) * tile + warp * 16 + lane / 4;
    [[maybe_unused]] const Dropout dropout(job.dropout_mask, job.cells, split * 128 + column, position);
    if (extras && job.dropout == MaskForm::pairs) {
#pragma unroll
      for (int pair = 0; pair < 32; ++pair) gate[pair] = dropout.pair(pair / 2, pair % 2);
    }
    if constexpr (!hopper_hands_scales) scale = rows.statistics(job.eps).scale;
    cuda::wait_products<0>();
    scale.upper *= 0.5f, scale.lower *= 0.5f;
#pragma unroll
    for (int pair = 0; pair < 32; ++pair) {  // sigmoid(x) = (1 + tanh(x / 2)) / 2
      const float *bias = shared.half_gate_bias + pair / 2 * 8 + column;
      const float s = pair % 2 ? scale.lower : scale.upper;
      const float2 tanh = {cuda::tanh_approximate(fmaf(sum[2 * pair], s, bias[0])),
                           cuda::tanh_approximate(fmaf(sum[2 * pair + 1], s, bias[1]))};
      gate[pair] = extras ? dropped_gate<T>(job, dropout, pair, tanh, gate[pair]) : cuda::pack<float16>(tanh.x, tanh.y);
    }

    shared.full[w][1].wait(round & 1);
    rows.load_by_channel(shared.slot[w][BackShape<C>::slots - 1]);
    rows.template release<BackShape<C>::together>(shared.free[w][1]);
    if (round == 0) shared.weights_full[1].wait(0);
    turn.take();
    rows.multiply(sum, shared.weights);
    turn.give();
    scale = rows.statistics(job.eps).scale;
    cuda::wait_products<0>();
    if constexpr (!extras) scale.upper *= 0.5f, scale.lower *= 0.5f;

    shared.staged_free[w].wait(round & 1);
#pragma unroll
    for (int j = 0; j < 16; j += 2) {  // two column tiles of 8
      const uint32_t here =
          cuda::swizzled(cuda::shared_address(shared.staged[w][j / 8]), warp * 16 + matrix % 2 * 8 + lane % 8, j % 8 + matrix / 2);
      uint32_t result[4], residual[4]{};
      if (extras && job.has_residual) cuda::load_matrices(residual, here);
#pragma unroll
      for (int i = 0; i < 4; ++i) {  // upper and lower of the first, then of the second
        const int pair = (j + i / 2) * 2 + i % 2;
        const float *bias = shared.bias + (j + i / 2) * 8 + column;
        const float s = i % 2 ? scale.lower : scale.upper;
        const float u0 = fmaf(sum[2 * pair], s, bias[0]), u1 = fmaf(sum[2 * pair + 1], s, bias[1]);
        if constexpr (extras)
          result[i] = cuda::pack<T>(fmaf(u0, cuda::low_half<T>(gate[pair]), cuda::low_half<T>(residual[i])),
                                    fmaf(u1, cuda::high_half<T>(gate[pair]), cuda::high_half<T>(residual[i])));
        else
          result[i] = cuda::pack<T>(fmaf(u0, cuda::low_half<float16>(gate[pair]), u0), fmaf(u1, cuda::high_half<float16>(gate[pair]), u1));
      }
      cuda::store_matrices(here, result[0], result[1], result[2], result[3]);
    }
    cuda::publish_shared();
    __syncwarp();
    if (lane == 0) shared.staged_full[w].arrive();
  }
  if (t - w * (step / back_workers) < job.tiles) turn.pass(BackShape<C>::turns);  // in this round the first worker has a tile
}

// extras: there is a residual or a dropout mask.
template <int C, bool extras, class T>
__device__ void back(const BackJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  BackShared<C, T> &shared = *reinterpret_cast<BackShared<C, T> *>(dynamic);
  static_assert(sizeof(BackShared<C, T>) == back_shape(C).shared_bytes && (back_workers + 1) * 128 == back_shape(C).threads);
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  const int split = blockIdx.x % BackShape<C>::splits, step = gridDim.x / BackShape<C>::splits * back_workers;
  if (threadIdx.x == 0) {
    cuda::allow_next_kernel();
    for (Barrier &barrier : shared.weights_full) barrier.init(1);
    for (int w = 0; w < back_workers; ++w) {
      for (int which = 0; which < 2; ++which) shared.full[w][which].init(1), shared.free[w][which].init(4 * BackShape<C>::together);
      shared.staged_full[w].init(4), shared.staged_free[w].init(1);
    }
    shared.turns.init();
    cuda::publish_barriers();
  }
  if (threadIdx.x == 32) {
    cuda::prefetch_map(job.gate), cuda::prefetch_map(job.weights);
    cuda::prefetch_map(job.pair.whole), cuda::prefetch_map(job.o), cuda::prefetch_map(job.out.whole);
  }
  if (threadIdx.x < 128) {
    shared.half_gate_bias[threadIdx.x] = 0.5f * job.gate_bias[split * 128 + threadIdx.x];
    shared.bias[threadIdx.x] = (extras ? 1 : 0.5f) * job.bias[split * 128 + threadIdx.x];
  }
  if constexpr (BackShape<C>::together > 1) cuda::meet_cluster();
  else __syncthreads();
  const int w = group < back_workers ? group : warp, first = blockIdx.x / BackShape<C>::splits + w * (gridDim.x / BackShape<C>::splits);
  if (group < back_workers) {
    static_assert(cuda::registers_fit(back_workers, 224, 56));
    cuda::raise_registers<224>();
    work_back<C, extras, T>(job, shared, w, split, first, step);
  } else {
    cuda::lower_registers<56>();
    if (warp < back_workers && threadIdx.x % 32 == 0) serve_back<C, extras, T>(job, shared, w, split, first, step);
    __syncwarp();
  }
  if constexpr (BackShape<C>::together > 1) cuda::meet_cluster();  // nobody leaves while the other may still arrive at its barriers
}

}  // namespace lamina::triangle_multiplication::hopper
