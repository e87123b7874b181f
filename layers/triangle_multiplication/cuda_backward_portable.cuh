// The backward's portable kernels under their extern "C" names: one instance a row of cuda_backward_kernels.h.
#pragma once
#include "cuda_backward_kernels.h"
#include "cuda_backward_product.cuh"
#include "cuda_backward_rows.cuh"
#include "cuda_portable.cuh"

namespace lamina::triangle_multiplication {

#define LAMINA_ROW(name, T, a, b) LAMINA_KERNEL(name, product_threads, ctas_of<T>, ProductJob, (product<T, a, b>))
LAMINA_PRODUCT_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW
#define LAMINA_ROW(name, T, Job, step) LAMINA_KERNEL(name, rows_threads, 2, Job, step<T>)
LAMINA_TURNING_KERNELS(LAMINA_ROW)
LAMINA_PLANE_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW
#define LAMINA_ROW(name, Job, step) LAMINA_KERNEL(name, rows_threads, 2, Job, step)
LAMINA_PLAIN_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW

}  // namespace lamina::triangle_multiplication
