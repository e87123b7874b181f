// At 256 channels: from out_gradient to the gradients of the output projection and of its gate's sum, each times the scale of its own norm.
//
// The skeleton is the forward's last step: two CTAs share a tile of 64 positions, 128 output channels each, whose weights of both linear
// layers stay in shared memory; two worker warpgroups walk over tiles of their own, each with a thread that loads and stores for it.  Pair
// and o take turns in one slot, the gate's gradient leaves from there; out_gradient comes to where the projection's gradient leaves from.
#pragma once
#include "cuda_back.cuh"
#include "sm90a_backward_256_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

template <class T>
struct Output256Shared {
  alignas(1024) T gate[wide / 64][128][64];
  alignas(1024) T weights[wide / 64][128][64];
  alignas(1024) T slot[backward_workers][tile * wide];     // boxes of pair; o [256][64 positions]; two boxes [64 channels][64 positions]
  alignas(1024) T staged[backward_workers][2][tile * 64];  // out_gradient [64 positions][64]; then [64 channels][64 positions]
  float half_gate_bias[128], bias[128];
  Barrier weights_full[2];
  Barrier pair_full[backward_workers], pair_read[backward_workers], o_full[backward_workers];
  Barrier incoming_full[backward_workers], staged_full[backward_workers];
};

template <class T>
__device__ void serve_output_256(const Output256Job &job, Output256Shared<T> &shared, int w, int split, int first, int step) {
  Barrier &weights_full = shared.weights_full[w];
  weights_full.expect(128 * wide * 2);
  for (int box = 0; box < wide / 64; ++box)
    cuda::load_box(w ? job.weights : job.gate, weights_full, w ? shared.weights[box] : shared.gate[box], box * 64, split * 128);
  Walk at(job.cells, first * tile, step * tile);
  for (int t = first, round = 0; t < job.tiles; t += step, ++round, at.advance()) {
    // Behind the stores of the tile before, which are read: slot and staging are free.
    shared.pair_full[w].expect(tile * wide * 2);
    for (int box = 0; box < wide / 64; ++box)
      load_positions(job.pair, job.cells, shared.pair_full[w], shared.slot[w] + box * tile * 64, box * 64, at);
    shared.incoming_full[w].expect(tile * 128 * 2);
    for (int box = 0; box < 2; ++box)
      load_positions(job.incoming, job.cells, shared.incoming_full[w], shared.staged[w][box], split * 128 + box * 64, at);
    shared.pair_read[w].wait(round & 1);
    shared.o_full[w].expect(tile * wide * 2);
    cuda::load_box(job.o, shared.o_full[w], shared.slot[w], t * tile, 0);
    shared.staged_full[w].wait(round & 1);
    for (int box = 0; box < 2; ++box) {
      cuda::store_box(job.gradients, shared.staged[w][box], t * tile, split * 128 + box * 64);
      cuda::store_box(job.gradients, shared.slot[w] + box * tile * 64, t * tile, wide + split * 128 + box * 64);
    }
    cuda::commit_stores();
    cuda::wait_stores_read<0>();
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
  __device__ void gates(const float (&sum)[64], RowPair scale, uint32_t (&gate)[32]) const {
#pragma unroll
    for (int pair = 0; pair < 32; ++pair) {
      const float *bias = shared.half_gate_bias + pair / 2 * 8 + lane.column;
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
  __device__ void load_incoming(uint32_t (&incoming)[8][4]) const {
#pragma unroll
    for (int j = 0; j < 16; j += 2) cuda::load_matrices(incoming[j / 2], lane.by_position(shared.staged[w][j / 8], j % 8));
  }

  // Of both gradients, to [channel][position].
  __device__ void stage(const float (&sum)[64], const uint32_t (&gate)[32], const uint32_t (&incoming)[8][4], RowPair scale,
                        RowPair scale_o, int64_t position) const {
#pragma unroll
    for (int j = 0; j < 16; j += 2) {  // two column tiles of 8
      uint32_t of_projection[4], of_gate[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {  // upper and lower of the first, then of the second
        const int pair = (j + i / 2) * 2 + i % 2, channel = (j + i / 2) * 8 + lane.column;
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
      const uint32_t to = lane.by_channel(shared.staged[w][j / 8], j % 8 * 8);
      cuda::store_matrices_transposed(to, of_projection[0], of_projection[1], of_projection[2], of_projection[3]);
      cuda::store_matrices_transposed(lane.by_channel(shared.slot[w] + j / 8 * tile * 64, j % 8 * 8), of_gate[0], of_gate[1], of_gate[2],
                                      of_gate[3]);
    }
  }

  __device__ void work(int first, int step) const {
    for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
      const int64_t position = static_cast<int64_t>(t) * tile + lane.row;
      Rows<wide, T> rows;
      float sum[64];
      uint32_t gate[32], incoming[8][4];

      shared.pair_full[w].wait(round & 1);
      rows.load_by_position(shared.slot[w]);
      rows.release(shared.pair_read[w]);
      if (round == 0) shared.weights_full[0].wait(0);
      rows.multiply(sum, shared.gate);
      const auto [mean, scale] = finite(rows.statistics(job.eps));
      if (split == 0 && lane.column == 0) {
        store_factors<T>(job.factors[0], job.cells.count, position, mean.upper, scale.upper);
        store_factors<T>(job.factors[0], job.cells.count, position + 8, mean.lower, scale.lower);
      }
      cuda::wait_products<0>();
      gates(sum, scale, gate);

      shared.o_full[w].wait(round & 1);
      rows.load_by_channel(shared.slot[w]);
      if (round == 0) shared.weights_full[1].wait(0);
      rows.multiply(sum, shared.weights);
      const auto [mean_o, scale_o] = finite(rows.statistics(job.eps));
      if (split == 1 && lane.column == 0) {
        store_factors<T>(job.factors[1], job.cells.count, position, mean_o.upper, scale_o.upper);
        store_factors<T>(job.factors[1], job.cells.count, position + 8, mean_o.lower, scale_o.lower);
      }
      cuda::wait_products<0>();

      shared.incoming_full[w].wait(round & 1);
      load_incoming(incoming);
      meet_group(w);  // all four warps have read out_gradient and o, in whose places the gradients go
      stage(sum, gate, incoming, scale, scale_o, position);
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
  const int split = blockIdx.x % 2, pairs = gridDim.x / 2, step = pairs * backward_workers;
  if (threadIdx.x == 0) {
    for (int w = 0; w < backward_workers; ++w) {
      shared.weights_full[w].init(1);
      shared.pair_full[w].init(1), shared.pair_read[w].init(4), shared.o_full[w].init(1);
      shared.incoming_full[w].init(1), shared.staged_full[w].init(4);
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
  const int w = group < backward_workers ? group : warp, first = blockIdx.x / 2 + w * pairs;
  if (group < backward_workers) {
    cuda::raise_registers<232>();
    Output256Worker<T>{job, shared, w, split}.work(first, step);
  } else {
    cuda::lower_registers<40>();
    if (warp < backward_workers && threadIdx.x % 32 == 0) serve_output_256(job, shared, w, split, first, step);
  }
}

}  // namespace lamina::triangle_multiplication::hopper
