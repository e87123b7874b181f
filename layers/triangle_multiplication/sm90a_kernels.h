// The rows of the Hopper kernels in the table of cuda_sm90a, for both compilers: name, shape, job, function.
#pragma once

// clang-format off
#define LAMINA_HOPPER_KERNELS(row)                                                                                                \
  row(hopper_front_128, hopper::front_shape(128), hopper::FrontJob, (hopper::front<128>))                                         \
  row(hopper_front_256, hopper::front_shape(256), hopper::FrontJob, (hopper::front<256>))                                         \
  row(hopper_contract_paired, hopper::contract_shape(256), hopper::ContractJob, (hopper::contract<256, cuda::Lines::along_k, 2>)) \
  row(hopper_contract_paired_incoming, hopper::contract_shape(256), hopper::ContractJob,                                          \
      (hopper::contract<256, cuda::Lines::along_rows, 2>))                                                                        \
  row(hopper_contract_wide, hopper::contract_shape(256), hopper::ContractJob, (hopper::contract<256, cuda::Lines::along_k, 1>))   \
  row(hopper_contract_wide_incoming, hopper::contract_shape(256), hopper::ContractJob,                                            \
      (hopper::contract<256, cuda::Lines::along_rows, 1>))                                                                        \
  row(hopper_contract_square, hopper::contract_shape(128), hopper::ContractJob, (hopper::contract<128, cuda::Lines::along_k, 1>)) \
  row(hopper_contract_square_incoming, hopper::contract_shape(128), hopper::ContractJob,                                          \
      (hopper::contract<128, cuda::Lines::along_rows, 1>))                                                                        \
  row(hopper_back_128, hopper::back_shape(128), hopper::BackJob, (hopper::back<128, false>))                                      \
  row(hopper_back_256, hopper::back_shape(256), hopper::BackJob, (hopper::back<256, false>))                                      \
  row(hopper_back_128_extras, hopper::back_shape(128), hopper::BackJob, (hopper::back<128, true>))                                \
  row(hopper_back_256_extras, hopper::back_shape(256), hopper::BackJob, (hopper::back<256, true>))
// clang-format on
