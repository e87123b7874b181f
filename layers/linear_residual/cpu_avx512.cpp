// This layer on AVX-512: fp32 by FMA, bfloat16 by vdpbf16ps where the machine has it, else 16 bits in memory and fp32 arithmetic.
#include "kernels/cpu/row_linear_avx512.h"
#include "build.h"

namespace lamina::linear_residual {

constinit const Build build = cpu::row_linear_build("linear_residual/cpu_avx512/1");

}  // namespace lamina::linear_residual
