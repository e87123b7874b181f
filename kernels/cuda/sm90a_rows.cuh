// The Hopper kernels that every row layer's build has, under their extern "C" names; LAMINA_HOPPER_KERNEL defines those of one layer.
#pragma once
#include "rows_gradient_fast.cuh"
#include "sm90a_linear.cuh"
#include "sm90a_norm_linear.cuh"
#include "sm90a_rows_kernels.h"
#include "sm90a_sums.cuh"

namespace lamina::cuda {

#define LAMINA_HOPPER_KERNEL(name, Job, threads, shared_bytes, function) \
  extern "C" __global__ void __launch_bounds__(threads, 1) name(const __grid_constant__ Job job) { function(job); }
LAMINA_HOPPER_PRODUCT_KERNELS(LAMINA_HOPPER_KERNEL)

}  // namespace lamina::cuda
