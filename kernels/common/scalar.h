// One element of any dtype, through double: for reference builds, packing and other places where speed is no matter.
#pragma once
#include "dtype.h"

namespace lamina {

inline double load_scalar(const void *data, DType dtype, int64_t at) {
  switch (dtype) {
    case DType::float64: return static_cast<const double *>(data)[at];
    case DType::float32: return static_cast<const float *>(data)[at];
    case DType::float16: return float16_to_float(static_cast<const uint16_t *>(data)[at]);
    case DType::bfloat16: return bfloat16_to_float(static_cast<const uint16_t *>(data)[at]);
    case DType::boolean: return static_cast<const uint8_t *>(data)[at] != 0;
    case DType::int8: return static_cast<const int8_t *>(data)[at];
    case DType::uint8: return static_cast<const uint8_t *>(data)[at];
    case DType::int32: return static_cast<const int32_t *>(data)[at];
    case DType::int64: return static_cast<double>(static_cast<const int64_t *>(data)[at]);
  }
  return 0;
}

// Floating dtypes only.  16-bit values are rounded by way of float.
inline void store_scalar(void *data, DType dtype, int64_t at, double value) {
  switch (dtype) {
    case DType::float64: static_cast<double *>(data)[at] = value; return;
    case DType::float32: static_cast<float *>(data)[at] = static_cast<float>(value); return;
    case DType::float16: static_cast<uint16_t *>(data)[at] = float_to_float16(static_cast<float>(value)); return;
    case DType::bfloat16: static_cast<uint16_t *>(data)[at] = float_to_bfloat16(static_cast<float>(value)); return;
    default: return;
  }
}

}  // namespace lamina
