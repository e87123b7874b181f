// The portable kernels under their extern "C" names: one instance a row of cuda_kernels.h.
#pragma once
#include "cuda_back.cuh"
#include "cuda_contract.cuh"
#include "cuda_front.cuh"
#include "cuda_kernels.h"
#include "cuda_pack.cuh"

namespace lamina::triangle_multiplication {

#define LAMINA_KERNEL(name, threads, Job, call) \
  extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Job job) { call(job); }

#define LAMINA_ROW(name, Io, Plane, Operand, paired) LAMINA_KERNEL(name, tile_threads, FrontJob, (front<Io, Plane, Operand, paired>))
LAMINA_FRONT_KERNELS(LAMINA_ROW)
LAMINA_GATE_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW
#define LAMINA_ROW(name, T) LAMINA_KERNEL(name, contract_threads, ContractJob, contract<T>)
LAMINA_CONTRACT_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW
#define LAMINA_ROW(name, Io, Storage, Gate, Operand) LAMINA_KERNEL(name, tile_threads, BackJob, (back<Io, Storage, Gate, Operand>))
LAMINA_BACK_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW
#define LAMINA_ROW(name, T) LAMINA_KERNEL(name, 256, PackJob, pack<T>)
LAMINA_PACK_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW

}  // namespace lamina::triangle_multiplication
