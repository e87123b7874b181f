// The portable kernels under their extern "C" names: one instance a row of cuda_kernels.h.
#pragma once
#include "cuda_back.cuh"
#include "cuda_contract.cuh"
#include "cuda_front.cuh"
#include "cuda_kernels.h"
#include "cuda_pack.cuh"

namespace lamina::triangle_multiplication {

#define LAMINA_KERNEL(name, threads, ctas, Job, call) \
  extern "C" __global__ void __launch_bounds__(threads, ctas) name(const __grid_constant__ Job job) { call(job); }

// FMAs need more registers than mma.sync does: float kernels have a processor to themselves.
template <class T>
constexpr int ctas_of = sizeof(T) == 4 ? 1 : 2;

#define LAMINA_ROW(name, Io, Plane, Operand, positions) \
  LAMINA_KERNEL(name, tile_threads, ctas_of<Operand>, FrontJob, (front<Io, Plane, Operand, positions>))
LAMINA_FRONT_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW
#define LAMINA_ROW(name, T) LAMINA_KERNEL(name, contract_threads, ctas_of<T>, ContractJob, contract<T>)
LAMINA_CONTRACT_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW
#define LAMINA_ROW(name, Io, Plane, Operand, positions) \
  LAMINA_KERNEL(name, tile_threads, ctas_of<Operand>, BackJob, (back<Io, Plane, Operand, positions>))
LAMINA_BACK_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW
#define LAMINA_ROW(name, T) LAMINA_KERNEL(name, 256, 1, PackJob, pack<T>)
LAMINA_PACK_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW

}  // namespace lamina::triangle_multiplication
