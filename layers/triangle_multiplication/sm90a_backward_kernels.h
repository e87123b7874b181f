// The rows of the Hopper kernels of the backward in the table of cuda_sm90a, for both compilers: name, shape, job, function.
#pragma once

// clang-format off
#define LAMINA_HOPPER_BACKWARD_KERNELS(row)                                                                                       \
  row(hopper_contract_square_mixed, hopper::contract_shape(128), hopper::ContractJob, (hopper::contract_mixed<128>))              \
  row(hopper_contract_wide_mixed, hopper::contract_shape(256), hopper::ContractJob, (hopper::contract_mixed<256>))                \
  row(hopper_output_backward, hopper::output_backward_shape, hopper::OutputBackwardJob, hopper::output_backward)                  \
  row(hopper_front_backward, hopper::front_backward_shape, hopper::FrontBackwardJob, hopper::front_backward)                      \
  row(hopper_front_weights, hopper::front_weights_shape, hopper::FrontWeightsJob, hopper::front_weights)                          \
  row(hopper_total_sums, hopper::finish_shape, hopper::TotalsJob, hopper::total_sums)                                             \
  row(hopper_finish_linear, hopper::finish_shape, hopper::FoldedFinishJob, hopper::finish_linear)                                 \
  row(hopper_finish_norms, hopper::norms_shape, hopper::FoldedFinishJob, hopper::finish_norms)
// clang-format on
