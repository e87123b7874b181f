// Float tensors in 16-bit arithmetic on Hopper: the kernels around front and contraction.
//
// First the rows of pair are normalised and rounded, once.  The front reads them as they are and makes the output gate beside a and b, so
// that the last kernel needs o and gate alone: LayerNorm of o times gate as register operand, 128 output channels at a time, floats out.
#pragma once
#include "cuda_operands.cuh"
#include "sm90a_rows.cuh"

namespace lamina::triangle_multiplication::hopper {

// A warp a row.
template <int C, class T>
__device__ void narrow_rows(const NarrowRowsJob &job) {
  constexpr int fours = C / 128;  // pieces of 16 bytes of a lane
  cuda::wait_for_previous_kernel();
  cuda::allow_next_kernel();
  const int lane = threadIdx.x % 32, warps = gridDim.x * (blockDim.x / 32);
  float4 weight[fours], bias[fours];
#pragma unroll
  for (int i = 0; i < fours; ++i) {
    weight[i] = reinterpret_cast<const float4 *>(job.norm.weight)[lane + 32 * i];
    bias[i] = reinterpret_cast<const float4 *>(job.norm.bias)[lane + 32 * i];
  }
  for (int64_t position = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; position < job.cells.count; position += warps) {
    const triangle_multiplication::Cell cell(job.cells, position);
    if (!cell.inside) continue;
    const float4 *row = reinterpret_cast<const float4 *>(static_cast<const float *>(job.pair.data) + cell.offset(job.pair));
    float4 x[fours];
    float mean = 0, square = 0;
#pragma unroll
    for (int i = 0; i < fours; ++i) x[i] = row[lane + 32 * i];
#pragma unroll
    for (int i = 0; i < fours; ++i) mean += (x[i].x + x[i].y) + (x[i].z + x[i].w);
    mean = Row<32>::over_lanes(mean) / C;
#pragma unroll
    for (int i = 0; i < fours; ++i) {
      x[i].x -= mean, x[i].y -= mean, x[i].z -= mean, x[i].w -= mean;
      square += (x[i].x * x[i].x + x[i].y * x[i].y) + (x[i].z * x[i].z + x[i].w * x[i].w);
    }
    const float scale = rsqrtf(Row<32>::over_lanes(square) / C + job.norm.eps);
    uint2 *to = reinterpret_cast<uint2 *>(static_cast<T *>(job.rows) + position * C);
#pragma unroll
    for (int i = 0; i < fours; ++i)
      to[lane + 32 * i] = {cuda::pack<T>(fmaf(x[i].x * scale, weight[i].x, bias[i].x), fmaf(x[i].y * scale, weight[i].y, bias[i].y)),
                           cuda::pack<T>(fmaf(x[i].z * scale, weight[i].z, bias[i].z), fmaf(x[i].w * scale, weight[i].w, bias[i].w))};
  }
}

template <int C, class T>
struct NarrowBackShared {
  static constexpr int passes = C / 128;
  alignas(1024) T weights[passes][2][128][64];
  alignas(1024) T o[narrow_workers][narrow_hidden][tile], gate[narrow_workers][narrow_hidden][tile];
  alignas(1024) float staged[narrow_workers][4][tile][32];
  NormPair norm[narrow_hidden / 2];
  float bias[C];
  Barrier weights_full, full[narrow_workers], free[narrow_workers], staged_full[narrow_workers], staged_free[narrow_workers];
};

// The thread that loads and stores for worker w.
template <int C, class T>
__device__ void serve_narrow_back(const NarrowBackJob &job, NarrowBackShared<C, T> &shared, int w, int first, int step) {
  using Shared = NarrowBackShared<C, T>;
  if (w == 0) {
    shared.weights_full.expect(sizeof shared.weights);
    for (int pass = 0; pass < Shared::passes; ++pass)
      for (int box = 0; box < 2; ++box) cuda::load_box(job.weights, shared.weights_full, shared.weights[pass][box], box * 64, pass * 128);
  }
  cuda::wait_for_previous_kernel();
  const auto load = [&](int t) {
    shared.full[w].expect(2 * sizeof shared.o[w]);
    cuda::load_box(job.o, shared.full[w], shared.o[w], t * tile, 0);
    cuda::load_box(job.gate, shared.full[w], shared.gate[w], t * tile, 0);
  };
  if (first < job.tiles) load(first);
  Walk at(job.cells, first * tile, step * tile);
  int stores = 0;
  for (int t = first, round = 0; t < job.tiles; t += step, ++round, at.advance()) {
    shared.free[w].wait(round & 1);
    if (t + step < job.tiles) load(t + step);
    for (int pass = 0; pass < Shared::passes; ++pass, ++stores) {
      shared.staged_full[w].wait(stores & 1);
      for (int box = 0; box < 4; ++box)  // the map counts in 16-bit words
        store_positions(job.out, job.cells, shared.staged[w][box], (pass * 128 + box * 32) * 2, at);
      cuda::commit_stores();
      cuda::wait_stores_read<0>();
      shared.staged_free[w].arrive();
    }
  }
  cuda::wait_stores<0>();
}

template <int C, class T>
__device__ void work_narrow_back(const NarrowBackJob &job, NarrowBackShared<C, T> &shared, int w, int first, int step) {
  using Shared = NarrowBackShared<C, T>;
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, line = warp * 16 + lane / 4;
  int stores = 0;
  for (int t = first, round = 0; t < job.tiles; t += step, ++round) {
    Rows<narrow_hidden, T> rows, gate;
    shared.full[w].wait(round & 1);
    rows.load_by_channel(shared.o[w]), gate.load_by_channel(shared.gate[w]);
    uint32_t read = 0;
#pragma unroll
    for (int k = 0; k < narrow_hidden / 16; ++k) read ^= rows.a[k][3] ^ gate.a[k][3];
    arrive_behind_loads(shared.free[w], read);
    rows.normalise(shared.norm, job.eps, [&](uint32_t &pair, int k, int i, float low, float high) {
      pair = cuda::pack<T>(low * cuda::low_half<T>(gate.a[k][i]), high * cuda::high_half<T>(gate.a[k][i]));
    });
    if (round == 0) shared.weights_full.wait(0);
#pragma unroll 1
    for (int pass = 0; pass < Shared::passes; ++pass, ++stores) {
      float sum[64];
      rows.multiply(sum, shared.weights[pass]);
      cuda::wait_products<0>();
      shared.staged_free[w].wait((stores & 1) ^ 1);
#pragma unroll
      for (int j = 0; j < 16; ++j) {
        const float2 b = *reinterpret_cast<const float2 *>(shared.bias + pass * 128 + j * 8 + lane % 4 * 2);
        const uint32_t box = cuda::shared_address(shared.staged[w][j / 4]), piece = j % 4 * 2 + lane % 4 / 2, within = lane % 2 * 8;
        cuda::store_two(cuda::swizzled(box, line, piece) + within, sum[4 * j] + b.x, sum[4 * j + 1] + b.y);
        cuda::store_two(cuda::swizzled(box, line + 8, piece) + within, sum[4 * j + 2] + b.x, sum[4 * j + 3] + b.y);
      }
      cuda::publish_shared();
      __syncwarp();
      if (lane == 0) shared.staged_full[w].arrive();
    }
  }
}

template <int C, class T>
__device__ void narrow_back(const NarrowBackJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  using Shared = NarrowBackShared<C, T>;
  Shared &shared = *reinterpret_cast<Shared *>(dynamic);
  static_assert(sizeof(Shared) == narrow_back_shape(C).shared_bytes && (narrow_workers + 1) * 128 == narrow_back_shape(C).threads);
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4, step = gridDim.x * narrow_workers;
  if (threadIdx.x == 0) {
    cuda::allow_next_kernel();
    shared.weights_full.init(1);
    for (int w = 0; w < narrow_workers; ++w)
      shared.full[w].init(1), shared.free[w].init(4), shared.staged_full[w].init(4), shared.staged_free[w].init(1);
    cuda::publish_barriers();
  }
  load_norm<narrow_hidden>(shared.norm, job.norm_weight, job.norm_bias);
  for (int channel = threadIdx.x; channel < C; channel += blockDim.x) shared.bias[channel] = job.bias[channel];
  __syncthreads();
  if (group < narrow_workers) {
    static_assert(cuda::registers_fit(narrow_workers, 224, 56));
    cuda::raise_registers<224>();
    work_narrow_back<C, T>(job, shared, group, blockIdx.x + group * gridDim.x, step);
  } else {
    cuda::lower_registers<56>();
    if (warp < narrow_workers && threadIdx.x % 32 == 0) serve_narrow_back<C, T>(job, shared, warp, blockIdx.x + warp * gridDim.x, step);
  }
}

}  // namespace lamina::triangle_multiplication::hopper
