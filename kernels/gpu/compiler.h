// The words of device code that nvcc brings and a bare clang for AMD GPUs does not.  With AMD's own headers, include hip/hip_runtime.h
// before any header of ours: the same code comes out.
#pragma once

#ifdef __HIP__
#ifndef HIP_INCLUDE_HIP_HIP_RUNTIME_H
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __host__ __attribute__((host))
#define __shared__ __attribute__((shared))
#endif
// The compiler takes 1024 threads for possible unless told, which halves the registers of a wave.
#undef __launch_bounds__
#define __launch_bounds__(threads, waves_per_simd) \
  __attribute__((amdgpu_flat_work_group_size(threads, threads), amdgpu_waves_per_eu(waves_per_simd)))
#endif
