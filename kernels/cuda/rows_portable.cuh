// The row layers' portable kernels under their extern "C" names.
#pragma once
#include "rows_gradient.cuh"
#include "rows_kernels.h"
#include "rows_parameters.cuh"
#include "rows_product.cuh"

namespace lamina::cuda {

#define LAMINA_ROW(name, Job, threads, function) \
  extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Job job) { function(job); }
LAMINA_ROWS_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW

}  // namespace lamina::cuda
