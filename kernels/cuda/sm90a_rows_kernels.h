// The rows of the Hopper kernels in the table of layers that are one linear map over rows, for both compilers: name, job, threads, bytes of
// shared memory, function.
#pragma once

// clang-format off
#define LAMINA_LINEAR_KERNEL(row, dtype, name, form, ...) \
  row(hopper_linear_##dtype##_##name, LinearJob, ::lamina::cuda::linear_shape(::lamina::cuda::linear_forms[form]).threads, ::lamina::cuda::linear_shape(::lamina::cuda::linear_forms[form]).shared_bytes, (linear<__VA_ARGS__>))
#define LAMINA_NORM_LINEAR_KERNEL(row, dtype, T, K) \
  row(hopper_norm_linear_##dtype##_##K, NormLinearJob, ::lamina::cuda::norm_linear_shape().threads, ::lamina::cuda::norm_linear_shape().shared_bytes, (norm_linear<T, K>))

// Of one form: a plain epilogue, a smooth activation, and plain with b across.
#define LAMINA_LINEAR_KERNELS(row, dtype, T, form, name)                                          \
  LAMINA_LINEAR_KERNEL(row, dtype, name##_plain, form, T, form, false)                            \
  LAMINA_LINEAR_KERNEL(row, dtype, name##_smooth, form, T, form, true)
#define LAMINA_LINEAR_ACROSS_KERNELS(row, dtype, T, form, name)                                   \
  LAMINA_LINEAR_KERNELS(row, dtype, T, form, name)                                                \
  LAMINA_LINEAR_KERNEL(row, dtype, name##_across, form, T, form, false, Lines::along_rows)

#define LAMINA_SUMS_KERNEL(row, dtype, T, columns) \
  row(hopper_sums_##dtype##_##columns, SumsJob, ::lamina::cuda::sums_shape(columns).threads, ::lamina::cuda::sums_shape(columns).shared_bytes, (sums<T, columns>))

// Of every row layer: products of any form.  The kernels of one dtype stand in the order that product_kernel() counts on.
#define LAMINA_HOPPER_PRODUCT_KERNELS_OF(row, dtype, T)      \
  LAMINA_LINEAR_ACROSS_KERNELS(row, dtype, T, 0, 128x256)     \
  LAMINA_LINEAR_ACROSS_KERNELS(row, dtype, T, 1, 128x128)     \
  LAMINA_LINEAR_ACROSS_KERNELS(row, dtype, T, 2, 128x64)      \
  LAMINA_LINEAR_KERNELS(row, dtype, T, 3, 256x160)            \
  LAMINA_SUMS_KERNEL(row, dtype, T, 128)                     \
  LAMINA_SUMS_KERNEL(row, dtype, T, 256)                     \
  row(hopper_normalise_##dtype##_1024, NormJob, 256, 0, (normalise_in_registers<T, 1024, 4>)) \
  row(hopper_normalise_##dtype##_2048, NormJob, 256, 0, (normalise_in_registers<T, 2048, 2>)) \
  row(hopper_norm_gradient_##dtype, NormGradientJob, 256, 0, norm_gradient_in_registers<T>) \
  row(hopper_activation_gradient_##dtype, ActivationGradientJob, 256, 0, activation_gradient_by_eights<T>)
#define LAMINA_HOPPER_PRODUCT_KERNELS(row)                                \
  LAMINA_HOPPER_PRODUCT_KERNELS_OF(row, bfloat16, gpu::bfloat16)          \
  LAMINA_HOPPER_PRODUCT_KERNELS_OF(row, float16, gpu::float16)

#define LAMINA_HOPPER_NORM_LINEAR_KERNELS(row)                                \
  LAMINA_NORM_LINEAR_KERNEL(row, bfloat16, gpu::bfloat16, 128)                \
  LAMINA_NORM_LINEAR_KERNEL(row, bfloat16, gpu::bfloat16, 256)                \
  LAMINA_NORM_LINEAR_KERNEL(row, float16, gpu::float16, 128)                  \
  LAMINA_NORM_LINEAR_KERNEL(row, float16, gpu::float16, 256)
// clang-format on
