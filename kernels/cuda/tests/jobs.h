// What the test kernels get, for both compilers, and their table.  Each kernel is one CTA that does what one primitive promises and
// writes what it saw, in an order that the host can compute.
#pragma once
#include <cuda.h>

#include <cstdint>

namespace lamina::cuda::tests {

struct BufferJob {  // most need no more
  const void *in;
  void *out;
  int count;
};

struct ProductJob {  // sum[row][column] = A B', small whole numbers
  const void *a, *b;
  float *sum;
};

constexpr int box_columns = 64, box_rows = 32;
struct BoxJob {
  CUtensorMap from, to;
  void *seen;  // the box as it lay in shared memory, put back in order
  int x, y, z;
};

struct GroupProductJob {
  CUtensorMap a, b;  // boxes of 64 x 64, and of `columns` x 64 or its pieces
  float *sum;        // [64][columns]
};

// name, dynamic shared memory, threads, job, function
// clang-format off
#define LAMINA_PORTABLE_TESTS(row)                                          \
  row(copy_pieces, 0, 64, BufferJob, copy_pieces_of)                         \
  row(matrices, 0, 32, BufferJob, matrices_of<false>)                        \
  row(matrices_transposed, 0, 32, BufferJob, matrices_of<true>)              \
  row(product_bfloat16, 0, 32, ProductJob, (product_of<bfloat16, Along::k>))       \
  row(product_float16, 0, 32, ProductJob, (product_of<float16, Along::k>))         \
  row(product_float32, 0, 32, ProductJob, (product_of<float, Along::k>))           \
  row(product_rows_bfloat16, 0, 32, ProductJob, (product_of<bfloat16, Along::rows>)) \
  row(product_rows_float16, 0, 32, ProductJob, (product_of<float16, Along::rows>))   \
  row(product_rows_float32, 0, 32, ProductJob, (product_of<float, Along::rows>))           \
  row(product_b_rows_bfloat16, 0, 32, ProductJob, (product_of<bfloat16, Along::k, Along::rows>)) \
  row(product_b_rows_float16, 0, 32, ProductJob, (product_of<float16, Along::k, Along::rows>))   \
  row(product_b_rows_float32, 0, 32, ProductJob, (product_of<float, Along::k, Along::rows>))     \
  row(product_both_rows_bfloat16, 0, 32, ProductJob, (product_of<bfloat16, Along::rows, Along::rows>)) \
  row(product_both_rows_float16, 0, 32, ProductJob, (product_of<float16, Along::rows, Along::rows>))   \
  row(product_both_rows_float32, 0, 32, ProductJob, (product_of<float, Along::rows, Along::rows>))

#define LAMINA_HOPPER_TESTS(row)                                             \
  row(barrier_ring, 0, 64, BufferJob, barrier_ring_of)                       \
  row(registers, 0, 384, BufferJob, registers_of)                            \
  row(turns, 0, 384, BufferJob, turns_of)                                    \
  row(first_of_two, 0, 256, BufferJob, first_of_two_kernels)                 \
  row(second_of_two, 0, 256, BufferJob, second_of_two_kernels)               \
  row(boxes_2d, 0, 32, BoxJob, boxes_of<2>)                                  \
  row(boxes_3d, 0, 32, BoxJob, boxes_of<3>)                                  \
  row(stored_matrices, 0, 32, BufferJob, stored_matrices_of<false>)          \
  row(stored_matrices_transposed, 0, 32, BufferJob, stored_matrices_of<true>) \
  row(pairs, 0, 32, BufferJob, pairs_of)                                     \
  row(group_product_k_128, 65536, 128, GroupProductJob, (group_product_of<128, Lines::along_k>))       \
  row(group_product_k_256, 65536, 128, GroupProductJob, (group_product_of<256, Lines::along_k>))       \
  row(group_product_rows_128, 65536, 128, GroupProductJob, (group_product_of<128, Lines::along_rows>)) \
  row(group_product_rows_256, 65536, 128, GroupProductJob, (group_product_of<256, Lines::along_rows>)) \
  row(group_product_registers, 65536, 128, GroupProductJob, group_product_from_registers<128>)         \
  row(group_product_registers_64, 65536, 128, GroupProductJob, group_product_from_registers<64>)       \
  row(mixed_product_8, 65536, 128, GroupProductJob, (mixed_product_of<8, Lines::along_rows, Lines::along_k>))             \
  row(mixed_product_64, 65536, 128, GroupProductJob, (mixed_product_of<64, Lines::along_k, Lines::along_k>))              \
  row(mixed_product_64_rows_k, 65536, 128, GroupProductJob, (mixed_product_of<64, Lines::along_rows, Lines::along_k>))    \
  row(mixed_product_64_k_rows, 65536, 128, GroupProductJob, (mixed_product_of<64, Lines::along_k, Lines::along_rows>))    \
  row(mixed_product_128_rows_k, 65536, 128, GroupProductJob, (mixed_product_of<128, Lines::along_rows, Lines::along_k>))  \
  row(mixed_product_128_rows, 65536, 128, GroupProductJob, (mixed_product_of<128, Lines::along_rows, Lines::along_rows>)) \
  row(mixed_product_192, 65536, 128, GroupProductJob, (mixed_product_of<192, Lines::along_k, Lines::along_k>))            \
  row(mixed_product_192_rows_k, 65536, 128, GroupProductJob, (mixed_product_of<192, Lines::along_rows, Lines::along_k>))  \
  row(mixed_product_256_k_rows, 65536, 128, GroupProductJob, (mixed_product_of<256, Lines::along_k, Lines::along_rows>))  \
  row(mixed_product_registers_64, 65536, 128, GroupProductJob, (mixed_product_from_registers<64, Lines::along_k>))        \
  row(mixed_product_registers_128, 65536, 128, GroupProductJob, (mixed_product_from_registers<128, Lines::along_rows>))

#define LAMINA_FAULTS(row)                                \
  row(fault_none, 0, 64, BufferJob, no_fault)             \
  row(fault_out_of_bounds, 0, 64, BufferJob, out_of_bounds) \
  row(fault_race, 0, 64, BufferJob, race)                 \
  row(fault_barrier, 0, 64, BufferJob, barrier)           \
  row(fault_uninitialised, 0, 64, BufferJob, uninitialised)
// clang-format on

}  // namespace lamina::cuda::tests
