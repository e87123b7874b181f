// Comes before a .cu file that the host's compiler takes for device code: CUDA's words and functions that kernels use.
//
// __shared__ variables are thread_local: the CTAs of a cluster run on threads of their own (memory_threads.h).  Other emulated GPU threads of
// a CTA share them, being fibers of one thread.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <vector_functions.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "conformance/cuda_emulator/device_calls.h"

#undef __global__
#undef __shared__
#undef __device__
#undef __host__
#undef __launch_bounds__
#undef __grid_constant__
#define __CUDACC__ 1
#define __CUDA_ARCH_FEAT_SM90_ALL 1
#define __global__ __attribute__((visibility("default")))
#define __shared__ thread_local
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __grid_constant__

using std::max;
using std::min;

namespace lamina::cuda_emulator {

template <class Value>
Value from_lane(Value mine, int lane) {
  static_assert(sizeof(Value) <= 8);
  uint64_t bits = 0, all[32];
  std::memcpy(&bits, &mine, sizeof mine);
  gather(bits, all);
  std::memcpy(&mine, &all[lane & 31], sizeof mine);
  return mine;
}

inline void meet_warp() {
  uint64_t all[32];
  gather(0, all);
}

inline bool any_lane(bool mine) {
  uint64_t all[32], any = 0;
  gather(mine, all);
  for (const uint64_t one : all) any |= one;
  return any != 0;
}

}  // namespace lamina::cuda_emulator

// Every mask in the project is the whole warp.
template <class Value>
Value __shfl_xor_sync(unsigned, Value mine, int other) {
  return lamina::cuda_emulator::from_lane(mine, static_cast<int>(threadIdx.x % 32) ^ other);
}
template <class Value>
Value __shfl_sync(unsigned, Value mine, int lane) {
  return lamina::cuda_emulator::from_lane(mine, lane);
}
inline bool __any_sync(unsigned, bool mine) { return lamina::cuda_emulator::any_lane(mine); }
inline void __syncwarp() { lamina::cuda_emulator::meet_warp(); }
inline void __syncthreads() { lamina::cuda_emulator::meet(0, static_cast<int>(blockDim.x)); }

inline void __nanosleep(unsigned) {}

template <class Value>
Value __ldg(const Value *from) {
  return *from;
}
template <class Value>
Value __ldcg(const Value *from) {
  return *from;
}
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline uint32_t __float_as_uint(float x) { return __builtin_bit_cast(uint32_t, x); }
inline float __uint_as_float(uint32_t x) { return __builtin_bit_cast(float, x); }
