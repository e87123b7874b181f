// At 256 channels: from out_gradient to the gradients of the output projection and of its gate's sum, each times the scale of its own norm.
//
// Two CTAs share a tile of 64 positions, 128 output channels each, whose weights of both linear layers stay in shared memory; two worker
// warpgroups take 64 of them each.  Tiles of pair and of o follow each other through one ring of boxes, a whole tile ahead, so no worker waits
// for memory; out_gradient comes to where the projection's gradient leaves from.
#pragma once
#include "cuda_back.cuh"
#include "sm90a_backward_256_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

constexpr int output_256_boxes = 8;  // in the ring
template <class T>
struct Output256Shared {
  alignas(1024) T gate[wide / 64][128][64];
  alignas(1024) T weights[wide / 64][128][64];
  BoxRing<T, output_256_boxes> ring;
  alignas(1024) T staged[backward_workers][tile * 64];   // out_gradient [64 positions][64]; then [64 channels][64 positions]
  alignas(1024) T of_gate[backward_workers][tile * 64];  // [64 channels][64 positions]
  float half_gate_bias[128], bias[128];
  Barrier weights_full[2];
  Barrier incoming_full[backward_workers], staged_full[backward_workers], staged_read[backward_workers];
};

template <class T>
__device__ void feed_output_256(const Output256Job &job, Output256Shared<T> &shared, int first, int step) {
  RingIndex<output_256_boxes> slot;
  Walk at(job.cells, first * tile, step * tile);
  for (int t = first; t < job.tiles; t += step, at.advance()) {
    shared.ring.fill(slot, [&](Barrier &full, T *to, int box) { load_positions(job.pair, job.cells, full, to, box * 64, at); });
    shared.ring.fill(slot, [&](Barrier &full, T *to, int box) { cuda::load_box(job.o, full, to, t * tile, box * 64); });
  }
}

// One of both linear layers' weights; then what worker w alone needs and leaves.
template <class T>
__device__ void serve_output_256(const Output256Job &job, Output256Shared<T> &shared, int w, int split, int first, int step) {
  Barrier &weights_full = shared.weights_full[w];
  weights_full.expect(128 * wide * 2);
  for (int box = 0; box < wide / 64; ++box)
    cuda::load_box(w ? job.weights : job.gate, weights_full, w ? shared.weights[box] : shared.gate[box], box * 64, split * 128);
  const int channel = split * 128 + w * 64;
  Walk at(job.cells, first * tile, step * tile);
  for (int t = first, round = 0; t < job.tiles; t += step, ++round, at.advance()) {
    shared.incoming_full[w].expect(tile * 64 * 2);
    load_positions(job.incoming, job.cells, shared.incoming_full[w], shared.staged[w], channel, at);
    shared.staged_full[w].wait(round & 1);
    cuda::store_box(job.gradients, shared.staged[w], t * tile, channel);
    cuda::store_box(job.gradients, shared.of_gate[w], t * tile, wide + channel);
    cuda::commit_stores();
    cuda::wait_stores_read<0>();
    shared.staged_read[w].arrive();
  }
  cuda::wait_stores<0>();
}

template <class T>
struct Output256Worker {
  const Output256Job &job;
  Output256Shared<T> &shared;
  const int w, split;
  const Lane lane{};

  // tanh of half the gate's sums, as fp16 pairs: finer than the approximation of tanh is.
  __device__ void gates(const float (&sum)[32], RowPair scale, uint32_t (&gate)[16]) const {
#pragma unroll
    for (int pair = 0; pair < 16; ++pair) {
      const float *bias = shared.half_gate_bias + w * 64 + pair / 2 * 8 + lane.column;
      const float s = 0.5f * (pair % 2 ? scale.lower : scale.upper);
      gate[pair] = cuda::pack<float16>(cuda::tanh_approximate(fmaf(sum[2 * pair], s, bias[0])),
                                       cuda::tanh_approximate(fmaf(sum[2 * pair + 1], s, bias[1])));
    }
  }

  __device__ void drop(float (&du)[2], int64_t position, int channel) const {
    const triangle_multiplication::Cell cell(job.cells, position);
    if (!cell.inside) return;
    const View &mask = job.dropout_mask;
    const int64_t offset = cell.offset(mask) + channel * mask.stride[3];
    du[0] *= gpu::load_any(mask.data, mask.dtype, offset), du[1] *= gpu::load_any(mask.data, mask.dtype, offset + mask.stride[3]);
  }

  // out_gradient, from staged into registers: of two column tiles upper and lower of the first, then of the second.
  __device__ void load_incoming(uint32_t (&incoming)[4][4]) const {
#pragma unroll
    for (int j = 0; j < 8; j += 2) cuda::load_matrices(incoming[j / 2], lane.by_position(shared.staged[w], j));
  }

  // Of both gradients, to [channel][position].
  __device__ void stage(const float (&sum)[32], const uint32_t (&gate)[16], const uint32_t (&incoming)[4][4], RowPair scale,
                        RowPair scale_o, int64_t position) const {
#pragma unroll
    for (int j = 0; j < 8; j += 2) {  // two column tiles of 8
      uint32_t of_projection[4], of_gate[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {  // upper and lower of the first, then of the second
        const int pair = (j + i / 2) * 2 + i % 2, channel = w * 64 + (j + i / 2) * 8 + lane.column;
        const float s = i % 2 ? scale.lower : scale.upper, s_o = i % 2 ? scale_o.lower : scale_o.upper;
        float du[2] = {cuda::low_half<T>(incoming[j / 2][i]), cuda::high_half<T>(incoming[j / 2][i])}, dp[2], dg[2];
        if (job.dropout_mask.present) drop(du, position + i % 2 * 8, split * 128 + channel);
        const float t[2] = {cuda::low_half<float16>(gate[pair]), cuda::high_half<float16>(gate[pair])};
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const float sigmoid = fmaf(t[e], 0.5f, 0.5f), projection = fmaf(sum[2 * pair + e], s_o, shared.bias[channel + e]);
          dp[e] = du[e] * sigmoid * s_o;
          dg[e] = du[e] * sigmoid * fmaf(t[e], -0.5f, 0.5f) * projection * s;
        }
        of_projection[i] = cuda::pack<T>(dp[0], dp[1]), of_gate[i] = cuda::pack<T>(dg[0], dg[1]);
      }
      cuda::store_matrices_transposed(lane.by_channel(shared.staged[w], j * 8), of_projection[0], of_projection[1], of_projection[2],
                                      of_projection[3]);
      cuda::store_matrices_transposed(lane.by_channel(shared.of_gate[w], j * 8), of_gate[0], of_gate[1], of_gate[2], of_gate[3]);
    }
  }

  // sum = rows times this worker's 64 rows of the weights.  Asynchronous.
  __device__ void multiply(float (&sum)[32], const Rows<wide, T> &rows, const T (&weights)[wide / 64][128][64]) const {
    cuda::begin_products();
#pragma unroll
    for (int k = 0; k < wide / 16; ++k) {
      const uint64_t b = cuda::operand(cuda::shared_address(weights[k / 4][w * 64]));
      cuda::multiply<T>(sum, rows.a[k], cuda::deeper<Lines::along_k>(b, k % 4), k > 0);
    }
    cuda::commit_products();
  }

  // Whose tile is shared by four workers: one of them leaves a position's factors.
  __device__ void leave_factors(void *factors, const Statistics &of, int64_t position) const {
    if (lane.column) return;
    store_factors<T>(factors, job.cells.count, position, of.mean.upper, of.scale.upper);
    store_factors<T>(factors, job.cells.count, position + 8, of.mean.lower, of.scale.lower);
  }

  __device__ void work(int first, int step) const {
    RingIndex<output_256_boxes> slot;
    for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
      const int64_t position = static_cast<int64_t>(t) * tile + lane.row;
      Rows<wide, T> rows;
      float sum[32];
      uint32_t gate[16], incoming[4][4];

      shared.ring.template read<false>(slot, rows);
      if (round == 0) shared.weights_full[0].wait(0);
      multiply(sum, rows, shared.gate);
      const Statistics of_pair = finite(rows.statistics(job.eps));
      if (split == 0 && w == 0) leave_factors(job.factors[0], of_pair, position);
      cuda::wait_products<0>();
      gates(sum, of_pair.scale, gate);

      shared.ring.template read<true>(slot, rows);
      if (round == 0) shared.weights_full[1].wait(0);
      multiply(sum, rows, shared.weights);
      const Statistics of_o = finite(rows.statistics(job.eps));
      if (split == 1 && w == 1) leave_factors(job.factors[1], of_o, position);
      shared.incoming_full[w].wait(round & 1);
      load_incoming(incoming);
      cuda::wait_products<0>();
      meet_group(w);  // all four warps have read out_gradient, in whose place the projection's goes
      if (round) shared.staged_read[w].wait((round - 1) & 1);
      stage(sum, gate, incoming, of_pair.scale, of_o.scale, position);
      cuda::publish_shared();
      __syncwarp();
      if (lane.lane == 0) shared.staged_full[w].arrive();
    }
  }
};

template <class T>
__device__ void output_256(const Output256Job &job) {
  extern __shared__ __align__(1024) char dynamic[];
  Output256Shared<T> &shared = *reinterpret_cast<Output256Shared<T> *>(dynamic);
  static_assert(sizeof(Output256Shared<T>) <= output_256_shape.shared_bytes && cuda::registers_fit(backward_workers, 232, 40));
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  const int split = blockIdx.x % 2, first = blockIdx.x / 2, step = gridDim.x / 2;
  if (threadIdx.x == 0) {
    shared.ring.init();
    for (int w = 0; w < backward_workers; ++w) {
      shared.weights_full[w].init(1);
      shared.incoming_full[w].init(1), shared.staged_full[w].init(4), shared.staged_read[w].init(1);
    }
    cuda::publish_barriers();
  }
  cuda::wait_for_previous_kernel();
  if (threadIdx.x == 0) cuda::allow_next_kernel();
  if (threadIdx.x < 128) {
    shared.half_gate_bias[threadIdx.x] = 0.5f * job.gate_bias[split * 128 + threadIdx.x];
    shared.bias[threadIdx.x] = job.bias[split * 128 + threadIdx.x];
  }
  __syncthreads();
  if (group < backward_workers) {
    cuda::raise_registers<232>();
    Output256Worker<T>{job, shared, group, split}.work(first, step);
  } else {
    cuda::lower_registers<40>();
    if (threadIdx.x % 32 == 0) {
      if (warp < backward_workers) serve_output_256(job, shared, warp, split, first, step);
      else if (warp == backward_workers) feed_output_256(job, shared, first, step);
    }
  }
}

}  // namespace lamina::triangle_multiplication::hopper
