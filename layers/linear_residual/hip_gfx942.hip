// A linear map added to a residual for AMD's CDNA3 GPUs (gfx942: MI300A, MI300X, MI325X), by MFMA and the kernels that all row layers share.  Compiled
// twice: by clang for the kernels, by the host compiler for `build`.  Executed instruction by instruction in CI, not yet measured on silicon.
#ifdef __HIP__

#include "kernels/hip/row_linear.hip.h"

#else

#include "build.h"
#include "kernels/hip/row_linear.h"

extern "C" const char lamina_device_code_5[], lamina_device_code_4[];  // code objects, embedded by kernels/hip/embed.S

namespace lamina::linear_residual {
namespace {

constexpr hip::CodeObject objects[] = {{"gfx942", lamina_device_code_5, 5}, {"gfx942", lamina_device_code_4, 4}};
constexpr hip::Image image = {objects, 2, hip::row_kernel_names, hip::row_kernel::count};

}  // namespace

const Build build = hip::row_linear_build<image>("linear_residual/hip_rows/1");

}  // namespace lamina::linear_residual
#endif
