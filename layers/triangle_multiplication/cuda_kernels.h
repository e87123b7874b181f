// The rows of the CUDA kernel table, for both compilers: the same macro defines the device code's extern "C" names, the host's indices
// and the names it asks the driver for.
//
//   name, Io (of pair and out), Plane (of a, b and o), Operand (of the matrix products), positions of a tile
// A "wide" mode keeps a, b and o in float beside 16-bit tensors (attribute contraction = fp32).  Small tiles serve wide layers and problems
// too small to fill the GPU with large ones.
#pragma once

// clang-format off
#define LAMINA_MODES(row, step, positions, size)                          \
  row(step##_float32_##size, float, float, float, positions)              \
  row(step##_bfloat16_##size, bfloat16, bfloat16, bfloat16, positions)    \
  row(step##_float16_##size, float16, float16, float16, positions)        \
  row(step##_bfloat16_wide_##size, bfloat16, float, bfloat16, positions)  \
  row(step##_float16_wide_##size, float16, float, float16, positions)

#define LAMINA_FRONT_KERNELS(row)    \
  LAMINA_MODES(row, front, 64, large) \
  LAMINA_MODES(row, front, 16, small)

#define LAMINA_BACK_KERNELS(row)     \
  LAMINA_MODES(row, back, 64, large)  \
  LAMINA_MODES(row, back, 16, small)

#define LAMINA_CONTRACT_KERNELS(row) \
  row(contract_float32, float)       \
  row(contract_bfloat16, bfloat16)   \
  row(contract_float16, float16)

#define LAMINA_PACK_KERNELS(row) \
  row(pack_float32, float)       \
  row(pack_bfloat16, bfloat16)   \
  row(pack_float16, float16)
// clang-format on
