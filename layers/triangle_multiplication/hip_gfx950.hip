// Triangle multiplication for AMD's CDNA4 GPUs (gfx950: MI350X, MI355X), by MFMA.  Compiled twice: by clang for the kernels, by the
// host compiler for `build`.  Executed instruction by instruction in CI, not yet measured on silicon.
#ifdef __HIP__

#include "hip_device.hip.h"

#else

#include "hip_forward.h"

extern "C" const char lamina_device_code_5[];  // a code object, embedded by kernels/hip/embed.S

namespace lamina::triangle_multiplication {
namespace {

constexpr hip::CodeObject objects[] = {{"gfx950", lamina_device_code_5, 5}};
constexpr hip::Image image = {objects, 1, hip_kernel_names, kernel::count};

}  // namespace

const Build build = hip_build<image>;

}  // namespace lamina::triangle_multiplication
#endif
