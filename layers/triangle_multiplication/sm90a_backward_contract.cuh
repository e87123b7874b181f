// The contraction whose operands lie differently: out = a b with a along k and b along its rows.  With the forward's two forms it gives both
// gradients of both directions.  The same pipeline as there, one CTA a tile.
#pragma once
#include "kernels/cuda/wgmma_mixed.cuh"
#include "sm90a_contract.cuh"

namespace lamina::triangle_multiplication::hopper {

template <class T, int columns>
__device__ void serve_contract_mixed(const ContractJob &job, ContractShared<columns, T> &shared, int total) {
  int stage = 0, parity = 1;
  for (int index = blockIdx.x; index < total; index += gridDim.x) {
    const ContractTile at(job, index, columns);
    for (int chunk = 0; chunk < job.chunks; ++chunk) {
      shared.free[stage].wait(parity);
      Barrier &full = shared.full[stage];
      full.expect((128 + columns) * 64 * 2);
      cuda::load_box(job.a, full, shared.a[stage], chunk * 64, at.row, at.matrix);
      for (int row = 0; row < columns; row += 64) cuda::load_box(job.b, full, shared.b[stage][row], at.column + row, chunk * 64, at.matrix);
      if (++stage == shared.stages) stage = 0, parity ^= 1;
    }
  }
}

template <class T, int columns>
__device__ void work_contract_mixed(const ContractJob &job, ContractShared<columns, T> &shared, int total, int group) {
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
      for (int k = 0; k < 4; ++k)
        cuda::multiply_mixed<Lines::along_k, Lines::along_rows, T>(sum, cuda::deeper<Lines::along_k>(a, k),
                                                                   cuda::deeper<Lines::along_rows>(b, k), chunk > 0 || k > 0);
      cuda::commit_products();
      if (chunk > 0) {  // the products of the stage before are done: hand it back
        cuda::wait_products<1>();
        if (thread == 0) shared.free[stage ? stage - 1 : shared.stages - 1].arrive();
      }
      if (++stage == shared.stages) stage = 0, parity ^= 1;
    }
    cuda::wait_products<0>();
    if (thread == 0) shared.free[stage ? stage - 1 : shared.stages - 1].arrive();
    store_tile<T, columns>(job, sum, shared.staged[group], ContractTile(job, index, columns), group);
  }
  if (thread == 0) cuda::wait_stores<0>();
}

template <class T, int columns>
__device__ void contract_mixed(const ContractJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  ContractShared<columns, T> &shared = *reinterpret_cast<ContractShared<columns, T> *>(dynamic);
  static_assert(sizeof(ContractShared<columns, T>) == contract_shape(columns).shared_bytes);
  const int group = threadIdx.x / 128, total = job.matrices * job.row_tiles * job.column_tiles;
  if (threadIdx.x == 0) {
    cuda::allow_next_kernel();
    for (Barrier &barrier : shared.full) barrier.init(1);
    for (Barrier &barrier : shared.free) barrier.init(2);
    cuda::publish_barriers();
  }
  __syncthreads();
  if (group == 2) {
    cuda::lower_registers<40>();
    if (threadIdx.x % 128 == 0) {
      cuda::wait_for_previous_kernel();
      serve_contract_mixed<T, columns>(job, shared, total);
    }
  } else {
    static_assert(cuda::registers_fit(2, 232, 40));
    cuda::raise_registers<232>();
    work_contract_mixed<T, columns>(job, shared, total, group);
  }
}

}  // namespace lamina::triangle_multiplication::hopper
