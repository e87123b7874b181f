// The rows of the Hopper kernels in the table of layers that are one linear map over rows, for both compilers: name, job, threads, bytes of
// shared memory, function.
#pragma once

// clang-format off
#define LAMINA_LINEAR_KERNEL(row, dtype, T, columns, form, smooth) \
  row(hopper_linear_##dtype##_##columns##_##form, LinearJob, ::lamina::cuda::linear_shape(columns).threads, ::lamina::cuda::linear_shape(columns).shared_bytes, (linear<T, columns, smooth>))
#define LAMINA_NORM_LINEAR_KERNEL(row, dtype, T, K) \
  row(hopper_norm_linear_##dtype##_##K, NormLinearJob, ::lamina::cuda::norm_linear_shape().threads, ::lamina::cuda::norm_linear_shape().shared_bytes, (norm_linear<T, K>))

#define LAMINA_HOPPER_ROWS_KERNELS(row)                                       \
  LAMINA_LINEAR_KERNEL(row, bfloat16, gpu::bfloat16, 256, plain, false)       \
  LAMINA_LINEAR_KERNEL(row, bfloat16, gpu::bfloat16, 256, smooth, true)       \
  LAMINA_LINEAR_KERNEL(row, bfloat16, gpu::bfloat16, 128, plain, false)       \
  LAMINA_LINEAR_KERNEL(row, bfloat16, gpu::bfloat16, 128, smooth, true)       \
  LAMINA_LINEAR_KERNEL(row, bfloat16, gpu::bfloat16, 64, plain, false)        \
  LAMINA_LINEAR_KERNEL(row, bfloat16, gpu::bfloat16, 64, smooth, true)        \
  LAMINA_LINEAR_KERNEL(row, float16, gpu::float16, 256, plain, false)         \
  LAMINA_LINEAR_KERNEL(row, float16, gpu::float16, 256, smooth, true)         \
  LAMINA_LINEAR_KERNEL(row, float16, gpu::float16, 128, plain, false)         \
  LAMINA_LINEAR_KERNEL(row, float16, gpu::float16, 128, smooth, true)         \
  LAMINA_LINEAR_KERNEL(row, float16, gpu::float16, 64, plain, false)          \
  LAMINA_LINEAR_KERNEL(row, float16, gpu::float16, 64, smooth, true)          \
  LAMINA_NORM_LINEAR_KERNEL(row, bfloat16, gpu::bfloat16, 128)                \
  LAMINA_NORM_LINEAR_KERNEL(row, bfloat16, gpu::bfloat16, 256)                \
  LAMINA_NORM_LINEAR_KERNEL(row, float16, gpu::float16, 128)                  \
  LAMINA_NORM_LINEAR_KERNEL(row, float16, gpu::float16, 256)                  \
  row(hopper_normalise_bfloat16, NormJob, 256, 0, normalise_in_registers<gpu::bfloat16>) \
  row(hopper_normalise_float16, NormJob, 256, 0, normalise_in_registers<gpu::float16>)
// clang-format on
