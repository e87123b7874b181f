// This layer on AVX-512: fp32 by FMA, bfloat16 by vdpbf16ps where the machine has it, else 16 bits in memory and fp32 arithmetic.
#include "kernels/cpu/row_linear_avx512.h"
#include "build.h"

namespace lamina::layernorm_linear {

constinit const Build build = cpu::row_linear_build("layernorm_linear/cpu_avx512/1");

}  // namespace lamina::layernorm_linear
