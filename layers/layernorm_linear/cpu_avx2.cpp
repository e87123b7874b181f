// This layer on AVX2 with FMA and F16C: fp32 arithmetic, 16 bits in memory.
#include "kernels/cpu/row_linear_avx2.h"
#include "build.h"

namespace lamina::layernorm_linear {

constinit const Build build = cpu::row_linear_build("layernorm_linear/cpu_avx2/1");

}  // namespace lamina::layernorm_linear
