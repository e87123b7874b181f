// Triangle multiplication for AMD's CDNA2 GPUs (gfx90a: MI210, MI250, MI250X), by MFMA.  Compiled twice: by clang for the kernels, by the
// host compiler for `build`.  Executed instruction by instruction in CI, not yet measured on silicon.
#ifdef __HIP__

#include "hip_device.hip.h"

#else

#include "hip_forward.h"

extern "C" const char lamina_device_code_5[], lamina_device_code_4[];  // code objects, embedded by kernels/hip/embed.S

namespace lamina::triangle_multiplication {
namespace {

constexpr hip::CodeObject objects[] = {{"gfx90a", lamina_device_code_5, 5}, {"gfx90a", lamina_device_code_4, 4}};
constexpr hip::Image image = {objects, 2, hip_kernel_names, kernel::count};

}  // namespace

const Build build = hip_build<image>;

}  // namespace lamina::triangle_multiplication
#endif
