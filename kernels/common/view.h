// A tensor as kernels see it: a pointer and strides.
#pragma once
#include <cstdint>

#include "scalar.h"

namespace lamina {

// Strides are in elements; unused dimensions have stride 0.  Not present: the optional argument is absent.  Present without data: a
// descriptor, as of a parameter beside packed weights, or of anything while sizes are asked for.
struct View {
  void *data = nullptr;
  DType dtype = DType::float32;
  bool present = false;
  int64_t stride[4] = {};
};

// One element through double: for reference builds, packing and other places where speed is no matter.
inline double load_at(const View &view, int64_t i, int64_t j = 0) {
  return load_scalar(view.data, view.dtype, i * view.stride[0] + j * view.stride[1]);
}
inline void store_at(const View &view, int64_t i, int64_t j, double value) {
  store_scalar(view.data, view.dtype, i * view.stride[0] + j * view.stride[1], value);
}

}  // namespace lamina
