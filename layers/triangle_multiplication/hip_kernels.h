// The rows of the HIP kernel table, for both compilers: the same macro defines the device code's extern "C" names, the host's indices and
// the names it asks the runtime for.
//
//   name, Io (of pair and out), Plane (of a, b and o), Operand (of the matrix products)
// A "wide" mode keeps a, b and o in float beside 16-bit tensors (attribute contraction = fp32).
#pragma once

// clang-format off
#define LAMINA_MODES(row, step, ...)                                  \
  row(step##_float32, float, float, float, __VA_ARGS__)               \
  row(step##_bfloat16, bfloat16, bfloat16, bfloat16, __VA_ARGS__)     \
  row(step##_float16, float16, float16, float16, __VA_ARGS__)         \
  row(step##_bfloat16_wide, bfloat16, float, bfloat16, __VA_ARGS__)   \
  row(step##_float16_wide, float16, float, float16, __VA_ARGS__)

#define LAMINA_FRONT_KERNELS(row) LAMINA_MODES(row, front, 2)
#define LAMINA_GATE_KERNELS(row) LAMINA_MODES(row, gate, 2)
// Blocks of 32 outputs that a wave takes at a time: one for layers up to 128 channels, so that all four waves have work.
#define LAMINA_BACK_KERNELS(row)  \
  LAMINA_MODES(row, back_narrow, 1) \
  LAMINA_MODES(row, back_broad, 2)

#define LAMINA_CONTRACT_KERNELS(row) \
  row(contract_float32, float)       \
  row(contract_bfloat16, bfloat16)   \
  row(contract_float16, float16)

#define LAMINA_PACK_KERNELS(row) \
  row(pack_float32, float)       \
  row(pack_bfloat16, bfloat16)   \
  row(pack_float16, float16)
// clang-format on
