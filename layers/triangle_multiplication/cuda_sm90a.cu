// Triangle multiplication for Hopper (compute capability 9.0).
//
// bf16 tensors of 128 or 256 channels take the kernels of sm90a_*.cuh (TMA, wgmma, persistent CTAs); whatever these do not take goes to
// the portable kernels, compiled for this GPU.  Compiled twice: by nvcc for the kernels, by the host compiler for `build`.
#ifdef __CUDACC__

#include "cuda_backward_portable.cuh"
#include "sm90a_back.cuh"
#include "sm90a_backward_contract.cuh"
#include "sm90a_backward_finish.cuh"
#include "sm90a_backward_front.cuh"
#include "sm90a_backward_kernels.h"
#include "sm90a_backward_output.cuh"
#include "sm90a_contract.cuh"
#include "sm90a_front.cuh"
#include "sm90a_kernels.h"

namespace lamina::triangle_multiplication {

#define LAMINA_ROW(name, shape, Job, call) \
  extern "C" __global__ void __launch_bounds__(shape.threads, 1) name(const __grid_constant__ Job job) { call(job); }
LAMINA_HOPPER_KERNELS(LAMINA_ROW)
LAMINA_HOPPER_BACKWARD_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW

}  // namespace lamina::triangle_multiplication

#else

#include "sm90a_backward.h"

extern "C" const char lamina_device_code[];  // the fatbin, embedded by kernels/cuda/embed.S

namespace lamina::triangle_multiplication {
namespace {

constexpr cuda::KernelEntry kernels[] = {LAMINA_PORTABLE_ROWS LAMINA_BACKWARD_ROWS LAMINA_HOPPER_ROWS LAMINA_HOPPER_BACKWARD_ROWS};
static_assert(sizeof kernels / sizeof *kernels == kernel::hopper_backward_count, "one row a kernel");
constexpr cuda::Image image = {lamina_device_code, kernels, kernel::hopper_backward_count, 90, 90};
constexpr Training training = cuda_training<image>(hopper::backward_workspace_bytes, hopper::backward);

Status forward(const Problem &p, const Run &run, Failure &failure) {
  return hopper::takes(p) ? forward_in_groups<hopper::GroupLaunch>(p, run, failure) : cuda_forward(p, run, failure);
}

}  // namespace

bool packs_folded(const Problem &p) { return hopper::takes_weights(p); }

const Build build = cuda_build<image>("triangle_multiplication/cuda_sm90a/1", forward, &training);

}  // namespace lamina::triangle_multiplication
#endif
