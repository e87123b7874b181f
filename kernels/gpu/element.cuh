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

// Neighbours, moved in pieces of 16 bytes where they have as many.
template <class T, int count>
struct alignas(sizeof(T) * count < 16 ? sizeof(T) * count : 16) Neighbours {
  T value[count];
};
template <class T>
using Eight = Neighbours<T, 8>;

// aligned: `from` is aligned as Neighbours are.
template <int count, class T>
__device__ Neighbours<T, count> load_neighbours(const T *from, bool aligned) {
  Neighbours<T, count> result;
  if (aligned) {
    result = *reinterpret_cast<const Neighbours<T, count> *>(from);
  } else {
#pragma unroll
    for (int i = 0; i < count; ++i) result.value[i] = from[i];
  }
  return result;
}
template <class T>
__device__ Eight<T> load_eight(const T *from, bool aligned) {
  return load_neighbours<8>(from, aligned);
}

template <class T, int count>
__device__ void store_neighbours(T *to, const Neighbours<T, count> &neighbours, bool aligned) {
  if (aligned) {
    *reinterpret_cast<Neighbours<T, count> *>(to) = neighbours;
  } else {
#pragma unroll
    for (int i = 0; i < count; ++i) to[i] = neighbours.value[i];
  }
}
template <class T>
__device__ void store_eight(T *to, const Eight<T> &eight, bool aligned) {
  store_neighbours(to, eight, aligned);
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

// An element of a vector (a View), or what stands for an absent vector.
template <class View>
__device__ float load_or(const View &vector, int64_t at, float absent) {
  return vector.present ? load_any(vector.data, vector.dtype, at * vector.stride[0]) : absent;
}

// Rounded to float32, float16 or bfloat16; `at` counts elements.
template <class View>
__device__ void store_any(const View &to, int64_t at, float value) {
  switch (to.dtype) {
    case DType::float16: static_cast<float16 *>(to.data)[at] = from_float<float16>(value); return;
    case DType::bfloat16: static_cast<bfloat16 *>(to.data)[at] = from_float<bfloat16>(value); return;
    default: static_cast<float *>(to.data)[at] = value;
  }
}

// The same as load_any in two steps, so that a load may be under way while other work goes on: its bits, later its value.
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
