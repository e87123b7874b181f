// What one machine's file gives to layer.cpp.  Each arch's source defines `build`; the linker joins exactly one to layer.cpp.
#pragma once
#include <string_view>

#include "problem.h"

namespace lamina::layernorm_linear {

#ifndef LAMINA_ARCH
#error "LAMINA_ARCH is the arch's name as a string; the Makefile defines it"
#endif
constexpr std::string_view arch_name = LAMINA_ARCH;

// dtypes of x that this build computes.
constexpr uint64_t activation_dtypes =
    bit(DType::float32) | bit(DType::float16) | bit(DType::bfloat16) | (arch_name == "reference" ? bit(DType::float64) : 0);

using Build = RowLinearBuild;
extern const Build build;

}  // namespace lamina::layernorm_linear
