// Triangle multiplication for every NVIDIA GPU from compute capability 8.0 on: mma.sync for 16-bit tensors, FMAs for float ones.
// Compiled twice: by nvcc for the kernels, by the host compiler for `build`.
#ifdef __CUDACC__

#include "cuda_backward_portable.cuh"

#else

#include "cuda_backward.h"

extern "C" const char lamina_device_code[];  // the fatbin, embedded by kernels/cuda/embed.S

namespace lamina::triangle_multiplication {
namespace {

constexpr cuda::KernelEntry kernels[] = {LAMINA_PORTABLE_ROWS LAMINA_BACKWARD_ROWS};
static_assert(sizeof kernels / sizeof *kernels == kernel::backward_count, "one row a kernel");
constexpr cuda::Image image = {lamina_device_code, kernels, kernel::backward_count, 80, 0};
constexpr Training training = cuda_training<image>(cuda_backward_workspace_bytes, cuda_backward);

}  // namespace

bool packs_folded(const Problem &) { return false; }

const Build build = cuda_build<image>("triangle_multiplication/cuda_mma/1", cuda_forward, &training);

}  // namespace lamina::triangle_multiplication
#endif
