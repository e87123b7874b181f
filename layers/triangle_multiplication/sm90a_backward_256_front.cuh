// At 256 channels: from the gradients of a and b to those of the front's sums, projections and halved gates, times the scale of pair's row.
//
// The forward's front with another end: four CTAs share a tile of 64 positions, 256 packed rows each.  A worker multiplies the tile as TMA
// brought it and computes its statistics meanwhile.  The gradients of projections leave from where those of a and b came to, those of gates
// from two of the tile's four boxes, which the products need no more.
#pragma once
#include "sm90a_backward_256_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

constexpr int front_256_splits = 4, front_256_passes = 2;  // passes of 64 channels
template <class T>
struct Front256Shared {
  alignas(1024) T weights[wide / 64][front_256_passes][128][64];
  alignas(1024) T pair[backward_workers][wide / 64][tile][64];
  alignas(1024) T gradients[backward_workers][front_256_passes][64][tile];  // [channel][position]
  float bias[front_256_passes][128];
  Barrier weights_full;
  Barrier pair_full[backward_workers], pair_read[backward_workers];
  Barrier gradients_full[backward_workers][front_256_passes], staged_full[backward_workers][front_256_passes];
};

// The first plane of a pass: of the gradients of a or b, where those of the projections go; of the gates'.
struct FrontPlanes {
  int projections, gates;
  __device__ FrontPlanes(int split, int pass) {
    const int channel = split % 2 * 128 + pass * 64;
    projections = (split < 2 ? 3 : 1) * wide + channel, gates = (split < 2 ? 0 : 2) * wide + channel;
  }
};

template <class T>
__device__ void serve_front_256(const Front256Job &job, Front256Shared<T> &shared, int w, int split, int first, int step) {
  if (w == 0) {
    shared.weights_full.expect(sizeof shared.weights);
    for (int pass = 0; pass < front_256_passes; ++pass)
      for (int box = 0; box < wide / 64; ++box)
        cuda::load_box(job.weights, shared.weights_full, shared.weights[box][pass], box * 64, (split * front_256_passes + pass) * 128);
  }
  Walk at(job.cells, first * tile, step * tile);
  const auto load_pair = [&](int from, int to) {
    for (int box = from; box < to; ++box) load_positions(job.pair, job.cells, shared.pair_full[w], shared.pair[w][box], box * 64, at);
  };
  const auto load_gradients = [&](int t, int pass) {
    shared.gradients_full[w][pass].expect(64 * tile * 2);
    cuda::load_box(job.planes, shared.gradients_full[w][pass], shared.gradients[w][pass], t * tile, FrontPlanes(split, pass).projections);
  };
  const auto store = [&](int t, int pass) {
    cuda::store_box(job.planes, shared.gradients[w][pass], t * tile, FrontPlanes(split, pass).projections);
    cuda::store_box(job.planes, shared.pair[w][pass], t * tile, FrontPlanes(split, pass).gates);
    cuda::commit_stores();
  };
  if (first < job.tiles) {
    shared.pair_full[w].expect(tile * wide * 2);
    load_pair(0, 4);
    load_gradients(first, 0), load_gradients(first, 1);
  }
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    const bool more = t + step < job.tiles;
    at.advance();
    shared.pair_read[w].wait(round & 1);
    if (more) {  // the boxes that nothing leaves from
      shared.pair_full[w].expect(tile * wide * 2);
      load_pair(2, 4);
    }
    shared.staged_full[w][0].wait(round & 1);
    store(t, 0);
    shared.staged_full[w][1].wait(round & 1);
    store(t, 1);
    cuda::wait_stores_read<1>();
    if (more) load_pair(0, 1), load_gradients(t + step, 0);
    cuda::wait_stores_read<0>();
    if (more) load_pair(1, 2), load_gradients(t + step, 1);
  }
  cuda::wait_stores<0>();
}

// `sum` holds column tiles of 8 projections, then their 8 halved gates, of 64 channels, without scale and bias; `gradients` the gradients of
// a or b, [64 channels][64 positions], and then those of the projections; `gates` then those of the gates.
template <class T>
__device__ void stage_front_gradients(const float *sum, const float *bias, RowPair scale, RowPair half_mask, void *gradients, void *gates) {
  const Lane at;
#pragma unroll
  for (int k = 0; k < 4; ++k) {                     // 16 channels: 32 packed rows
    uint32_t incoming[4], of_value[4], of_gate[4];  // upper and lower of the first 8 channels, then of the next
    cuda::load_matrices_transposed(incoming, at.by_channel(gradients, k * 16));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int j = 4 * k + i / 2 * 2;  // column tile of the projections; the gates' follows
      const float2 value_bias = *reinterpret_cast<const float2 *>(bias + j * 8 + at.column);
      const float2 gate_bias = *reinterpret_cast<const float2 *>(bias + j * 8 + 8 + at.column);
      const float mask = i % 2 ? half_mask.lower : half_mask.upper, s = i % 2 ? scale.lower : scale.upper;
      const uint32_t pair = mask != 0 ? incoming[i] : 0;  // what lies in padding may be no number
      const float *value = sum + j * 4 + i % 2 * 2, *gate = value + 4;
      const float d0 = cuda::low_half<T>(pair) * mask * s, d1 = cuda::high_half<T>(pair) * mask * s;
      const float t0 = cuda::tanh_approximate(fmaf(gate[0], s, gate_bias.x)), t1 = cuda::tanh_approximate(fmaf(gate[1], s, gate_bias.y));
      of_value[i] = cuda::pack<T>(fmaf(d0, t0, d0), fmaf(d1, t1, d1));
      of_gate[i] = cuda::pack<T>(d0 * fmaf(value[0], s, value_bias.x) * fmaf(-t0, t0, 1.0f),
                                 d1 * fmaf(value[1], s, value_bias.y) * fmaf(-t1, t1, 1.0f));
    }
    cuda::store_matrices_transposed(at.by_channel(gradients, k * 16), of_value[0], of_value[1], of_value[2], of_value[3]);
    cuda::store_matrices_transposed(at.by_channel(gates, k * 16), of_gate[0], of_gate[1], of_gate[2], of_gate[3]);
  }
}

template <class T>
__device__ void work_front_256(const Front256Job &job, Front256Shared<T> &shared, int w, int first, int step) {
  if (first >= job.tiles) return;
  RowPair next = half_masks(job, static_cast<int64_t>(first) * tile);
  shared.weights_full.wait(0);
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    const RowPair half_mask = next;
    float sum[128];
    shared.pair_full[w].wait(round & 1);
    cuda::begin_products();
#pragma unroll
    for (int k = 0; k < wide / 16; ++k) {
      const uint64_t a = cuda::operand(cuda::shared_address(shared.pair[w][k / 4]));
      const uint64_t b = cuda::operand(cuda::shared_address(shared.weights[k / 4]));
      cuda::multiply<Lines::along_k, T>(sum, cuda::deeper<Lines::along_k>(a, k % 4), cuda::deeper<Lines::along_k>(b, k % 4), k > 0);
    }
    cuda::commit_products();
    if (t + step < job.tiles) next = half_masks(job, static_cast<int64_t>(t + step) * tile);
    const RowPair scale = finite(statistics_of<wide, T>(shared.pair[w], job.eps)).scale;
    cuda::wait_products<0>();
    arrive_behind_loads(shared.pair_read[w], mixed(scale));
    meet_group(w);  // all four warps have read the tile, in whose place the gates' gradients go
#pragma unroll
    for (int pass = 0; pass < front_256_passes; ++pass) {
      shared.gradients_full[w][pass].wait(round & 1);
      stage_front_gradients<T>(sum + pass * 64, shared.bias[pass], scale, half_mask, shared.gradients[w][pass], shared.pair[w][pass]);
      cuda::publish_shared();
      __syncwarp();
      if (threadIdx.x % 32 == 0) shared.staged_full[w][pass].arrive();
    }
  }
}

template <class T>
__device__ void front_256(const Front256Job &job) {
  extern __shared__ __align__(1024) char dynamic[];
  Front256Shared<T> &shared = *reinterpret_cast<Front256Shared<T> *>(dynamic);
  static_assert(sizeof(Front256Shared<T>) <= front_256_shape.shared_bytes && cuda::registers_fit(backward_workers, 232, 40));
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  const int split = blockIdx.x % front_256_splits, ctas = gridDim.x / front_256_splits, step = ctas * backward_workers;
  if (threadIdx.x == 0) {
    shared.weights_full.init(1);
    for (int w = 0; w < backward_workers; ++w) {
      shared.pair_full[w].init(1), shared.pair_read[w].init(4);
      for (int pass = 0; pass < front_256_passes; ++pass) shared.gradients_full[w][pass].init(1), shared.staged_full[w][pass].init(4);
    }
    cuda::publish_barriers();
  }
  cuda::wait_for_previous_kernel();
  if (threadIdx.x == 0) cuda::allow_next_kernel();
  for (int row = threadIdx.x; row < front_256_passes * 128; row += blockDim.x)
    shared.bias[0][row] = job.bias[split * front_256_passes * 128 + row];
  __syncthreads();
  const int w = group < backward_workers ? group : warp, first = blockIdx.x / front_256_splits + w * ctas;
  if (group < backward_workers) {
    cuda::raise_registers<232>();
    work_front_256(job, shared, w, first, step);
  } else {
    cuda::lower_registers<40>();
    if (warp < backward_workers && threadIdx.x % 32 == 0) serve_front_256(job, shared, w, split, first, step);
  }
}

}  // namespace lamina::triangle_multiplication::hopper
