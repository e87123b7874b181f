// The rows of the backward's portable kernels in the tables of the CUDA builds, for both compilers.  T is the dtype of planes and of the
// products' operands: that of pair, or float where the forward keeps planes in float.
#pragma once

// clang-format off
#define LAMINA_BACKWARD_DTYPES(row, step, ...) \
  row(step##_float32, float, __VA_ARGS__)      \
  row(step##_bfloat16, bfloat16, __VA_ARGS__)  \
  row(step##_float16, float16, __VA_ARGS__)

// name, T, how A and how B lies
#define LAMINA_PRODUCT_KERNELS(row)                                             \
  LAMINA_BACKWARD_DTYPES(row, product_depth_depth, Along::k, Along::k)          \
  LAMINA_BACKWARD_DTYPES(row, product_depth_rows, Along::k, Along::rows)        \
  LAMINA_BACKWARD_DTYPES(row, product_rows_rows, Along::rows, Along::rows)

// name, T, job, function
#define LAMINA_TURNING_KERNELS(row)                                             \
  LAMINA_BACKWARD_DTYPES(row, rows_to_planes, RowsJob, rows_to_planes)          \
  LAMINA_BACKWARD_DTYPES(row, pair_gradient, PairGradientJob, pair_gradient)
#define LAMINA_PLANE_KERNELS(row)                                                                  \
  LAMINA_BACKWARD_DTYPES(row, normalise_planes, NormOutJob, normalise_planes)                      \
  LAMINA_BACKWARD_DTYPES(row, norm_out_backward, NormOutBackwardJob, norm_out_backward)            \
  LAMINA_BACKWARD_DTYPES(row, sum_planes, SumJob, sum_planes)

// name, job, function
#define LAMINA_PLAIN_KERNELS(row)                             \
  row(finish_parameters_kernel, FinishJob, finish_parameters) \
  row(copy_rows_kernel, CopyJob, copy_rows)
// clang-format on
