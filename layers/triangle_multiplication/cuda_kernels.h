// The rows of the CUDA kernel table, for both compilers: the same macro defines the device code's extern "C" names, the host's indices
// and the names it asks the driver for.
//
//   kind, name, template arguments
// A "wide" mode keeps a, b and o in float beside 16-bit tensors (attribute contraction = fp32).
#pragma once

// clang-format off
#define LAMINA_FRONT_KERNELS(row)                           \
  row(front_float32, float, float, float, true)             \
  row(front_bfloat16, bfloat16, bfloat16, bfloat16, true)   \
  row(front_float16, float16, float16, float16, true)       \
  row(front_bfloat16_wide, bfloat16, float, bfloat16, true) \
  row(front_float16_wide, float16, float, float16, true)

// Gate planes are float16 beside 16-bit planes: a gate lies between 0 and 1, where float16 has the finer grid.
#define LAMINA_GATE_KERNELS(row)                            \
  row(gate_float32, float, float, float, false)             \
  row(gate_bfloat16, bfloat16, float16, bfloat16, false)    \
  row(gate_float16, float16, float16, float16, false)       \
  row(gate_bfloat16_wide, bfloat16, float, bfloat16, false) \
  row(gate_float16_wide, float16, float, float16, false)

#define LAMINA_CONTRACT_KERNELS(row) \
  row(contract_float32, float)       \
  row(contract_bfloat16, bfloat16)   \
  row(contract_float16, float16)

#define LAMINA_BACK_KERNELS(row)                            \
  row(back_float32, float, float, float, float)             \
  row(back_bfloat16, bfloat16, bfloat16, float16, bfloat16) \
  row(back_float16, float16, float16, float16, float16)     \
  row(back_bfloat16_wide, bfloat16, float, float, bfloat16) \
  row(back_float16_wide, float16, float, float, float16)

#define LAMINA_PACK_KERNELS(row) \
  row(pack_float32, float)       \
  row(pack_bfloat16, bfloat16)   \
  row(pack_float16, float16)
// clang-format on
