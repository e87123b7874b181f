// The rows of the Hopper kernels of the backward at 256 channels in the table of cuda_sm90a, for both compilers.
#pragma once

// clang-format off
#define LAMINA_HOPPER_256_KERNELS_OF(row, suffix, T)                                                                              \
  row(hopper_output_256##suffix, hopper::output_256_shape, hopper::Output256Job, (hopper::output_256<T>))                         \
  row(hopper_norm_256##suffix, hopper::norm_256_shape, hopper::Norm256Job, (hopper::norm_256<T>))                                 \
  row(hopper_front_gradients_256##suffix, hopper::front_256_shape, hopper::Front256Job, (hopper::front_256<T>))                   \
  row(hopper_weights_of_pair_256##suffix, hopper::weights_256_shape, hopper::Weights256Job, (hopper::weights_256<T, true>))       \
  row(hopper_weights_of_o_256##suffix, hopper::weights_256_shape, hopper::Weights256Job, (hopper::weights_256<T, false>))         \
  row(hopper_input_256##suffix, hopper::input_256_shape, hopper::Input256Job, (hopper::input_256<T>))                             \
  row(hopper_total_sums_256##suffix, hopper::finish_shape, hopper::TotalsJob, (hopper::total_sums<256, T>))                       \
  row(hopper_clear_padding##suffix, hopper::finish_shape, hopper::ClearJob, (hopper::clear_padding<T>))

#define LAMINA_HOPPER_256_KERNELS(row)                                                                                            \
  LAMINA_HOPPER_256_KERNELS_OF(row, , hopper::bfloat16)                                                                           \
  LAMINA_HOPPER_256_KERNELS_OF(row, _float16, hopper::float16)                                                                    \
  row(hopper_finish_256, hopper::finish_shape, hopper::NormSumsJob, hopper::finish<256>)
// clang-format on
