// Triangle multiplication for Hopper (compute capability 9.0).
//
// 16-bit tensors of the widths of sm90a_job.h take the kernels of sm90a_*.cuh (TMA, wgmma, persistent CTAs), float ones where `compute` allows
// fp16 inside and sm90a_narrow.h takes them; all else goes to the portable kernels, compiled for this GPU.  Compiled twice: by nvcc for the
// kernels, by the host compiler for `build`.
#ifdef __CUDACC__

#include "cuda_backward_portable.cuh"
#include "sm90a_backward_256_front.cuh"
#include "sm90a_backward_256_input.cuh"
#include "sm90a_backward_256_kernels.h"
#include "sm90a_backward_256_norm.cuh"
#include "sm90a_backward_256_output.cuh"
#include "sm90a_backward_256_weights.cuh"
#include "sm90a_backward_contract.cuh"
#include "sm90a_backward_finish.cuh"
#include "sm90a_backward_front.cuh"
#include "sm90a_backward_kernels.h"
#include "sm90a_backward_output.cuh"
#include "sm90a_contract.cuh"
#include "sm90a_kernels.h"
#include "sm90a_narrow.cuh"
#include "sm90a_streamed_back.cuh"
#include "sm90a_streamed_front.cuh"

namespace lamina::triangle_multiplication {

#define LAMINA_ROW(name, shape, Job, call) \
  extern "C" __global__ void __launch_bounds__(shape.threads, 1) name(const __grid_constant__ Job job) { call(job); }
LAMINA_HOPPER_KERNELS(LAMINA_ROW)
LAMINA_HOPPER_BACKWARD_KERNELS(LAMINA_ROW)
LAMINA_HOPPER_256_KERNELS(LAMINA_ROW)
#undef LAMINA_ROW

}  // namespace lamina::triangle_multiplication

#else

#include "sm90a_backward.h"
#include "sm90a_narrow.h"

extern "C" const char lamina_device_code[];  // the fatbin, embedded by kernels/cuda/embed.S

namespace lamina::triangle_multiplication {
namespace {

constexpr cuda::KernelEntry kernels[] = {LAMINA_PORTABLE_ROWS LAMINA_BACKWARD_ROWS LAMINA_HOPPER_ROWS LAMINA_HOPPER_BACKWARD_ROWS};
static_assert(sizeof kernels / sizeof *kernels == kernel::hopper_backward_count, "one row a kernel");
constexpr cuda::Image image = {lamina_device_code, kernels, kernel::hopper_backward_count, 90, 90};
constexpr Training training = {
    cuda_training_create<image, true>,     cuda_destroy,          hopper::training_check,           hopper::saved_bytes,
    hopper::forward_train_workspace_bytes, hopper::forward_train, hopper::backward_workspace_bytes, hopper::backward};

Status forward(const Problem &p, const Run &run, Failure &failure) {
  if (hopper::narrow_takes(p)) return hopper::narrow_forward(p, run, failure);
  return hopper::takes(p) ? forward_in_groups<hopper::GroupLaunch>(p, run, failure) : cuda_forward(p, run, failure);
}

uint64_t packed_bytes(const Problem &p, const void *state) {
  return cuda_packed_bytes(p, state) + (hopper::narrow_takes_weights(p) ? static_cast<uint64_t>(hopper::narrow_layout(p.C).total) : 0);
}

// Whoever asks does not always know where tensors will lie, so it serves both ways.
uint64_t workspace_bytes(const Problem &p, const void *state, int threads) {
  const uint64_t portable = cuda_workspace_bytes(p, state, threads);
  const uint64_t narrow = hopper::narrow_takes_weights(p) ? static_cast<uint64_t>(hopper::NarrowPlan(p).workspace) : 0;
  return portable > narrow ? portable : narrow;
}

Status pack(const Problem &p, const Run &run, Failure &failure) {
  LAMINA_TRY(cuda_pack(p, run, failure));
  if (!hopper::narrow_takes_weights(p)) return Status::ok;
  cuda::Launcher launcher(code_of(run.state), run.stream);
  LAMINA_TRY(launcher.open(failure));
  return hopper::launch_narrow_pack(p, launcher, static_cast<char *>(p.packed) + Plan(p).layout.total, failure);
}

constexpr Build build_of_all() {
  Build all = cuda_build<image>("triangle_multiplication/cuda_sm90a/3", forward, &training);
  all.packed_bytes = packed_bytes, all.workspace_bytes = workspace_bytes, all.pack = pack;
  return all;
}

}  // namespace

bool packs_folded(const Problem &p) { return hopper::takes_weights(p); }

const Build build = build_of_all();

}  // namespace lamina::triangle_multiplication
#endif
