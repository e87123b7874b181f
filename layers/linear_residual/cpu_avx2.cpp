// This layer on AVX2 with FMA and F16C: fp32 arithmetic, 16 bits in memory.
#include "kernels/cpu/row_linear_avx2.h"
#include "build.h"

namespace lamina::linear_residual {

constinit const Build build = cpu::row_linear_build("linear_residual/cpu_avx2/1");

}  // namespace lamina::linear_residual
