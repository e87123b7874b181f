// Tensor maps for boxes of bf16 in the 128-byte swizzle that tensor_copy.cuh expects.  Pure arithmetic on the host: no device is touched.
#pragma once
#include "driver.h"

namespace lamina::cuda {

// Up to three dimensions, innermost first; `row` and `matrix` are strides in elements.  Base and strides are multiples of 16 bytes.
// Elements outside the tensor read as zeros and are not written.
struct TensorBoxes {
  const void *data;
  uint64_t extent[3];
  uint64_t row, matrix;
  uint32_t box[3];
  uint32_t rank;
};

inline Status make_tensor_map(const Driver &driver, const TensorBoxes &boxes, CUtensorMap &map, Failure &failure) {
  const cuuint64_t strides[2] = {boxes.row * 2, boxes.matrix * 2};
  const cuuint32_t dense[3] = {1, 1, 1};
  const CUresult status =
      driver.tensor_map(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, boxes.rank, const_cast<void *>(boxes.data),
                        reinterpret_cast<const cuuint64_t *>(boxes.extent), strides, boxes.box, dense, CU_TENSOR_MAP_INTERLEAVE_NONE,
                        CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return status == CUDA_SUCCESS ? Status::ok : driver_failed(driver, status, "cuTensorMapEncodeTiled", failure);
}

}  // namespace lamina::cuda
