// The transition for AMD's CDNA3 GPUs (gfx942: MI300A, MI300X, MI325X), by MFMA.  Compiled twice: by clang for the kernels, by the host
// compiler for `build`.  Executed instruction by instruction in CI, not yet measured on silicon.
#ifdef __HIP__

#include "hip_fused.hip.h"
#include "hip_kernels.h"
#include "kernels/hip/rows_norm.hip.h"

namespace lamina::transition {

using hip::job_of_launch, hip::rows_threads;
LAMINA_FUSED_KERNELS(LAMINA_ROWS_KERNEL)

}  // namespace lamina::transition
namespace lamina::hip {

LAMINA_TWO_PRODUCT_KERNELS(LAMINA_ROWS_KERNEL)

}  // namespace lamina::hip

#else

#include "hip_forward.h"

extern "C" const char lamina_device_code_5[], lamina_device_code_4[];  // code objects, embedded by kernels/hip/embed.S

namespace lamina::transition {
namespace {

constexpr hip::CodeObject objects[] = {{"gfx942", lamina_device_code_5, 5}, {"gfx942", lamina_device_code_4, 4}};
constexpr hip::Image image = {objects, 2, hip_kernel_names, kernel::count};

}  // namespace

const Build build = hip_build<image>;

}  // namespace lamina::transition
#endif
