// A LayerNorm and a linear map for every NVIDIA GPU from compute capability 8.0 on, by the kernels that all row layers share.
// Compiled twice: by nvcc for the kernels, by the host compiler for `build`.
#ifdef __CUDACC__

#include "kernels/cuda/rows_portable.cuh"

#else

#include "build.h"
#include "kernels/cuda/row_linear.h"

extern "C" const char lamina_device_code[];  // the fatbin, embedded by kernels/cuda/embed.S

namespace lamina::layernorm_linear {
namespace {

constexpr cuda::KernelEntry kernels[] = {LAMINA_ROWS_TABLE};
static_assert(sizeof kernels / sizeof *kernels == cuda::rows_kernel::count, "one row a kernel");
constexpr cuda::Image image = {lamina_device_code, kernels, cuda::rows_kernel::count, 80, 0};

}  // namespace

const Build build = cuda::row_linear_build<image, cuda::PortableMachine>("layernorm_linear/cuda_rows/1");

}  // namespace lamina::layernorm_linear
#endif
