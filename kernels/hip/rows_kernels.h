// The kernels of layers that work row by row, for both compilers: row(name, job, function).  A build lists those that it needs; the same
// list defines the device code's extern "C" names, the host's indices and the names it asks the runtime for.  Of each there are three,
// for rows of float, bf16 and fp16.
#pragma once

// clang-format off
#define LAMINA_PRODUCT_KERNELS(row, after)                                            \
  row(product_##after##_float32, ProductJob, (product<float, After::after>))          \
  row(product_##after##_bfloat16, ProductJob, (product<gpu::bfloat16, After::after>)) \
  row(product_##after##_float16, ProductJob, (product<gpu::float16, After::after>))

#define LAMINA_NORM_KERNELS(row)                         \
  row(norm_float32, NormJob, (norm<float>))              \
  row(norm_bfloat16, NormJob, (norm<gpu::bfloat16>))     \
  row(norm_float16, NormJob, (norm<gpu::float16>))

#define LAMINA_ROWS_PACK_KERNELS(row)                           \
  row(pack_float32, RowsPackJob, (pack_rows<float>))            \
  row(pack_bfloat16, RowsPackJob, (pack_rows<gpu::bfloat16>))   \
  row(pack_float16, RowsPackJob, (pack_rows<gpu::float16>))

#define LAMINA_ROW_LINEAR_KERNELS(row) \
  LAMINA_PRODUCT_KERNELS(row, linear)  \
  LAMINA_PRODUCT_KERNELS(row, sigmoid) \
  LAMINA_PRODUCT_KERNELS(row, erf)     \
  LAMINA_NORM_KERNELS(row)             \
  LAMINA_ROWS_PACK_KERNELS(row)

// For device code, behind the functions.  The parameter is read where the launch put it (job_of_launch); here it gives the launch its size.
#define LAMINA_ROWS_KERNEL(name, Job, call) \
  extern "C" __global__ void __launch_bounds__(rows_threads, 2) name(Job) { call(job_of_launch<Job>()); }
// clang-format on
