// The backward's second half on Hopper: from the gradients of a and b to those of pair and of the front's weights.
//
// Both kernels compute the front's sums again.  front_backward keeps all weights in shared memory and turns their sums' gradients, still in
// registers, into the gradient of x; front_weights keeps a quarter of the weights' gradients in registers, two warpgroups one each.
#pragma once
#include "sm90a_backward_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

template <class T>
struct FrontBackwardShared {
  alignas(1024) T weights[4][2][128][64];
  alignas(1024) T x[backward_workers][2][tile][64];
  alignas(1024) T rows[backward_workers][2][tile][64];  // the gradient of x so far, then that of pair
  alignas(1024) T gradients[backward_workers][2][64][tile];
  float bias[512];
  Barrier weights_full, x_full[backward_workers], x_free[backward_workers], rows_full[backward_workers], rows_done[backward_workers];
  Barrier gradients_full[backward_workers][2], gradients_free[backward_workers][2];
};

// One thread a worker, in the order in which that needs things.
template <class T>
__device__ void serve_front_backward(const FrontBackwardJob &job, FrontBackwardShared<T> &shared, int w, int first, int step) {
  if (w == 0) {
    shared.weights_full.expect(sizeof shared.weights);
    for (int pass = 0; pass < 4; ++pass)
      for (int box = 0; box < 2; ++box) cuda::load_box(job.weights, shared.weights_full, shared.weights[pass][box], box * 64, pass * 128);
  }
  RingIndex<2> slot;
  Walk at(job.cells, first * tile, step * tile), ahead = at;
  const auto load_pair = [&] {
    shared.x_full[w].expect(tile * 128 * 2);
    for (int box = 0; box < 2; ++box) load_positions(job.pair, job.cells, shared.x_full[w], shared.x[w][box], box * 64, ahead);
    ahead.advance();
  };
  if (first < job.tiles) load_pair();
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    for (int pass = 0; pass < 4; ++pass, slot.advance()) {
      shared.gradients_free[w][slot.at].wait(slot.parity ^ 1);
      Barrier &full = shared.gradients_full[w][slot.at];
      full.expect(64 * tile * 2);
      cuda::load_box(job.gradients[pass / 2], full, shared.gradients[w][slot.at], t * tile, pass % 2 * 64);
      if (pass == 0) {
        if (round) cuda::wait_stores_read<0>();
        shared.rows_full[w].expect(tile * 128 * 2);
        for (int box = 0; box < 2; ++box) cuda::load_box(job.x_gradient, shared.rows_full[w], shared.rows[w][box], box * 64, t * tile);
      }
      if (pass == 1 && t + step < job.tiles) {
        shared.x_free[w].wait(round & 1);
        load_pair();
      }
    }
    shared.rows_done[w].wait(round & 1);
    for (int box = 0; box < 2; ++box) store_positions(job.out, job.cells, shared.rows[w][box], box * 64, at);
    cuda::commit_stores();
    at.advance();
  }
  cuda::wait_stores<0>();
}

// sum = x times 64 packed rows of the weights: half of what one of the four boxes holds.
template <class T>
__device__ void multiply_half(float (&sum)[32], const Rows<128, T> &x, const T (&weights)[4][2][128][64], int half) {
  cuda::begin_products();
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    const uint64_t b = cuda::operand(cuda::shared_address(weights[half / 2][k / 4][half % 2 * 64]));
    cuda::multiply<T>(sum, x.a[k], cuda::deeper<Lines::along_k>(b, k % 4), k > 0);
  }
  cuda::commit_products();
}

template <class T>
__device__ void work_front_backward(const FrontBackwardJob &job, FrontBackwardShared<T> &shared, int w, int first, int step) {
  if (first >= job.tiles) return;
  const Lane at;
  RingIndex<2> slot;
  RowPair next = half_masks(job, static_cast<int64_t>(first) * tile);
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    const RowPair half_mask = next;
    Rows<128, T> x;
    shared.x_full[w].wait(round & 1);
    x.load_by_position(shared.x[w]);
    x.release(shared.x_free[w]);
    if (round == 0) shared.weights_full.wait(0);
    float sum[2][32], dx[64];
    multiply_half(sum[0], x, shared.weights, 0);
    const auto [mean, scale] = finite(x.statistics(job.eps));
#pragma unroll
    for (int half = 0; half < 8; ++half) {  // while one half's sums become gradients, the next half's are under way
      if (half % 2 == 0) shared.gradients_full[w][slot.at].wait(slot.parity);
      if (half < 7) {
        multiply_half(sum[(half + 1) % 2], x, shared.weights, half + 1);
        cuda::wait_products<1>();
      } else {
        cuda::wait_products<0>();
      }
      uint32_t of_sums[4][4];
      gate_backward<2, T>(sum[half % 2], shared.bias + half * 64, scale, half_mask, shared.gradients[w][slot.at], half % 2 * 32, of_sums);
      if (half % 2) {
        uint32_t read = 0;
#pragma unroll
        for (int k = 0; k < 4; ++k) read ^= of_sums[k][0] ^ of_sums[k][1];
        arrive_behind_loads(shared.gradients_free[w][slot.at], read);
        slot.advance();
      }
      cuda::begin_products();
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const uint64_t b = cuda::operand(cuda::shared_address(shared.weights[half / 2]), 16384);
        cuda::multiply_by_rows<T>(dx, of_sums[k], cuda::deeper<Lines::along_rows>(b, half % 2 * 4 + k), half > 0 || k > 0);
      }
      cuda::commit_products();
    }
    // On its way while the last products run.
    if (t + step < job.tiles) next = half_masks(job, static_cast<int64_t>(t + step) * tile);
    cuda::wait_products<0>();

    // The output gate's part; then through the LayerNorm.
    shared.rows_full[w].wait(round & 1);
    float slope[2] = {0, 0}, product[2] = {0, 0};
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      uint32_t more[4];
      cuda::load_matrices(more, at.by_position(shared.rows[w][k / 4], k % 4 * 2));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float *d = dx + (2 * k + i / 2) * 4 + i % 2 * 2;
        d[0] += cuda::low_half<T>(more[i]), d[1] += cuda::high_half<T>(more[i]);
        slope[i % 2] += d[0] + d[1];
        product[i % 2] = fmaf(d[0], cuda::low_half<T>(x.a[k][i]), fmaf(d[1], cuda::high_half<T>(x.a[k][i]), product[i % 2]));
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {  // d - its mean - x' times the mean of d x', x' = scale (x - mean), is d + slope - product x
      const float m = r ? mean.lower : mean.upper, scale_r = r ? scale.lower : scale.upper, mean_d = over_quad(slope[r]) / 128;
      product[r] = scale_r * scale_r * (over_quad(product[r]) / 128 - m * mean_d);
      slope[r] = m * product[r] - mean_d;
    }
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      uint32_t result[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float *d = dx + (2 * k + i / 2) * 4 + i % 2 * 2;
        const float s = i % 2 ? scale.lower : scale.upper;
        result[i] = cuda::pack<T>(s * (d[0] + slope[i % 2] - cuda::low_half<T>(x.a[k][i]) * product[i % 2]),
                                  s * (d[1] + slope[i % 2] - cuda::high_half<T>(x.a[k][i]) * product[i % 2]));
      }
      cuda::store_matrices(at.by_position(shared.rows[w][k / 4], k % 4 * 2), result[0], result[1], result[2], result[3]);
    }
    cuda::publish_shared();
    __syncwarp();
    if (at.lane == 0) shared.rows_done[w].arrive();
  }
}

template <class T>
__device__ void front_backward(const FrontBackwardJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  FrontBackwardShared<T> &shared = *reinterpret_cast<FrontBackwardShared<T> *>(dynamic);
  static_assert(sizeof(FrontBackwardShared<T>) <= front_backward_shape.shared_bytes && cuda::registers_fit(backward_workers, 232, 40));
  if (threadIdx.x == 0) {
    shared.weights_full.init(1);
    for (int w = 0; w < backward_workers; ++w) {
      shared.x_full[w].init(1), shared.x_free[w].init(4), shared.rows_full[w].init(1), shared.rows_done[w].init(4);
      for (int slot = 0; slot < 2; ++slot) shared.gradients_full[w][slot].init(1), shared.gradients_free[w][slot].init(4);
    }
    cuda::publish_barriers();
  }
  cuda::wait_for_previous_kernel();
  if (threadIdx.x == 0) cuda::allow_next_kernel();
  for (int row = threadIdx.x; row < 512; row += blockDim.x) shared.bias[row] = job.bias[row];
  __syncthreads();
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4, step = gridDim.x * backward_workers;
  if (group < backward_workers) {
    cuda::raise_registers<232>();
    work_front_backward(job, shared, group, blockIdx.x + group * gridDim.x, step);
  } else {
    cuda::lower_registers<40>();
    if (warp < backward_workers && threadIdx.x % 32 == 0) serve_front_backward(job, shared, warp, blockIdx.x + warp * gridDim.x, step);
  }
}

template <class T>
struct FrontWeightsShared {
  alignas(1024) T weights[2][128][64];
  alignas(1024) T x[backward_workers][2][2][tile][64];
  alignas(1024) T gradients[backward_workers][2][64][tile];
  alignas(1024) T of_sums[backward_workers][2][tile][64];  // [position][packed row]
  alignas(1024) T factors[backward_workers][2][8][64];     // the last four lines are zeros
  float bias[128];
  Barrier weights_full, full[backward_workers][2], free[backward_workers][2];
};

template <class T>
__device__ void serve_front_weights(const FrontWeightsJob &job, FrontWeightsShared<T> &shared, int w, int quarter, int first, int step) {
  if (w == 0) {
    shared.weights_full.expect(sizeof shared.weights);
    for (int box = 0; box < 2; ++box) cuda::load_box(job.weights, shared.weights_full, shared.weights[box], box * 64, quarter * 128);
  }
  RingIndex<2> slot;
  for (int t = first; t < job.tiles; t += step, slot.advance()) {
    shared.free[w][slot.at].wait(slot.parity ^ 1);
    Barrier &full = shared.full[w][slot.at];
    full.expect(tile * (128 + 64 + 8) * 2);
    if (job.pair.flat) {  // registers are short here, too: no walk where none is needed
      for (int box = 0; box < 2; ++box) cuda::load_box(job.pair.whole, full, shared.x[w][slot.at][box], box * 64, t * tile, 0);
    } else {
      const Walk at(job.cells, t * tile, tile);
      for (int box = 0; box < 2; ++box) load_positions(job.pair, job.cells, full, shared.x[w][slot.at][box], box * 64, at);
    }
    cuda::load_box(job.factors, full, shared.factors[w][slot.at], t * tile, 0);
    cuda::load_box(job.gradients[quarter / 2], full, shared.gradients[w][slot.at], t * tile, quarter % 2 * 64);
  }
}

// Among both workers.
__device__ inline void meet_workers() { cuda::meet_threads<256>(3); }

// From one of a worker's tiles to its next.  Cheaper to compute than to keep: registers are short.
__device__ inline int front_weights_step() { return static_cast<int>(gridDim.x) / 4 * backward_workers; }

// 1 / deviation of a lane's two rows, from the box of factors: cheaper to compute than to keep.
template <class T>
__device__ RowPair scales(const T (&factors)[8][64]) {
  const int row = Lane().row;
  const auto of = [&](int position) {  // the box is swizzled: of line 1 the 16-byte pieces lie in pairs exchanged
    const float deviation = gpu::to_float(factors[0][position]) + gpu::to_float(factors[1][position ^ 8]);
    return deviation > 0 ? __fdividef(1.0f, deviation) : 0.0f;
  };
  return {of(row), of(row + 8)};
}

template <class T>
__device__ void work_front_weights(const FrontWeightsJob &job, FrontWeightsShared<T> &shared, int w, int first) {
  const Lane at;
  float upper[64], lower[64], upper_sums[4], lower_sums[4];  // of packed rows 0..63 and 64..127
#pragma unroll
  for (int i = 0; i < 64; ++i) upper[i] = 0, lower[i] = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) upper_sums[i] = 0, lower_sums[i] = 0;
  const auto multiply = [&](float(&sum)[64], const T(&x)[2][tile][64]) {
    cuda::begin_products();
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const uint64_t a = cuda::deeper<Lines::along_k>(cuda::operand(cuda::shared_address(x[k / 4])), k % 4);
      const uint64_t b = cuda::deeper<Lines::along_k>(cuda::operand(cuda::shared_address(shared.weights[k / 4])), k % 4);
      cuda::multiply_mixed<Lines::along_k, Lines::along_k, T>(sum, a, b, k > 0);
    }
    cuda::commit_products();
  };
  float sum[64];
  RowPair half_mask{0, 0};
  if (first < job.tiles) {
    shared.weights_full.wait(0);
    shared.full[w][0].wait(0);
    multiply(sum, shared.x[w][0]);
    half_mask = half_masks(job, static_cast<int64_t>(first) * tile);
    cuda::wait_products<0>();
  }
#pragma unroll 1
  for (int t = first, round = 0; t < job.tiles; t += front_weights_step(), ++round) {
    const bool more = t + front_weights_step() < job.tiles;
    const int now = round & 1, next = now ^ 1;
    const RowPair scale = scales(shared.factors[w][now]);
    const RowPair scaled_mask{half_mask.upper * scale.upper, half_mask.lower * scale.lower};
#pragma unroll
    for (int part = 0; part < 4; ++part) {  // small ones: registers are short
      uint32_t of_sums[2][4];
      gate_backward<1, T>(sum + part * 16, shared.bias + part * 32, scale, scaled_mask, shared.gradients[w][now], part * 16, of_sums);
#pragma unroll
      for (int k = 0; k < 2; ++k)
        cuda::store_matrices(at.by_position(shared.of_sums[w][part / 2], part % 2 * 4 + k * 2), of_sums[k][0], of_sums[k][1], of_sums[k][2],
                             of_sums[k][3]);
    }
    cuda::publish_shared();
    meet_group(w);
    cuda::begin_products();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const uint64_t b = cuda::deeper<Lines::along_rows>(cuda::operand(cuda::shared_address(shared.x[w][now]), 8192), k);
      const uint64_t factors = cuda::deeper<Lines::along_k>(cuda::operand(cuda::shared_address(shared.factors[w][now])), k);
      const uint64_t first_rows = cuda::deeper<Lines::along_rows>(cuda::operand(cuda::shared_address(shared.of_sums[w][0]), 8192), k);
      const uint64_t more_rows = cuda::deeper<Lines::along_rows>(cuda::operand(cuda::shared_address(shared.of_sums[w][1]), 8192), k);
      cuda::multiply_mixed<Lines::along_rows, Lines::along_rows, T>(upper, first_rows, b, true);
      cuda::multiply_mixed<Lines::along_rows, Lines::along_rows, T>(lower, more_rows, b, true);
      cuda::multiply_mixed<Lines::along_rows, Lines::along_k, T>(upper_sums, first_rows, factors, true);
      cuda::multiply_mixed<Lines::along_rows, Lines::along_k, T>(lower_sums, more_rows, factors, true);
    }
    cuda::commit_products();
    if (more) {  // the next tile's sums, behind this one's products
      shared.full[w][next].wait((round + 1) >> 1 & 1);
      multiply(sum, shared.x[w][next]);
      half_mask = half_masks(job, static_cast<int64_t>(t + front_weights_step()) * tile);
    }
    cuda::wait_products<0>();
    meet_group(w);  // all four warps' products and loads are done
    if (threadIdx.x % 128 == 0) shared.free[w][now].arrive();
  }
  // The second worker's sums come to the first one's through shared memory, which nobody reads any more, and go to memory once.
  float *staged = reinterpret_cast<float *>(shared.x) + threadIdx.x % 128;
  static_assert((2 * 64 + 2 * 4) * 128 * sizeof(float) <= sizeof shared.x + sizeof shared.gradients);
  const auto each_sum = [&](auto use) {
#pragma unroll
    for (int i = 0; i < 64; ++i) use(upper[i], i), use(lower[i], 64 + i);
#pragma unroll
    for (int i = 0; i < 4; ++i) use(upper_sums[i], 128 + i), use(lower_sums[i], 132 + i);
  };
  meet_workers();
  if (w == 1) each_sum([&](float sum, int at) { staged[at * 128] = sum; });
  meet_workers();
  if (w == 1) return;
  each_sum([&](float &sum, int at) { sum += staged[at * 128]; });
  float *to = job.sums + static_cast<int64_t>(blockIdx.x) * sums_of_128;
  write_scaled_sums(upper, upper_sums, to, to + 128 * 128, job.add);
  write_scaled_sums(lower, lower_sums, to + 64 * 128, to + 128 * 128 + 64, job.add);
}

template <class T>
__device__ void front_weights(const FrontWeightsJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  FrontWeightsShared<T> &shared = *reinterpret_cast<FrontWeightsShared<T> *>(dynamic);
  static_assert(sizeof(FrontWeightsShared<T>) <= front_weights_shape.shared_bytes && cuda::registers_fit(backward_workers, 240, 24));
  const int quarter = blockIdx.x % 4, ctas = gridDim.x / 4, first = blockIdx.x / 4;
  if (threadIdx.x == 0) {
    shared.weights_full.init(1);
    for (int w = 0; w < backward_workers; ++w)
      for (int slot = 0; slot < 2; ++slot) shared.full[w][slot].init(1), shared.free[w][slot].init(1);
    cuda::publish_barriers();
  }
  cuda::wait_for_previous_kernel();
  if (threadIdx.x == 0) cuda::allow_next_kernel();
  for (int row = threadIdx.x; row < 128; row += blockDim.x) shared.bias[row] = job.bias[quarter * 128 + row];
  __syncthreads();
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  if (group < backward_workers) {
    cuda::raise_registers<240>();
    work_front_weights(job, shared, group, first + group * ctas);
  } else {
    cuda::lower_registers<24>();
    if (warp < backward_workers && threadIdx.x % 32 == 0)
      serve_front_weights(job, shared, warp, quarter, first + warp * ctas, front_weights_step());
  }
}

}  // namespace lamina::triangle_multiplication::hopper
