// The Hopper kernels of layers that are one linear map over rows, under their extern "C" names.
#pragma once
#include "rows_norm_fast.cuh"
#include "sm90a_linear_norm.cuh"
#include "sm90a_norm_linear.cuh"
#include "sm90a_rows_kernels.h"

namespace lamina::cuda {

#define LAMINA_ROW(name, Job, threads, shared_bytes, function) \
  extern "C" __global__ void __launch_bounds__(threads, 1) name(const __grid_constant__ Job job) { function(job); }
LAMINA_HOPPER_ROWS_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW

}  // namespace lamina::cuda
