// A linear map and an activation for Hopper (compute capability 9.0): 16-bit rows by the kernels of kernels/cuda/sm90a_*.cuh (TMA, wgmma,
// persistent CTAs); what these do not take goes to the portable kernels, compiled for this GPU.
// Compiled twice: by nvcc for the kernels, by the host compiler for `build`.
#ifdef __CUDACC__

#include "kernels/cuda/rows_portable.cuh"
#include "kernels/cuda/sm90a_rows.cuh"

namespace lamina::cuda {

LAMINA_HOPPER_NORM_LINEAR_KERNELS(LAMINA_HOPPER_KERNEL)

}  // namespace lamina::cuda

#else

#include "build.h"
#include "kernels/cuda/sm90a_row_linear.h"

extern "C" const char lamina_device_code[];  // the fatbin, embedded by kernels/cuda/embed.S

namespace lamina::linear_activation {
namespace {

constexpr cuda::KernelEntry kernels[] = {LAMINA_ROW_LINEAR_TABLE};
static_assert(sizeof kernels / sizeof *kernels == cuda::rows_kernel::row_linear_count, "one row a kernel");
constexpr cuda::Image image = {lamina_device_code, kernels, cuda::rows_kernel::row_linear_count, 90, 90};

}  // namespace

const Build build = cuda::row_linear_build<image, cuda::HopperMachine>("linear_activation/cuda_sm90a/1");

}  // namespace lamina::linear_activation
#endif
