// The rows of the Hopper kernels of the backward in the table of cuda_sm90a, for both compilers: name, shape, job, function.
#pragma once

// clang-format off
#define LAMINA_HOPPER_BACKWARD_KERNELS_OF(row, suffix, T)                                                                         \
  row(hopper_contract_square_mixed##suffix, hopper::contract_shape(128), hopper::ContractJob, (hopper::contract_mixed<T, 128>))   \
  row(hopper_contract_wide_mixed##suffix, hopper::contract_shape(256), hopper::ContractJob, (hopper::contract_mixed<T, 256>))     \
  row(hopper_output_backward##suffix, hopper::output_backward_shape, hopper::OutputBackwardJob, (hopper::output_backward<T>))     \
  row(hopper_front_backward##suffix, hopper::front_backward_shape, hopper::FrontBackwardJob, (hopper::front_backward<T>))         \
  row(hopper_front_weights##suffix, hopper::front_weights_shape, hopper::FrontWeightsJob, (hopper::front_weights<T>))             \
  row(hopper_total_sums##suffix, hopper::finish_shape, hopper::TotalsJob, (hopper::total_sums<128, T>))

#define LAMINA_HOPPER_BACKWARD_KERNELS(row)                                                                                       \
  LAMINA_HOPPER_BACKWARD_KERNELS_OF(row, , hopper::bfloat16)                                                                      \
  LAMINA_HOPPER_BACKWARD_KERNELS_OF(row, _float16, hopper::float16)                                                               \
  row(hopper_finish, hopper::finish_shape, hopper::NormSumsJob, hopper::finish<128>)
// clang-format on
