// Step 3 on Hopper: out from pair and o.  The same skeleton as the front's: 128 output channels' weights of both linear layers stay in
// shared memory, each worker warpgroup walks over tiles of 64 positions with a service thread of its own.
#pragma once
#include "cuda_back.cuh"
#include "sm90a_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

template <int channels, int hidden, class T>
struct BackShape {
  using Element = T;
  static constexpr int C = channels, H = hidden;
  static constexpr int splits = back_splits(C), outputs = C / splits;  // CTAs that share a tile; output channels of each
  static constexpr int slots = C == 256 ? 1 : 2;                       // pair and o have a slot each, or come one after the other
  static constexpr int workers = back_workers(C, H), boxes = outputs / 64;
  static constexpr int worker_registers = workers == 4   ? 104
                                          : workers == 3 ? 144
                                                         : 224,
                       service_registers = workers == 4   ? 64
                                           : workers == 3 ? 80
                                                          : 56;
  static_assert(cuda::registers_fit(workers, worker_registers, service_registers));
};

template <class Shape>
struct BackShared {
  using T = typename Shape::Element;
  static constexpr int workers = Shape::workers;
  alignas(1024) T gate[Shape::C / 64][Shape::outputs][64];
  alignas(1024) T weights[Shape::H / 64][Shape::outputs][64];
  alignas(1024) T slot[workers][Shape::slots][tile * (Shape::C > Shape::H ? Shape::C : Shape::H)];
  alignas(1024) T staged[workers][Shape::boxes][tile][64];
  float half_gate_bias[Shape::outputs], bias[Shape::outputs];
  Barrier weights_full[2];
  Barrier full[workers][2], free[workers][2];          // of pair, of o
  Barrier staged_full[workers], staged_free[workers];  // free: with the residual in it, where there is one
};

// For a whole warp: no lane goes on before all have seen the phase, for what one of them does then may bring about the next.
__device__ inline void wait_together(Barrier &barrier, int parity) {
  barrier.wait(parity);
  __syncwarp();
}

// One warp a worker; lane 0 does what takes one thread.
template <class Shape, bool extras>
__device__ void serve_back(const BackJob &job, BackShared<Shape> &shared, int w, int split, int first, int step) {
  constexpr bool own_slots = Shape::slots == 2;
  constexpr int C = Shape::C, H = Shape::H, outputs = Shape::outputs;
  const bool leads = threadIdx.x % 32 == 0;
  Walk ahead(job.cells, first * tile, step * tile);
  const auto load_pair = [&] { load_tile<C / 64>(job.pair, job.cells, shared.full[w][0], shared.slot[w][0], ahead); };
  const auto load_o = [&](int t) {
    if (!leads) return;
    shared.full[w][1].expect(tile * H * 2);
    cuda::load_box(job.o, shared.full[w][1], shared.slot[w][own_slots], t * tile, 0);
  };
  // The residual comes to where the result will leave from.
  const auto load_residual = [&](const Walk &at) {
    if (!leads) return;
    if (!extras || !job.has_residual) return shared.staged_free[w].arrive();
    shared.staged_free[w].expect(tile * outputs * 2);
    for (int box = 0; box < Shape::boxes; ++box)
      load_positions(job.residual, job.cells, shared.staged_free[w], shared.staged[w][box], split * outputs + box * 64, at);
  };
  if (w < 2 && leads) {
    const int depth = w ? H : C;
    shared.weights_full[w].expect(outputs * depth * 2);
    for (int box = 0; box < depth / 64; ++box)
      cuda::load_box(w ? job.weights : job.gate, shared.weights_full[w], w ? shared.weights[box] : shared.gate[box], box * 64,
                     split * outputs);
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
    wait_together(shared.free[w][0], round & 1);
    if (own_slots && more) load_pair();
    if (!own_slots) load_o(t);
    wait_together(shared.free[w][1], round & 1);
    if (own_slots && more) load_o(t + step);
    if (!own_slots && more) load_pair();
    wait_together(shared.staged_full[w], round & 1);
    if (leads) {
      for (int box = 0; box < Shape::boxes; ++box)
        store_positions(job.out, job.cells, shared.staged[w][box], split * outputs + box * 64, here);
      cuda::commit_stores();
      cuda::wait_stores_read<0>();
    }
    if (more) load_residual(ahead);
  }
  if (leads) cuda::wait_stores<0>();
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
  // Of channels 8 column + {0, 1} from the lane's first one on, at its upper or lower position; of the tensors' dtype or float.
  template <class T>
  __device__ float2 factors(int column, int half) const {
    if (at_[half] < 0) return {0, 0};
    const int64_t at = at_[half] + 8 * column * mask_.stride[3], next = at + mask_.stride[3];
    if (mask_.dtype == DType::float32) return {static_cast<const float *>(mask_.data)[at], static_cast<const float *>(mask_.data)[next]};
    return {gpu::to_float(static_cast<const T *>(mask_.data)[at]), gpu::to_float(static_cast<const T *>(mask_.data)[next])};
  }
  __device__ uint32_t pair(int column, int half) const {  // where the mask has the tensors' dtype and pairs of channels are words
    return at_[half] < 0 ? 0 : *reinterpret_cast<const uint32_t *>(static_cast<const uint16_t *>(mask_.data) + at_[half] + 8 * column);
  }

 private:
  const View &mask_;
  int channel_;
  int64_t at_[2];
};

// The gate with its dropout factor, if there is one, of a lane's pair; `here` holds the mask's own pair where the form says so.
template <class T>
__device__ uint32_t dropped_gate(const BackJob &job, const Dropout &dropout, int pair, float2 tanh, uint32_t here) {
  float2 g = {fmaf(tanh.x, 0.5f, 0.5f), fmaf(tanh.y, 0.5f, 0.5f)};
  if (job.dropout != MaskForm::none) {
    const bool pairs = job.dropout == MaskForm::pairs;
    const float2 factor =
        pairs ? float2{cuda::low_half<T>(here), cuda::high_half<T>(here)} : dropout.template factors<T>(pair / 2, pair % 2);
    g.x *= factor.x, g.y *= factor.y;
  }
  return cuda::pack<T>(g.x, g.y);
}

// What stays of a gate between the products, in pairs of 16 bits.
enum class Kept {
  tanh,     // of half the sigmoid's argument, in fp16, so that (u / 2) (1 + tanh) loses next to nothing
  gate,     // in T
  dropped,  // the gate with its dropout factor, which may be anything, in T; a residual may come
};

// From x, half the sigmoid's argument: sigmoid(2 x) = (1 + tanh(x)) / 2.
template <Kept kept, class T>
__device__ uint32_t gate_of(const BackJob &job, const Dropout &dropout, int pair, uint32_t factors, float2 x) {
  const float2 tanh = {cuda::tanh_approximate(x.x), cuda::tanh_approximate(x.y)};
  if constexpr (kept == Kept::tanh) return cuda::pack<float16>(tanh.x, tanh.y);
  else if constexpr (kept == Kept::gate) return cuda::pack<T>(fmaf(tanh.x, 0.5f, 0.5f), fmaf(tanh.y, 0.5f, 0.5f));
  else return dropped_gate<T>(job, dropout, pair, tanh, factors);
}

// 64 output channels of the tile: u times the gate, plus what `staged` holds of the residual, into `staged`; u = sum scale + bias, or half
// of it where tanh is kept.
template <Kept kept, class T>
__device__ void stage_outputs(bool has_residual, const float *sum, const uint32_t *gate, RowPair scale, const float *lane_bias,
                              void *staged) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, matrix = lane / 8;
#pragma unroll
  for (int j = 0; j < 8; j += 2) {  // two column tiles of 8
    const uint32_t here = cuda::swizzled(cuda::shared_address(staged), warp * 16 + matrix % 2 * 8 + lane % 8, j + matrix / 2);
    uint32_t result[4], residual[4]{};
    if (kept == Kept::dropped && has_residual) cuda::load_matrices(residual, here);
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // upper and lower of the first, then of the second
      const int pair = (j + i / 2) * 2 + i % 2;
      const float *bias = lane_bias + (j + i / 2) * 8;
      const float s = i % 2 ? scale.lower : scale.upper;
      const float u0 = fmaf(sum[2 * pair], s, bias[0]), u1 = fmaf(sum[2 * pair + 1], s, bias[1]);
      if constexpr (kept == Kept::dropped)
        result[i] = cuda::pack<T>(fmaf(u0, cuda::low_half<T>(gate[pair]), cuda::low_half<T>(residual[i])),
                                  fmaf(u1, cuda::high_half<T>(gate[pair]), cuda::high_half<T>(residual[i])));
      else if constexpr (kept == Kept::tanh)
        result[i] = cuda::pack<T>(fmaf(u0, cuda::low_half<float16>(gate[pair]), u0), fmaf(u1, cuda::high_half<float16>(gate[pair]), u1));
      else result[i] = cuda::pack<T>(u0 * cuda::low_half<T>(gate[pair]), u1 * cuda::high_half<T>(gate[pair]));
    }
    cuda::store_matrices(here, result[0], result[1], result[2], result[3]);
  }
}

template <class Shape, bool extras>
__device__ void work_back(const BackJob &job, BackShared<Shape> &shared, int w, int split, int first, int step) {
  using T = typename Shape::Element;
  constexpr int pairs = Shape::outputs / 4;  // of a lane
  constexpr Kept kept = extras ? Kept::dropped : Kept::tanh;
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, column = lane % 4 * 2;
  int t = first;
  for (int round = 0; t < job.tiles; t += step, ++round) {
    float sum[2 * pairs];
    uint32_t gate[pairs]{};
    RowPair scale;
    // A dropout mask becomes part of the gate; where it can, it comes while the products run.
    const int64_t position = static_cast<int64_t>(t) * tile + warp * 16 + lane / 4;
    {
      Rows<Shape::C, T> rows;
      shared.full[w][0].wait(round & 1);
      rows.load_by_position(shared.slot[w][0]);
      rows.release(shared.free[w][0]);
      if (round == 0) shared.weights_full[0].wait(0);
      rows.multiply(sum, shared.gate);
      [[maybe_unused]] const Dropout dropout(job.dropout_mask, job.cells, split * Shape::outputs + column, position);
      if (extras && job.dropout == MaskForm::pairs) {
#pragma unroll
        for (int pair = 0; pair < pairs; ++pair) gate[pair] = dropout.pair(pair / 2, pair % 2);
      }
      scale = rows.statistics(job.eps).scale;
      cuda::wait_products<0>();
      scale.upper *= 0.5f, scale.lower *= 0.5f;
#pragma unroll
      for (int pair = 0; pair < pairs; ++pair) {
        const float *bias = shared.half_gate_bias + pair / 2 * 8 + column;
        const float s = pair % 2 ? scale.lower : scale.upper;
        gate[pair] =
            gate_of<kept, T>(job, dropout, pair, gate[pair], {fmaf(sum[2 * pair], s, bias[0]), fmaf(sum[2 * pair + 1], s, bias[1])});
      }
    }
    Rows<Shape::H, T> rows;
    shared.full[w][1].wait(round & 1);
    rows.load_by_channel(shared.slot[w][Shape::slots - 1]);
    rows.release(shared.free[w][1]);
    if (round == 0) shared.weights_full[1].wait(0);
    rows.multiply(sum, shared.weights);
    scale = rows.statistics(job.eps).scale;
    cuda::wait_products<0>();
    if constexpr (!extras) scale.upper *= 0.5f, scale.lower *= 0.5f;

    shared.staged_free[w].wait(round & 1);
#pragma unroll
    for (int box = 0; box < Shape::boxes; ++box)
      stage_outputs<kept, T>(job.has_residual, sum + box * 32, gate + box * 16, scale, shared.bias + box * 64 + column,
                             shared.staged[w][box]);
    cuda::publish_shared();
    __syncwarp();
    if (lane == 0) shared.staged_full[w].arrive();
  }
}

// extras: there is a residual or a dropout mask.
template <int C, int H, bool extras, class T>
__device__ void back(const BackJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  using Shape = BackShape<C, H, T>;
  constexpr int workers = Shape::workers, outputs = Shape::outputs;
  BackShared<Shape> &shared = *reinterpret_cast<BackShared<Shape> *>(dynamic);
  static_assert(sizeof(BackShared<Shape>) == back_shape(C, H).shared_bytes && (workers + 1) * 128 == back_shape(C, H).threads);
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  const int split = blockIdx.x % Shape::splits, step = gridDim.x / Shape::splits * workers;
  if (threadIdx.x == 0) {
    cuda::allow_next_kernel();
    for (Barrier &barrier : shared.weights_full) barrier.init(1);
    for (int w = 0; w < workers; ++w) {
      for (int which = 0; which < 2; ++which) shared.full[w][which].init(1), shared.free[w][which].init(4);
      shared.staged_full[w].init(4), shared.staged_free[w].init(1);
    }
    cuda::publish_barriers();
  }
  if (threadIdx.x == 32) {
    cuda::prefetch_map(job.gate), cuda::prefetch_map(job.weights);
    cuda::prefetch_map(job.pair.whole), cuda::prefetch_map(job.o), cuda::prefetch_map(job.out.whole);
  }
  if (threadIdx.x < outputs) {
    shared.half_gate_bias[threadIdx.x] = 0.5f * job.gate_bias[split * outputs + threadIdx.x];
    shared.bias[threadIdx.x] = (extras ? 1 : 0.5f) * job.bias[split * outputs + threadIdx.x];
  }
  __syncthreads();
  const int w = group < workers ? group : warp, first = blockIdx.x / Shape::splits + w * (gridDim.x / Shape::splits);
  if (group < workers) {
    cuda::raise_registers<Shape::worker_registers>();
    work_back<Shape, extras>(job, shared, w, split, first, step);
  } else {
    cuda::lower_registers<Shape::service_registers>();
    if (warp < workers) serve_back<Shape, extras>(job, shared, w, split, first, step);
    __syncwarp();
  }
}

}  // namespace lamina::triangle_multiplication::hopper
