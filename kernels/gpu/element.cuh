// Elements of GPU memory as floats: one of any dtype, or eight neighbours at once.  Device code for the CUDA and the HIP compiler.
#pragma once
#ifndef __HIP__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

#include "compiler.h"
#include "kernels/common/dtype.h"

namespace lamina::gpu {

#ifdef __HIP__
using bfloat16 = __bf16;
using float16 = _Float16;

template <class T>
__device__ float to_float(T x) {
  return static_cast<float>(x);
}
// Rounds to nearest even.
template <class T>
__device__ T from_float(float x) {
  return static_cast<T>(x);
}

__device__ inline float exponential(float x) { return __builtin_amdgcn_exp2f(x * 1.44269504f); }
__device__ inline float reciprocal(float x) { return __builtin_amdgcn_rcpf(x); }
#else
using bfloat16 = __nv_bfloat16;
using float16 = __half;

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(float16 x) { return __half2float(x); }
__device__ inline float to_float(bfloat16 x) { return __bfloat162float(x); }

template <class T>
__device__ T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline float16 from_float<float16>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ inline bfloat16 from_float<bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

__device__ inline float exponential(float x) { return __expf(x); }
__device__ inline float reciprocal(float x) { return __fdividef(1.0f, x); }
#endif

// Eight neighbours, moved in pieces of 16 bytes.
template <class T>
struct alignas(16) Eight {
  T value[8];
};

template <class T>
__device__ Eight<T> load_eight(const T *from, bool aligned) {
  Eight<T> result;
  if (aligned) {
    result = *reinterpret_cast<const Eight<T> *>(from);
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) result.value[i] = from[i];
  }
  return result;
}

template <class T>
__device__ void store_eight(T *to, const Eight<T> &eight, bool aligned) {
  if (aligned) {
    *reinterpret_cast<Eight<T> *>(to) = eight;
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) to[i] = eight.value[i];
  }
}

// One element of any dtype; `at` counts elements.
__device__ inline float load_any(const void *data, DType dtype, int64_t at) {
  switch (dtype) {
    case DType::float64: return static_cast<float>(static_cast<const double *>(data)[at]);
    case DType::float32: return static_cast<const float *>(data)[at];
    case DType::float16: return to_float(static_cast<const float16 *>(data)[at]);
    case DType::bfloat16: return to_float(static_cast<const bfloat16 *>(data)[at]);
    case DType::boolean: return static_cast<const uint8_t *>(data)[at] != 0 ? 1.0f : 0.0f;
    case DType::int8: return static_cast<const int8_t *>(data)[at];
    case DType::uint8: return static_cast<const uint8_t *>(data)[at];
    case DType::int32: return static_cast<float>(static_cast<const int32_t *>(data)[at]);
    case DType::int64: return static_cast<float>(static_cast<const int64_t *>(data)[at]);
  }
  return 0;
}

// The same in two steps, so that a load may be under way while other work goes on: its bits, later its value.
__device__ inline uint64_t load_bits(const void *data, size_t size, int64_t at) {
  switch (size) {
    case 1: return static_cast<const uint8_t *>(data)[at];
    case 2: return static_cast<const uint16_t *>(data)[at];
    case 4: return static_cast<const uint32_t *>(data)[at];
    default: return static_cast<const uint64_t *>(data)[at];
  }
}
__device__ inline float value_of(uint64_t bits, DType dtype) {
  switch (dtype) {
    case DType::float64: return static_cast<float>(__builtin_bit_cast(double, bits));
    case DType::float32: return __builtin_bit_cast(float, static_cast<uint32_t>(bits));
    case DType::float16: return to_float(__builtin_bit_cast(float16, static_cast<uint16_t>(bits)));
    case DType::bfloat16: return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16);
    case DType::boolean: return bits != 0 ? 1.0f : 0.0f;
    case DType::int8: return static_cast<int8_t>(bits);
    case DType::uint8: return static_cast<uint8_t>(bits);
    case DType::int32: return static_cast<float>(static_cast<int32_t>(bits));
    case DType::int64: return static_cast<float>(static_cast<int64_t>(bits));
  }
  return 0;
}

// By the fast exponential and reciprocal: relative error below 1e-6.
__device__ inline float sigmoid(float x) { return reciprocal(1.0f + exponential(-x)); }

}  // namespace lamina::gpu
