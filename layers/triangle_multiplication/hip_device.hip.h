// The kernels under their extern "C" names: one instance a row of hip_kernels.h.
#pragma once
#include "hip_back.hip.h"
#include "hip_contract.hip.h"
#include "hip_front.hip.h"
#include "hip_kernels.h"
#include "hip_pack.hip.h"

namespace lamina::triangle_multiplication {

// The parameter is read where the launch put it (job_of_launch); here it only gives the launch its size.
#define LAMINA_KERNEL(name, threads, waves, Job, call) \
  extern "C" __global__ void __launch_bounds__(threads, waves) name(Job) { call(hip::job_of_launch<Job>()); }

#define LAMINA_ROW(name, Io, Plane, Operand, rows) LAMINA_KERNEL(name, tile_threads, 2, FrontJob, (front<Io, Plane, Operand, rows>))
LAMINA_FRONT_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW
#define LAMINA_ROW(name, Io, Plane, Operand, rows) LAMINA_KERNEL(name, tile_threads, 2, HipGateJob, (gate<Io, Plane, Operand, rows>))
LAMINA_GATE_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW
#define LAMINA_ROW(name, T) LAMINA_KERNEL(name, contract_threads, 2, ContractJob, contract<T>)
LAMINA_CONTRACT_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW
#define LAMINA_ROW(name, Io, Plane, Operand, rows) LAMINA_KERNEL(name, tile_threads, 2, HipBackJob, (back<Io, Plane, Operand, rows>))
LAMINA_BACK_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW
#define LAMINA_ROW(name, T) LAMINA_KERNEL(name, pack_threads, 2, HipPackJob, pack<T>)
LAMINA_PACK_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW

}  // namespace lamina::triangle_multiplication
