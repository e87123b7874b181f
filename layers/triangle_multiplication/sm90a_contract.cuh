// Step 2 on Hopper: o = a b' (outgoing) or a' b (incoming) for every channel and batch.
//
// Persistent CTAs; one thread loads stages of 64 deep, two or three warpgroups multiply 64 rows of o each.  For the incoming direction both
// operands lie along their rows, which wgmma takes as they are: no transposed copy exists.
#pragma once
#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/wgmma.cuh"
#include "sm90a_job.h"

namespace lamina::triangle_multiplication::hopper {

using cuda::Barrier, cuda::Lines;

template <int columns, class T, int groups = 2>
struct ContractShared {
  static constexpr int stages = contract_stages(columns, groups);
  alignas(1024) T a[stages][groups * 64][64];
  alignas(1024) T b[stages][columns][64];
  alignas(1024) T staged[groups][contract_boxes][64][64];  // boxes in turn
  Barrier full[stages], free[stages];
};

// Which tile of o a running number means: channels in order, so that an operand is used up while it is in the L2 cache.
struct ContractTile {
  int matrix, row, column;
  __device__ ContractTile(const ContractJob &job, int index, int columns, int rows = 128) {
    const int per_matrix = job.row_tiles * job.column_tiles, within = index % per_matrix;
    matrix = index / per_matrix;
    column = within / job.row_tiles * columns;
    row = within % job.row_tiles * rows;
  }
};

// `together`: CTAs of a cluster that multiply neighbouring rows with the same columns; each brings its share of b to all of them.
template <class T, int columns, Lines lines, int together, int groups>
__device__ void serve_contract(const ContractJob &job, ContractShared<columns, T, groups> &shared, int total) {
  constexpr int rows = groups * 64, share = columns / together, b_rows = lines == Lines::along_k ? share : 64,
                a_rows = lines == Lines::along_k ? rows : 64;
  const int rank = together > 1 ? cuda::cluster_rank() : 0;
  int stage = 0, parity = 1;
  for (int index = blockIdx.x; index < total; index += gridDim.x) {
    const ContractTile at(job, index, columns, rows);
    for (int chunk = 0; chunk < job.chunks; ++chunk) {
      shared.free[stage].wait(parity);
      Barrier &full = shared.full[stage];
      full.expect((rows + columns) * 64 * 2);
      // A box is 64 deep and has its lines along k, or along the rows.
      const auto load = [&](const CUtensorMap &map, T *to, int row, auto copy) {
        if constexpr (lines == Lines::along_k) copy(map, full, to, chunk * 64, row, at.matrix);
        else copy(map, full, to, row, chunk * 64, at.matrix);
      };
      for (int row = 0; row < rows; row += a_rows)
        load(job.a, shared.a[stage][row], at.row + row, [](auto &&...box) { cuda::load_box(box...); });
      for (int row = rank * share; row < (rank + 1) * share; row += b_rows)
        load(job.b, shared.b[stage][row], at.column + row, [](auto &&...box) {
          if constexpr (together == 1) cuda::load_box(box...);
          else cuda::load_box_for_all(box..., (1 << together) - 1);
        });
      if (++stage == shared.stages) stage = 0, parity ^= 1;
    }
  }
}

// Among the 128 threads of one warpgroup.
__device__ inline void meet(int group) { cuda::meet_threads<128>(group + 1); }

// 64 rows of o, 64 columns at a time: registers -> shared memory -> TMA.
template <class T, int columns>
__device__ void store_tile(const ContractJob &job, const float *sum, T (&staged)[contract_boxes][64][64], const ContractTile &at,
                           int group) {
  const int thread = threadIdx.x % 128, lane = thread % 32, matrix = lane / 8;
#pragma unroll
  for (int box = 0; box < columns / 64; ++box) {
    if (thread == 0) cuda::wait_stores_read<contract_boxes - 1>();
    meet(group);
    const uint32_t to = cuda::shared_address(staged[box % contract_boxes]);
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      const float *s = sum + box * 32 + j * 4;
      cuda::store_matrices(cuda::swizzled(to, thread / 32 * 16 + matrix % 2 * 8 + lane % 8, j + matrix / 2), cuda::pack<T>(s[0], s[1]),
                           cuda::pack<T>(s[2], s[3]), cuda::pack<T>(s[4], s[5]), cuda::pack<T>(s[6], s[7]));
    }
    cuda::publish_shared();
    meet(group);
    if (thread == 0) {
      cuda::store_box(job.o, staged[box % contract_boxes], at.column + box * 64, at.row + group * 64, at.matrix);
      cuda::commit_stores();
    }
  }
}

// A stage is free once the CTAs that fill it have read it.
template <class T, int columns, Lines lines, int together, int groups>
__device__ void work_contract(const ContractJob &job, ContractShared<columns, T, groups> &shared, int total, int group) {
  const int thread = threadIdx.x % 128;
  int stage = 0, parity = 0;
  for (int index = blockIdx.x; index < total; index += gridDim.x) {
    float sum[columns / 2];
    for (int chunk = 0; chunk < job.chunks; ++chunk) {
      shared.full[stage].wait(parity);
      const uint64_t a = cuda::operand(cuda::shared_address(shared.a[stage][group * 64]), 8192);
      const uint64_t b = cuda::operand(cuda::shared_address(shared.b[stage]), 8192);
      cuda::begin_products();
#pragma unroll
      for (int k = 0; k < 4; ++k) cuda::multiply<lines, T>(sum, cuda::deeper<lines>(a, k), cuda::deeper<lines>(b, k), chunk > 0 || k > 0);
      cuda::commit_products();
      if (chunk > 0) {  // the products of the stage before are done: hand it back
        cuda::wait_products<1>();
        if (thread == 0) cuda::arrive_at_all<together>(shared.free[stage ? stage - 1 : shared.stages - 1]);
      }
      if (++stage == shared.stages) stage = 0, parity ^= 1;
    }
    cuda::wait_products<0>();
    if (thread == 0) cuda::arrive_at_all<together>(shared.free[stage ? stage - 1 : shared.stages - 1]);
    store_tile<T, columns>(job, sum, shared.staged[group], ContractTile(job, index, columns, groups * 64), group);
  }
  if (thread == 0) cuda::wait_stores<0>();
}

template <class T, int columns, Lines lines, int together, int groups = 2>
__device__ void contract(const ContractJob &job) {
  using Shared = ContractShared<columns, T, groups>;
  extern __shared__ __align__(1024) char dynamic[];
  Shared &shared = *reinterpret_cast<Shared *>(dynamic);
  static_assert(sizeof(Shared) == contract_shape(columns, groups).shared_bytes);
  const int group = threadIdx.x / 128, total = job.matrices * job.row_tiles * job.column_tiles;
  if (threadIdx.x == 0) {
    cuda::allow_next_kernel();
    for (Barrier &barrier : shared.full) barrier.init(1);
    for (Barrier &barrier : shared.free) barrier.init(groups * together);
    cuda::publish_barriers();
  }
  if (threadIdx.x == 32) cuda::prefetch_map(job.a), cuda::prefetch_map(job.b), cuda::prefetch_map(job.o);
  if constexpr (together > 1) cuda::meet_cluster();
  else __syncthreads();
  constexpr int worker_registers = groups == 2 ? 232 : 152, service_registers = groups == 2 ? 40 : 56;
  if (group == groups) {
    static_assert(cuda::registers_fit(groups, worker_registers, service_registers));
    cuda::lower_registers<service_registers>();
    if (threadIdx.x % 128 == 0) {
      cuda::wait_for_previous_kernel();
      serve_contract<T, columns, lines, together, groups>(job, shared, total);
    }
    __syncwarp();
  } else {
    cuda::raise_registers<worker_registers>();
    work_contract<T, columns, lines, together, groups>(job, shared, total, group);
  }
  if constexpr (together > 1) cuda::meet_cluster();  // nobody leaves while the other may still arrive at its barriers
}

}  // namespace lamina::triangle_multiplication::hopper
