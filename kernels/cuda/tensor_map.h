// Tensor maps for boxes of bf16 in the swizzles that tensor_copy.cuh expects.  Pure arithmetic on the host: no device is touched.
#pragma once
#include "driver.h"

namespace lamina::cuda {

// Up to three dimensions, innermost first; `row` and `matrix` are strides in elements.  Base and strides are multiples of 16 bytes.
// Elements outside the tensor read as zeros and are not written.  A box's lines of 64 elements lie in the swizzle of 128 bytes, those of 32 in
// that of 64.
struct TensorBoxes {
  const void *data;
  uint64_t extent[3];
  uint64_t row, matrix;
  uint32_t box[3];
  uint32_t rank;
};

// Maps made lately are remembered: hosts call with the same buffers again and again.  [thread-safe]
Status make_tensor_map(const Driver &driver, const TensorBoxes &boxes, CUtensorMap &map, Failure &failure);

}  // namespace lamina::cuda
