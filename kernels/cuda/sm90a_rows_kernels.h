// The rows of the Hopper kernels in the table of layers that are one linear map over rows, for both compilers: name, job, threads, bytes of
// shared memory, function.
#pragma once

// clang-format off
#define LAMINA_LINEAR_KERNEL(row, dtype, T, columns, form, smooth) \
  row(hopper_linear_##dtype##_##columns##_##form, LinearJob, ::lamina::cuda::linear_shape(columns).threads, ::lamina::cuda::linear_shape(columns).shared_bytes, (linear<T, columns, smooth>))
#define LAMINA_NORM_LINEAR_KERNEL(row, dtype, T, K) \
  row(hopper_norm_linear_##dtype##_##K, NormLinearJob, ::lamina::cuda::norm_linear_shape().threads, ::lamina::cuda::norm_linear_shape().shared_bytes, (norm_linear<T, K>))

#define LAMINA_LINEAR_ACROSS_KERNEL(row, dtype, T, columns) \
  row(hopper_linear_##dtype##_##columns##_across, LinearJob, ::lamina::cuda::linear_shape(columns).threads, ::lamina::cuda::linear_shape(columns).shared_bytes, \
      (linear<T, columns, false, Lines::along_rows>))

#define LAMINA_SUMS_KERNEL(row, dtype, T, columns) \
  row(hopper_sums_##dtype##_##columns, SumsJob, ::lamina::cuda::sums_shape(columns).threads, ::lamina::cuda::sums_shape(columns).shared_bytes, (sums<T, columns>))

// Of every row layer: products of any form.  The kernels of one dtype stand in the order that product_kernel() counts on.
#define LAMINA_HOPPER_PRODUCT_KERNELS_OF(row, dtype, T)      \
  LAMINA_LINEAR_KERNEL(row, dtype, T, 256, plain, false)     \
  LAMINA_LINEAR_KERNEL(row, dtype, T, 256, smooth, true)     \
  LAMINA_LINEAR_ACROSS_KERNEL(row, dtype, T, 256)            \
  LAMINA_LINEAR_KERNEL(row, dtype, T, 128, plain, false)     \
  LAMINA_LINEAR_KERNEL(row, dtype, T, 128, smooth, true)     \
  LAMINA_LINEAR_ACROSS_KERNEL(row, dtype, T, 128)            \
  LAMINA_LINEAR_KERNEL(row, dtype, T, 64, plain, false)      \
  LAMINA_LINEAR_KERNEL(row, dtype, T, 64, smooth, true)      \
  LAMINA_LINEAR_ACROSS_KERNEL(row, dtype, T, 64)             \
  LAMINA_SUMS_KERNEL(row, dtype, T, 128)                     \
  LAMINA_SUMS_KERNEL(row, dtype, T, 256)                     \
  row(hopper_normalise_##dtype, NormJob, 256, 0, normalise_in_registers<T>)          \
  row(hopper_norm_gradient_##dtype, NormGradientJob, 256, 0, norm_gradient_in_registers<T>) \
  row(hopper_activation_gradient_##dtype, ActivationGradientJob, 256, 0, activation_gradient_by_eights<T>)
#define LAMINA_HOPPER_PRODUCT_KERNELS(row)                                \
  LAMINA_HOPPER_PRODUCT_KERNELS_OF(row, bfloat16, gpu::bfloat16)          \
  LAMINA_HOPPER_PRODUCT_KERNELS_OF(row, float16, gpu::float16)

#define LAMINA_HOPPER_NORM_LINEAR_KERNELS(row)                                       \
  LAMINA_NORM_LINEAR_KERNEL(row, bfloat16, gpu::bfloat16, 128)                \
  LAMINA_NORM_LINEAR_KERNEL(row, bfloat16, gpu::bfloat16, 256)                \
  LAMINA_NORM_LINEAR_KERNEL(row, float16, gpu::float16, 128)                  \
  LAMINA_NORM_LINEAR_KERNEL(row, float16, gpu::float16, 256)
// clang-format on
