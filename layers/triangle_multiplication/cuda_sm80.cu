// Triangle multiplication for every NVIDIA GPU from compute capability 8.0 on: mma.sync for 16-bit tensors, FMAs for float ones.
// Compiled twice: by nvcc for the kernels, by the host compiler for `build`.
#ifdef __CUDACC__

#include "cuda_portable.cuh"

#else

#include "cuda_forward.h"

extern "C" const char lamina_device_code[];  // the fatbin, embedded by kernels/cuda/embed.S

namespace lamina::triangle_multiplication {
namespace {

constexpr cuda::KernelEntry kernels[] = {LAMINA_PORTABLE_ROWS};
static_assert(sizeof kernels / sizeof *kernels == kernel::portable_count, "one row a kernel");
constexpr cuda::Image image = {lamina_device_code, kernels, kernel::portable_count, 80, 0};

Status create(const Settings &, Device device, void **state, Failure &failure) {
  return cuda::load_device_code(image, device.id, *reinterpret_cast<cuda::DeviceCode **>(state), failure);
}

}  // namespace

bool packs_folded(const Problem &) { return false; }

const Build build = {"triangle_multiplication/cuda_mma/1",
                     2,
                     256,
                     true,
                     true,
                     create,
                     cuda_destroy,
                     cuda_check,
                     cuda_packed_bytes,
                     cuda_workspace_bytes,
                     cuda_pack,
                     cuda_forward,
                     nullptr};

}  // namespace lamina::triangle_multiplication
#endif
