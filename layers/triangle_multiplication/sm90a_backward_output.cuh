// The backward's first half on Hopper: from out_gradient through the output gate and projection to the gradient of o.
//
// Two warpgroups share a tile of 64 positions and each take half of every product's columns (of the weights' gradients: of the rows, which
// they keep in registers for good); a third one's first thread brings the tiles, two at a time.  LayerNorms are taken in place in shared
// memory, where wgmma finds all operands.
#pragma once
#include "sm90a_backward_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

template <class T>
struct OutputBackwardShared {
  alignas(1024) T gate[2][128][64];
  alignas(1024) T weights[2][128][64];
  alignas(1024) T x[2][2][tile][64];
  alignas(1024) T o[2][128][tile];             // [channel][position]
  alignas(1024) T incoming[2][2][tile][64];    // then the gradient of the projection
  alignas(1024) T gate_gradient[2][tile][64];  // of the gate's sum
  alignas(1024) T staged_o[128][tile];
  alignas(1024) T staged_x[2][tile][64];
  alignas(1024) T ones[8][64];
  float half_gate_bias[128], bias[128];
  float4 moments[8][tile / 2];  // of two positions each: sum and square of the first, of the second
  float2 over_rows[2][tile];    // slope and product of each half of the columns
  float scale_o[2][tile];
  Barrier weights_full, full[2], free[2];
};

template <class T>
__device__ void serve_output_backward(const OutputBackwardJob &job, OutputBackwardShared<T> &shared) {
  shared.weights_full.expect(4 * 128 * 64 * 2);
  for (int box = 0; box < 2; ++box) {
    cuda::load_box(job.gate, shared.weights_full, shared.gate[box], box * 64, 0);
    cuda::load_box(job.weights, shared.weights_full, shared.weights[box], box * 64, 0);
  }
  RingIndex<2> slot;
  Walk walk(job.cells, blockIdx.x * tile, gridDim.x * tile);
  for (int t = blockIdx.x; t < job.tiles; t += gridDim.x, slot.advance(), walk.advance()) {
    const int at = slot.at;
    shared.free[at].wait(slot.parity ^ 1);
    Barrier &full = shared.full[at];
    full.expect(3 * tile * 128 * 2);
    for (int box = 0; box < 2; ++box) load_positions(job.pair, job.cells, full, shared.x[at][box], box * 64, walk);
    cuda::load_box(job.o, full, shared.o[at], t * tile, 0);
    for (int box = 0; box < 2; ++box) load_positions(job.incoming, job.cells, full, shared.incoming[at][box], box * 64, walk);
  }
}

// Among the two warpgroups.
__device__ inline void meet_both() { cuda::meet_threads<256>(1); }

// Rows of pair, four threads each, to mean 0 and deviation 1.
template <class T>
__device__ void normalise_pair(const OutputBackwardJob &job, T (&x)[2][tile][64], int t) {
  const int row = threadIdx.x / 4, quarter = threadIdx.x % 4;
  uint4 data[4];
  float sum = 0, square = 0;
  const auto piece = [&](int i) {  // odd rows start with the other half of a line: no bank conflicts
    const int at = quarter + 4 * ((i + row) & 1);
    return reinterpret_cast<uint4 *>(reinterpret_cast<char *>(x[i / 2]) + row * cuda::line_bytes + ((at ^ (row & 7)) << 4));
  };
  const auto for_pairs = [&](auto use) {
#pragma unroll
    for (int i = 0; i < 4; ++i) use(data[i].x), use(data[i].y), use(data[i].z), use(data[i].w);
  };
#pragma unroll
  for (int i = 0; i < 4; ++i) data[i] = *piece(i);
  for_pairs([&](uint32_t &pair) {
    const float low = cuda::low_half<T>(pair), high = cuda::high_half<T>(pair);
    sum += low + high, square = fmaf(low, low, fmaf(high, high, square));
  });
  const float mean = over_quad(sum) / 128, scale = inverse_deviation(mean, over_quad(square) / 128, job.eps), shift = -mean * scale;
  for_pairs([&](uint32_t &pair) {
    pair = cuda::pack<T>(fmaf(cuda::low_half<T>(pair), scale, shift), fmaf(cuda::high_half<T>(pair), scale, shift));
  });
#pragma unroll
  for (int i = 0; i < 4; ++i) *piece(i) = data[i];
  const int64_t position = static_cast<int64_t>(t) * tile + row;
  if (quarter == 0) store_factors<T>(job.factors, job.cells.count, position, mean, scale);
}

// A warp's 16 channels of o: a lane holds two positions.  What lies in padding may be no number; it becomes zeros.
template <class T>
struct ChannelsOfO {
  const Cells &cells;
  OutputBackwardShared<T> &shared;
  int at, t;

  __device__ uint32_t *pair_at(int c) const {
    const int channel = threadIdx.x / 32 * 16 + c, lane = threadIdx.x % 32;
    return reinterpret_cast<uint32_t *>(reinterpret_cast<char *>(shared.o[at]) + channel * cuda::line_bytes +
                                        (((lane / 4) ^ (channel & 7)) << 4)) +
           lane % 4;
  }
  __device__ uint32_t kept() const {
    if (cells.pitch == cells.N) return ~0u;
    const int64_t position = static_cast<int64_t>(t) * tile + 2 * (threadIdx.x % 32);
    return (triangle_multiplication::Cell(cells, position).inside ? 0xffffu : 0u) |
           (triangle_multiplication::Cell(cells, position + 1).inside ? 0xffff0000u : 0u);
  }
  __device__ void sum() const {
    float4 moments = {0, 0, 0, 0};
    const uint32_t keep = kept();
#pragma unroll
    for (int c = 0; c < 16; ++c) {
      const uint32_t pair = *pair_at(c) & keep;
      const float low = cuda::low_half<T>(pair), high = cuda::high_half<T>(pair);
      moments.x += low, moments.y = fmaf(low, low, moments.y), moments.z += high, moments.w = fmaf(high, high, moments.w);
    }
    shared.moments[threadIdx.x / 32][threadIdx.x % 32] = moments;
  }
  // Behind a meeting.
  __device__ void normalise(float eps) const {
    float4 all = {0, 0, 0, 0};
    const uint32_t keep = kept();
#pragma unroll
    for (int warp = 0; warp < 8; ++warp) {
      const float4 one = shared.moments[warp][threadIdx.x % 32];
      all.x += one.x, all.y += one.y, all.z += one.z, all.w += one.w;
    }
    const float mean_0 = all.x / 128, scale_0 = inverse_deviation(mean_0, all.y / 128, eps);
    const float mean_1 = all.z / 128, scale_1 = inverse_deviation(mean_1, all.w / 128, eps);
    if (threadIdx.x < 32) shared.scale_o[at][2 * threadIdx.x] = scale_0, shared.scale_o[at][2 * threadIdx.x + 1] = scale_1;
#pragma unroll
    for (int c = 0; c < 16; ++c) {
      const uint32_t pair = *pair_at(c) & keep;
      *pair_at(c) = cuda::pack<T>((cuda::low_half<T>(pair) - mean_0) * scale_0, (cuda::high_half<T>(pair) - mean_1) * scale_1);
    }
  }
};

template <class T>
struct OutputBackwardWorker {
  const OutputBackwardJob &job;
  OutputBackwardShared<T> &shared;
  const int half = threadIdx.x / 128;  // of the columns
  const Lane lane{};

  // sum = left [64 positions][128] times this half of the rows of `weights`, both along k.
  template <Lines lines>
  __device__ void forward_product(float (&sum)[32], const void *left, const T (&weights)[2][128][64]) const {
    cuda::begin_products();
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const uint64_t a = lines == Lines::along_k ? cuda::deeper<lines>(cuda::operand(cuda::shared_address(left) + k / 4 * 8192), k % 4)
                                                 : cuda::deeper<lines>(cuda::operand(cuda::shared_address(left), 8192), k);
      const uint64_t b = cuda::deeper<Lines::along_k>(cuda::operand(cuda::shared_address(weights[k / 4][half * 64])), k % 4);
      cuda::multiply_mixed<lines, Lines::along_k, T>(sum, a, b, k > 0);
    }
    cuda::commit_products();
  }
  // sum = left [64 positions][128] times this half of the columns of `weights`.
  __device__ void backward_product(float (&sum)[32], const T (&left)[2][tile][64], const T (&weights)[2][128][64]) const {
    cuda::begin_products();
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const uint64_t a = cuda::deeper<Lines::along_k>(cuda::operand(cuda::shared_address(left[k / 4])), k % 4);
      const uint64_t b = cuda::deeper<Lines::along_rows>(cuda::operand(cuda::shared_address(weights[half]), 8192), k);
      cuda::multiply_mixed<Lines::along_k, Lines::along_rows, T>(sum, a, b, k > 0);
    }
    cuda::commit_products();
  }

  __device__ void sigmoids(float (&gate)[32]) const {
#pragma unroll
    for (int i = 0; i < 32; ++i)
      gate[i] =
          fmaf(cuda::tanh_approximate(fmaf(gate[i], 0.5f, shared.half_gate_bias[half * 64 + i / 4 * 8 + lane.column + i % 2])), 0.5f, 0.5f);
  }

  // The gradients of the projection and of the gate's sum from the incoming one: in place, and beside it.
  __device__ void through_gate(const float (&gate)[32], const float (&projection)[32], int at, int t) const {
    const int64_t position = static_cast<int64_t>(t) * tile + lane.row;
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      uint32_t incoming[4], of_projection[4], of_gate[4];
      const uint32_t address = lane.by_position(shared.incoming[at][half], j);
      cuda::load_matrices(incoming, address);
#pragma unroll
      for (int i = 0; i < 4; ++i) {  // upper and lower of the first column tile, then of the second
        const int first = (j + i / 2) * 4 + i % 2 * 2, channel = half * 64 + (j + i / 2) * 8 + lane.column;
        float du[2] = {cuda::low_half<T>(incoming[i]), cuda::high_half<T>(incoming[i])}, dp[2], dg[2];
        if (job.dropout_mask.present) drop(du, position + i % 2 * 8, channel);
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const float s = gate[first + e];
          dp[e] = du[e] * s;
          dg[e] = dp[e] * (projection[first + e] + shared.bias[channel + e]) * (1 - s);
        }
        of_projection[i] = cuda::pack<T>(dp[0], dp[1]), of_gate[i] = cuda::pack<T>(dg[0], dg[1]);
      }
      cuda::store_matrices(address, of_projection[0], of_projection[1], of_projection[2], of_projection[3]);
      cuda::store_matrices(lane.by_position(shared.gate_gradient[half], j), of_gate[0], of_gate[1], of_gate[2], of_gate[3]);
    }
  }
  __device__ void drop(float (&du)[2], int64_t position, int channel) const {
    const triangle_multiplication::Cell cell(job.cells, position);
    if (!cell.inside) return;
    const View &mask = job.dropout_mask;
    const int64_t offset = cell.offset(mask) + channel * mask.stride[3];
    du[0] *= gpu::load_any(mask.data, mask.dtype, offset), du[1] *= gpu::load_any(mask.data, mask.dtype, offset + mask.stride[3]);
  }

  // Through the LayerNorm of o, to the staged planes.  Both halves meet in it.
  __device__ void through_norm(const float (&dx)[32], int at) const {
    uint32_t x[4][4];
    float slope[2] = {0, 0}, product[2] = {0, 0};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      cuda::load_matrices_transposed(x[k], lane.by_channel(shared.o[at], half * 64 + k * 16));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float *d = dx + (2 * k + i / 2) * 4 + i % 2 * 2;
        slope[i % 2] += d[0] + d[1];
        product[i % 2] = fmaf(d[0], cuda::low_half<T>(x[k][i]), fmaf(d[1], cuda::high_half<T>(x[k][i]), product[i % 2]));
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      slope[r] = over_quad(slope[r]), product[r] = over_quad(product[r]);
      if (lane.column == 0) shared.over_rows[half][lane.row + r * 8] = {slope[r], product[r]};
    }
    meet_both();
    float scale[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float2 first = shared.over_rows[0][lane.row + r * 8], second = shared.over_rows[1][lane.row + r * 8];
      slope[r] = (first.x + second.x) / 128, product[r] = (first.y + second.y) / 128, scale[r] = shared.scale_o[at][lane.row + r * 8];
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      uint32_t result[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float *d = dx + (2 * k + i / 2) * 4 + i % 2 * 2;
        const int r = i % 2;
        result[i] = cuda::pack<T>(scale[r] * (d[0] - slope[r] - cuda::low_half<T>(x[k][i]) * product[r]),
                                  scale[r] * (d[1] - slope[r] - cuda::high_half<T>(x[k][i]) * product[r]));
      }
      cuda::store_matrices_transposed(lane.by_channel(shared.staged_o, half * 64 + k * 16), result[0], result[1], result[2], result[3]);
    }
  }

  __device__ void stage_x_gradient(const float (&sum)[32]) const {
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      const float *s = sum + j * 4;
      cuda::store_matrices(lane.by_position(shared.staged_x[half], j), cuda::pack<T>(s[0], s[1]), cuda::pack<T>(s[2], s[3]),
                           cuda::pack<T>(s[4], s[5]), cuda::pack<T>(s[6], s[7]));
    }
  }

  __device__ ChannelsOfO<T> channels(int at, int t) const { return {job.cells, shared, at, t}; }
  // x is normalised, and o's moments are summed; both while the products of the tile before run.
  __device__ void prepare_rows(int at, int parity, int t) const {
    shared.full[at].wait(parity);
    normalise_pair(job, shared.x[at], t);
    channels(at, t).sum();
  }

  // The weights' gradients: this half of their rows.
  __device__ void add_to_sums(float (&of_gate)[64], float (&of_weights)[64], float (&gate_sums)[4], float (&weight_sums)[4], int at) const {
    cuda::begin_products();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const uint64_t dp = cuda::deeper<Lines::along_rows>(cuda::operand(cuda::shared_address(shared.incoming[at][half]), 8192), k);
      const uint64_t dg = cuda::deeper<Lines::along_rows>(cuda::operand(cuda::shared_address(shared.gate_gradient[half]), 8192), k);
      const uint64_t o = cuda::deeper<Lines::along_k>(cuda::operand(cuda::shared_address(shared.o[at])), k);
      const uint64_t x = cuda::deeper<Lines::along_rows>(cuda::operand(cuda::shared_address(shared.x[at]), 8192), k);
      const uint64_t one = cuda::deeper<Lines::along_k>(cuda::operand(cuda::shared_address(shared.ones)), k);
      cuda::multiply_mixed<Lines::along_rows, Lines::along_k, T>(of_weights, dp, o, true);
      cuda::multiply_mixed<Lines::along_rows, Lines::along_rows, T>(of_gate, dg, x, true);
      cuda::multiply_mixed<Lines::along_rows, Lines::along_k, T>(weight_sums, dp, one, true);
      cuda::multiply_mixed<Lines::along_rows, Lines::along_k, T>(gate_sums, dg, one, true);
    }
    cuda::commit_products();
  }

  __device__ void work() const {
    float of_gate[64], of_weights[64], gate_sums[4], weight_sums[4];
#pragma unroll
    for (int i = 0; i < 64; ++i) of_gate[i] = 0, of_weights[i] = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) gate_sums[i] = 0, weight_sums[i] = 0;
    RingIndex<2> slot;
    const int first = blockIdx.x, step = gridDim.x;
    if (first < job.tiles) {
      prepare_rows(0, 0, first);
      meet_both();
      channels(0, first).normalise(job.eps);
      cuda::publish_shared();
      meet_both();
      shared.weights_full.wait(0);
    }
#pragma unroll 1
    for (int t = first; t < job.tiles; t += step) {
      const int at = slot.at;
      const bool more = t + step < job.tiles;
      slot.advance();  // to the next tile's
      float gate[32], projection[32];
      forward_product<Lines::along_k>(gate, shared.x[at], shared.gate);
      forward_product<Lines::along_rows>(projection, shared.o[at], shared.weights);
      cuda::wait_products<1>();
      sigmoids(gate);
      cuda::wait_products<0>();
      through_gate(gate, projection, at, t);
      cuda::publish_shared();
      if (threadIdx.x == 0) cuda::wait_stores_read<0>();  // staging is read
      meet_both();
      backward_product(projection, shared.incoming[at], shared.weights);
      add_to_sums(of_gate, of_weights, gate_sums, weight_sums, at);
      if (more) prepare_rows(slot.at, slot.parity, t + step);
      cuda::wait_products<1>();
      through_norm(projection, at);
      backward_product(gate, shared.gate_gradient, shared.gate);
      if (more) channels(slot.at, t + step).normalise(job.eps);
      cuda::wait_products<0>();
      stage_x_gradient(gate);
      cuda::publish_shared();
      meet_both();
      if (threadIdx.x == 0) {
        shared.free[at].arrive();
        cuda::store_box(job.o_gradient, shared.staged_o, t * tile, 0);
        for (int box = 0; box < 2; ++box) cuda::store_box(job.x_gradient, shared.staged_x[box], box * 64, t * tile);
        cuda::commit_stores();
      }
    }
    if (threadIdx.x == 0) cuda::wait_stores<0>();
    float *to = job.sums + static_cast<int64_t>(blockIdx.x) * 2 * sums_of_128;
    write_sums(of_gate, to + half * 64 * 128, job.add), write_row_sums(gate_sums, to + 128 * 128 + half * 64, job.add);
    to += sums_of_128;
    write_sums(of_weights, to + half * 64 * 128, job.add), write_row_sums(weight_sums, to + 128 * 128 + half * 64, job.add);
  }
};

template <class T>
__device__ void output_backward(const OutputBackwardJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  OutputBackwardShared<T> &shared = *reinterpret_cast<OutputBackwardShared<T> *>(dynamic);
  static_assert(sizeof(OutputBackwardShared<T>) <= output_backward_shape.shared_bytes && cuda::registers_fit(2, 240, 24));
  if (threadIdx.x == 0) {
    shared.weights_full.init(1);
    for (int slot = 0; slot < 2; ++slot) shared.full[slot].init(1), shared.free[slot].init(1);
    cuda::publish_barriers();
  }
  cuda::wait_for_previous_kernel();
  if (threadIdx.x == 0) cuda::allow_next_kernel();
  if (threadIdx.x < 128)
    shared.half_gate_bias[threadIdx.x] = 0.5f * job.gate_bias[threadIdx.x], shared.bias[threadIdx.x] = job.bias[threadIdx.x];
  for (int at = threadIdx.x; at < 8 * 64; at += blockDim.x) shared.ones[0][at] = gpu::from_float<T>(1.0f);
  cuda::publish_shared();
  __syncthreads();
  if (threadIdx.x / 128 == 2) {
    cuda::lower_registers<24>();
    if (threadIdx.x % 128 == 0) serve_output_backward(job, shared);
  } else {
    cuda::raise_registers<240>();
    OutputBackwardWorker<T>{job, shared}.work();
  }
}

}  // namespace lamina::triangle_multiplication::hopper
