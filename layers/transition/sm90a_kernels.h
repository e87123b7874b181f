// The rows of the fused Hopper kernels in the table of cuda_sm90a, for both compilers: name, C, function.
#pragma once

// clang-format off
#define LAMINA_FUSED_KERNELS(row)                                                            \
  row(hopper_swiglu_bfloat16_128, 128, (hopper::fused<gpu::bfloat16, 128, true>))      \
  row(hopper_swiglu_bfloat16_256, 256, (hopper::fused<gpu::bfloat16, 256, true>))      \
  row(hopper_swiglu_float16_128, 128, (hopper::fused<gpu::float16, 128, true>))        \
  row(hopper_swiglu_float16_256, 256, (hopper::fused<gpu::float16, 256, true>))        \
  row(hopper_relu_bfloat16_128, 128, (hopper::fused<gpu::bfloat16, 128, false>))       \
  row(hopper_relu_float16_128, 128, (hopper::fused<gpu::float16, 128, false>))

#define LAMINA_GRADIENT_KERNELS(row)                                          \
  row(hopper_gradient_bfloat16, (hopper::gradient<gpu::bfloat16, 128>))       \
  row(hopper_gradient_float16, (hopper::gradient<gpu::float16, 128>))
#define LAMINA_HIDDEN_GRADIENT_KERNELS(row)                                           \
  row(hopper_hidden_gradient_bfloat16, (hopper::hidden_gradient<gpu::bfloat16, 256>)) \
  row(hopper_hidden_gradient_float16, (hopper::hidden_gradient<gpu::float16, 256>))
// clang-format on
