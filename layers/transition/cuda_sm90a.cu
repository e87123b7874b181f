// The transition for Hopper (compute capability 9.0): 16-bit rows of 128 or 256 channels by the fused kernel of sm90a_fused.cuh; what it
// does not take goes to the portable kernels, compiled for this GPU.
// Compiled twice: by nvcc for the kernels, by the host compiler for `build`.
#ifdef __CUDACC__

#include "kernels/cuda/rows_portable.cuh"
#include "kernels/cuda/sm90a_rows.cuh"
#include "sm90a_fused.cuh"
#include "sm90a_gradient.cuh"
#include "sm90a_hidden_gradient.cuh"
#include "sm90a_kernels.h"

namespace lamina::transition {

#define LAMINA_ROW(name, C, function) \
  extern "C" __global__ void __launch_bounds__(384, 1) name(const __grid_constant__ hopper::FusedJob job) { function(job); }
LAMINA_FUSED_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW
#define LAMINA_ROW(name, function) \
  extern "C" __global__ void __launch_bounds__(384, 1) name(const __grid_constant__ hopper::GradientJob job) { function(job); }
LAMINA_GRADIENT_KERNELS(LAMINA_ROW)
LAMINA_HIDDEN_GRADIENT_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW

}  // namespace lamina::transition

#else

#include "sm90a_forward.h"

extern "C" const char lamina_device_code[];  // the fatbin, embedded by kernels/cuda/embed.S

namespace lamina::transition {
namespace {

constexpr cuda::KernelEntry kernels[] = {LAMINA_FUSED_TABLE};
static_assert(sizeof kernels / sizeof *kernels == kernel::fused_count, "one row a kernel");
constexpr cuda::Image image = {lamina_device_code, kernels, kernel::fused_count, 90, 90};

}  // namespace

const Build build = cuda_build<image, HopperMachine>("transition/cuda_sm90a/1");

}  // namespace lamina::transition
#endif
