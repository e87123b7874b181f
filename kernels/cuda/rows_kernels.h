// The rows of the kernel table that the row layers' CUDA builds share, for both compilers: the same macro defines the device code's
// extern "C" names, the host's indices and the names it asks the driver for.
//
//   name, job, threads, function
// Those of one function stand in the order float32, bfloat16, float16.
#pragma once

// clang-format off
#define LAMINA_EACH_DTYPE(row, name, Job, threads, function)  \
  row(rows_##name##_float32, Job, threads, function<float>)          \
  row(rows_##name##_bfloat16, Job, threads, function<gpu::bfloat16>) \
  row(rows_##name##_float16, Job, threads, function<gpu::float16>)

#define LAMINA_ROWS_KERNELS(row)                                                       \
  LAMINA_EACH_DTYPE(row, product, ProductJob, product_threads, product)                \
  LAMINA_EACH_DTYPE(row, normalise, NormJob, row_threads, normalise)                   \
  LAMINA_EACH_DTYPE(row, norm_gradient, NormGradientJob, row_threads, norm_gradient)   \
  LAMINA_EACH_DTYPE(row, column_sums, ColumnSumsJob, row_threads, column_sums)         \
  LAMINA_EACH_DTYPE(row, activation_gradient, ActivationGradientJob, row_threads, activation_gradient) \
  LAMINA_EACH_DTYPE(row, pack, PackJob, row_threads, pack)                             \
  row(rows_gather, GatherJobs, row_threads, gather)
// clang-format on
