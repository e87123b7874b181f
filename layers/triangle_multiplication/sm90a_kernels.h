// The rows of the Hopper kernels in the table of cuda_sm90a, for both compilers: name, shape, job, function.
#pragma once

// clang-format off
#define LAMINA_HOPPER_KERNELS_OF(row, suffix, T)                                                                                                      \
  row(hopper_front_128##suffix, hopper::front_shape(128, 128), hopper::FrontJob, (hopper::front_of<128, 128, T>))                                     \
  row(hopper_front_256##suffix, hopper::front_shape(256, 256), hopper::FrontJob, (hopper::front_of<256, 256, T>))                                     \
  row(hopper_front_64##suffix, hopper::front_shape(64, 64), hopper::FrontJob, (hopper::front_of<64, 64, T>))                                          \
  row(hopper_front_64_128##suffix, hopper::front_shape(64, 128), hopper::FrontJob, (hopper::front_of<64, 128, T>))                                    \
  row(hopper_front_384##suffix, hopper::front_shape(384, 256), hopper::FrontJob, (hopper::front_of<384, 256, T>))                                     \
  row(hopper_contract_paired##suffix, hopper::contract_shape(256), hopper::ContractJob, (hopper::contract<T, 256, cuda::Lines::along_k, 2>))          \
  row(hopper_contract_paired_incoming##suffix, hopper::contract_shape(256), hopper::ContractJob,                                                      \
      (hopper::contract<T, 256, cuda::Lines::along_rows, 2>))                                                                                         \
  row(hopper_contract_wide##suffix, hopper::contract_shape(256), hopper::ContractJob, (hopper::contract<T, 256, cuda::Lines::along_k, 1>))            \
  row(hopper_contract_wide_incoming##suffix, hopper::contract_shape(256), hopper::ContractJob,                                                        \
      (hopper::contract<T, 256, cuda::Lines::along_rows, 1>))                                                                                         \
  row(hopper_contract_tall##suffix, hopper::contract_shape(128, 3), hopper::ContractJob, (hopper::contract<T, 128, cuda::Lines::along_k, 2, 3>)) \
  row(hopper_contract_tall_incoming##suffix, hopper::contract_shape(128, 3), hopper::ContractJob,                                          \
      (hopper::contract<T, 128, cuda::Lines::along_rows, 2, 3>))                                                                            \
  row(hopper_contract_square##suffix, hopper::contract_shape(128), hopper::ContractJob, (hopper::contract<T, 128, cuda::Lines::along_k, 1>))          \
  row(hopper_contract_square_incoming##suffix, hopper::contract_shape(128), hopper::ContractJob,                                                      \
      (hopper::contract<T, 128, cuda::Lines::along_rows, 1>))                                                                                         \
  row(hopper_back_128##suffix, hopper::back_shape(128, 128), hopper::BackJob, (hopper::back_of<128, 128, false, T>))                                  \
  row(hopper_back_256##suffix, hopper::back_shape(256, 256), hopper::BackJob, (hopper::back_of<256, 256, false, T>))                                  \
  row(hopper_back_64##suffix, hopper::back_shape(64, 64), hopper::BackJob, (hopper::back_of<64, 64, false, T>))                                       \
  row(hopper_back_64_128##suffix, hopper::back_shape(64, 128), hopper::BackJob, (hopper::back_of<64, 128, false, T>))                                 \
  row(hopper_back_384##suffix, hopper::back_shape(384, 256), hopper::BackJob, (hopper::back_of<384, 256, false, T>))                                  \
  row(hopper_back_128_extras##suffix, hopper::back_shape(128, 128), hopper::BackJob, (hopper::back_of<128, 128, true, T>))                            \
  row(hopper_back_256_extras##suffix, hopper::back_shape(256, 256), hopper::BackJob, (hopper::back_of<256, 256, true, T>))                            \
  row(hopper_back_64_extras##suffix, hopper::back_shape(64, 64), hopper::BackJob, (hopper::back_of<64, 64, true, T>))                                 \
  row(hopper_back_64_128_extras##suffix, hopper::back_shape(64, 128), hopper::BackJob, (hopper::back_of<64, 128, true, T>))                           \
  row(hopper_back_384_extras##suffix, hopper::back_shape(384, 256), hopper::BackJob, (hopper::back_of<384, 256, true, T>))

#define LAMINA_HOPPER_KERNELS(row)                                                                                                          \
  LAMINA_HOPPER_KERNELS_OF(row, , hopper::bfloat16)                                                                                 \
  LAMINA_HOPPER_KERNELS_OF(row, _float16, hopper::float16)                                                                                   \
  row(hopper_narrow_rows_128, hopper::narrow_rows_shape(), hopper::NarrowRowsJob, (hopper::narrow_rows<128, hopper::float16>))              \
  row(hopper_narrow_rows_384, hopper::narrow_rows_shape(), hopper::NarrowRowsJob, (hopper::narrow_rows<384, hopper::float16>))              \
  row(hopper_narrow_front_128, hopper::narrow_front_shape(128), hopper::FrontJob, (hopper::front<128, hopper::narrow_hidden, hopper::float16, true>))              \
  row(hopper_narrow_front_384, hopper::narrow_front_shape(384), hopper::FrontJob, (hopper::front<384, hopper::narrow_hidden, hopper::float16, true>))              \
  row(hopper_narrow_back_128, hopper::narrow_back_shape(128), hopper::NarrowBackJob, (hopper::narrow_back<128, hopper::float16>))           \
  row(hopper_narrow_back_384, hopper::narrow_back_shape(384), hopper::NarrowBackJob, (hopper::narrow_back<384, hopper::float16>))
// clang-format on
