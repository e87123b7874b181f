// The rows of the Hopper kernels in the table of layers that are one linear map over rows, for both compilers: name, job, threads, bytes of
// shared memory, function.
#pragma once

// clang-format off
#define LAMINA_LINEAR_KERNEL(row, dtype, T, form, name, epilogue, smooth) \
  row(hopper_linear_##dtype##_##name##_##epilogue, LinearJob, ::lamina::cuda::linear_shape(::lamina::cuda::linear_forms[form]).threads, ::lamina::cuda::linear_shape(::lamina::cuda::linear_forms[form]).shared_bytes, (linear<T, form, smooth>))
#define LAMINA_LINEAR_NORM_KERNEL(row, dtype, T, form, name) \
  row(hopper_linear_norm_##dtype##_##name, LinearJob, ::lamina::cuda::linear_norm_shape(::lamina::cuda::linear_forms[form]).threads, ::lamina::cuda::linear_norm_shape(::lamina::cuda::linear_forms[form]).shared_bytes, (linear_norm<T, form>))
#define LAMINA_LINEAR_KERNELS(row, dtype, T)                      \
  LAMINA_LINEAR_KERNEL(row, dtype, T, 0, 128x256, plain, false)   \
  LAMINA_LINEAR_KERNEL(row, dtype, T, 0, 128x256, smooth, true)   \
  LAMINA_LINEAR_KERNEL(row, dtype, T, 1, 128x128, plain, false)   \
  LAMINA_LINEAR_KERNEL(row, dtype, T, 1, 128x128, smooth, true)   \
  LAMINA_LINEAR_KERNEL(row, dtype, T, 2, 128x64, plain, false)    \
  LAMINA_LINEAR_KERNEL(row, dtype, T, 2, 128x64, smooth, true)    \
  LAMINA_LINEAR_KERNEL(row, dtype, T, 3, 256x160, plain, false)   \
  LAMINA_LINEAR_KERNEL(row, dtype, T, 3, 256x160, smooth, true)
#define LAMINA_NORM_LINEAR_KERNEL(row, dtype, T, K) \
  row(hopper_norm_linear_##dtype##_##K, NormLinearJob, ::lamina::cuda::norm_linear_shape().threads, ::lamina::cuda::norm_linear_shape().shared_bytes, (norm_linear<T, K>))

#define LAMINA_HOPPER_ROWS_KERNELS(row)                                       \
  LAMINA_LINEAR_KERNELS(row, bfloat16, gpu::bfloat16)                         \
  LAMINA_LINEAR_KERNELS(row, float16, gpu::float16)                           \
  LAMINA_LINEAR_NORM_KERNEL(row, bfloat16, gpu::bfloat16, 4, 128x256)         \
  LAMINA_LINEAR_NORM_KERNEL(row, bfloat16, gpu::bfloat16, 5, 256x160)         \
  LAMINA_LINEAR_NORM_KERNEL(row, float16, gpu::float16, 4, 128x256)           \
  LAMINA_LINEAR_NORM_KERNEL(row, float16, gpu::float16, 5, 256x160)           \
  LAMINA_NORM_LINEAR_KERNEL(row, bfloat16, gpu::bfloat16, 128)                \
  LAMINA_NORM_LINEAR_KERNEL(row, bfloat16, gpu::bfloat16, 256)                \
  LAMINA_NORM_LINEAR_KERNEL(row, float16, gpu::float16, 128)                  \
  LAMINA_NORM_LINEAR_KERNEL(row, float16, gpu::float16, 256)                  \
  row(hopper_normalise_bfloat16_1024, NormJob, 256, 0, (normalise_in_registers<gpu::bfloat16, 1024, 4>)) \
  row(hopper_normalise_bfloat16_2048, NormJob, 256, 0, (normalise_in_registers<gpu::bfloat16, 2048, 2>)) \
  row(hopper_normalise_float16_1024, NormJob, 256, 0, (normalise_in_registers<gpu::float16, 1024, 4>)) \
  row(hopper_normalise_float16_2048, NormJob, 256, 0, (normalise_in_registers<gpu::float16, 2048, 2>))
// clang-format on
