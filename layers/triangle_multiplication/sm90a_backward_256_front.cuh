// At 256 channels: from the gradients of a and b to those of the front's sums, projections and halved gates, times the scale of pair's row.
//
// The forward's front with another end: four CTAs share a tile of 64 positions, 256 packed rows each, half of them a worker.  The tile comes
// through a ring of boxes to registers; gradients of a and b come two tiles ahead to where those of the projections leave from.
#pragma once
#include "sm90a_backward_256_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

constexpr int front_256_splits = 4, front_256_passes = 2;  // passes of 64 channels
constexpr int front_256_boxes = 6;                         // in the ring
template <class T>
struct Front256Shared {
  alignas(1024) T weights[wide / 64][front_256_passes][128][64];
  BoxRing<T, front_256_boxes> ring;
  alignas(1024) T gradients[backward_workers][2][64][tile];  // [channel][position]
  alignas(1024) T of_gate[backward_workers][64][tile];
  float bias[front_256_passes][128];
  Barrier weights_full, gradients_full[backward_workers][2], staged_full[backward_workers], staged_read[backward_workers];
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
__device__ void feed_front_256(const Front256Job &job, Front256Shared<T> &shared, int first, int step) {
  RingIndex<front_256_boxes> slot;
  Walk at(job.cells, first * tile, step * tile);
  for (int t = first; t < job.tiles; t += step, at.advance())
    shared.ring.fill(slot, [&](Barrier &full, T *to, int box) { load_positions(job.pair, job.cells, full, to, box * 64, at); });
}

// What worker w, whose pass it is, needs and leaves beside the tile.
template <class T>
__device__ void serve_front_256(const Front256Job &job, Front256Shared<T> &shared, int w, int split, int first, int step) {
  const FrontPlanes planes(split, w);
  const auto load = [&](int t, int slot) {
    if (t >= job.tiles) return;
    shared.gradients_full[w][slot].expect(64 * tile * 2);
    cuda::load_box(job.planes, shared.gradients_full[w][slot], shared.gradients[w][slot], t * tile, planes.projections);
  };
  load(first, 0), load(first + step, 1);
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    shared.staged_full[w].wait(round & 1);
    cuda::store_box(job.planes, shared.gradients[w][round & 1], t * tile, planes.projections);
    cuda::store_box(job.planes, shared.of_gate[w], t * tile, planes.gates);
    cuda::commit_stores();
    cuda::wait_stores_read<0>();
    shared.staged_read[w].arrive();
    load(t + 2 * step, round & 1);
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
  RingIndex<front_256_boxes> slot;
  RowPair next = half_masks(job, static_cast<int64_t>(first) * tile);
  shared.weights_full.wait(0);
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    const RowPair half_mask = next;
    Rows<wide, T> rows;
    float sum[64];
    shared.ring.template read<false>(slot, rows);
    cuda::begin_products();
#pragma unroll
    for (int k = 0; k < wide / 16; ++k) {
      const uint64_t b = cuda::operand(cuda::shared_address(shared.weights[k / 4][w]));
      cuda::multiply<T>(sum, rows.a[k], cuda::deeper<Lines::along_k>(b, k % 4), k > 0);
    }
    cuda::commit_products();
    if (t + step < job.tiles) next = half_masks(job, static_cast<int64_t>(t + step) * tile);
    const RowPair scale = finite(rows.statistics(job.eps)).scale;
    shared.gradients_full[w][round & 1].wait(round >> 1 & 1);
    if (round) shared.staged_read[w].wait((round - 1) & 1);
    cuda::wait_products<0>();
    stage_front_gradients<T>(sum, shared.bias[w], scale, half_mask, shared.gradients[w][round & 1], shared.of_gate[w]);
    cuda::publish_shared();
    __syncwarp();
    if (threadIdx.x % 32 == 0) shared.staged_full[w].arrive();
  }
}

template <class T>
__device__ void front_256(const Front256Job &job) {
  extern __shared__ __align__(1024) char dynamic[];
  Front256Shared<T> &shared = *reinterpret_cast<Front256Shared<T> *>(dynamic);
  static_assert(sizeof(Front256Shared<T>) <= front_256_shape.shared_bytes && cuda::registers_fit(backward_workers, 232, 40));
  static_assert(front_256_passes == backward_workers, "a worker a pass");
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  const int split = blockIdx.x % front_256_splits, first = blockIdx.x / front_256_splits, step = gridDim.x / front_256_splits;
  if (threadIdx.x == 0) {
    shared.weights_full.init(1);
    shared.ring.init();
    for (int w = 0; w < backward_workers; ++w) {
      for (Barrier &barrier : shared.gradients_full[w]) barrier.init(1);
      shared.staged_full[w].init(4), shared.staged_read[w].init(1);
    }
    cuda::publish_barriers();
    // The packed weights are older than the kernel before this one: all between them wait before they let the next one start.
    shared.weights_full.expect(sizeof shared.weights);
    for (int pass = 0; pass < front_256_passes; ++pass)
      for (int box = 0; box < wide / 64; ++box)
        cuda::load_box(job.weights, shared.weights_full, shared.weights[box][pass], box * 64, (split * front_256_passes + pass) * 128);
  }
  cuda::wait_for_previous_kernel();
  if (threadIdx.x == 0) cuda::allow_next_kernel();
  for (int row = threadIdx.x; row < front_256_passes * 128; row += blockDim.x)
    shared.bias[0][row] = job.bias[split * front_256_passes * 128 + row];
  __syncthreads();
  if (group < backward_workers) {
    cuda::raise_registers<232>();
    work_front_256(job, shared, group, first, step);
  } else {
    cuda::lower_registers<40>();
    if (threadIdx.x % 32 == 0) {
      if (warp < backward_workers) serve_front_256(job, shared, warp, split, first, step);
      else if (warp == backward_workers) feed_front_256(job, shared, first, step);
    }
  }
}

}  // namespace lamina::triangle_multiplication::hopper
