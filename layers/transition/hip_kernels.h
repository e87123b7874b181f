// The rows of this layer's HIP kernel table, for both compilers: name, job, function (kernels/hip/rows_kernels.h).
#pragma once
#include "kernels/hip/rows_kernels.h"

// clang-format off
#define LAMINA_FUSED_KERNELS(row)                                             \
  row(fused_narrow_bfloat16, FusedJob, (fused<gpu::bfloat16, 1>))             \
  row(fused_narrow_float16, FusedJob, (fused<gpu::float16, 1>))               \
  row(fused_broad_bfloat16, FusedJob, (fused<gpu::bfloat16, 2>))              \
  row(fused_broad_float16, FusedJob, (fused<gpu::float16, 2>))

#define LAMINA_TWO_PRODUCT_KERNELS(row) \
  LAMINA_PRODUCT_KERNELS(row, gated)    \
  LAMINA_PRODUCT_KERNELS(row, linear)   \
  LAMINA_ROWS_PACK_KERNELS(row)
// clang-format on
