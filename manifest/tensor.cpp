#include "manifest/tensor.h"

#include <cstring>

namespace lamina::manifest {

namespace {

struct NamedDtype {
  const char *name;
  lamina_dtype dtype;
};
constexpr NamedDtype named_dtypes[] = {
    {"float64", {LAMINA_CODE_FLOAT, 64, 1}},   {"float32", {LAMINA_CODE_FLOAT, 32, 1}}, {"float16", {LAMINA_CODE_FLOAT, 16, 1}},
    {"bfloat16", {LAMINA_CODE_BFLOAT, 16, 1}}, {"bool", {LAMINA_CODE_BOOL, 8, 1}},      {"int8", {LAMINA_CODE_INT, 8, 1}},
    {"int16", {LAMINA_CODE_INT, 16, 1}},       {"int32", {LAMINA_CODE_INT, 32, 1}},     {"int64", {LAMINA_CODE_INT, 64, 1}},
    {"uint8", {LAMINA_CODE_UINT, 8, 1}},       {"uint16", {LAMINA_CODE_UINT, 16, 1}},   {"uint32", {LAMINA_CODE_UINT, 32, 1}},
    {"uint64", {LAMINA_CODE_UINT, 64, 1}},
};

}  // namespace

std::optional<lamina_dtype> dtype_named(std::string_view name) {
  for (const NamedDtype &known : named_dtypes)
    if (known.name == name) return known.dtype;
  return std::nullopt;
}

std::string dtype_name(lamina_dtype dtype) {
  for (const NamedDtype &known : named_dtypes)
    if (known.dtype == dtype) return known.name;
  return "code " + std::to_string(dtype.code) + " bits " + std::to_string(dtype.bits);
}

bool TensorView::contiguous() const { return elements() == 0 || strides == row_major_strides(shape); }

int64_t TensorView::elements() const {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

lamina_tensor TensorView::abi(lamina_device device) const {
  lamina_tensor tensor{};
  tensor.data = const_cast<unsigned char *>(data);  // the ABI has one tensor type for inputs and outputs
  tensor.device = device;
  tensor.ndim = static_cast<int32_t>(shape.size());
  tensor.dtype = dtype;
  tensor.shape = shape.data();
  tensor.strides = strides.data();
  return tensor;
}

std::vector<int64_t> row_major_strides(const std::vector<int64_t> &shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t axis = shape.size(); axis-- > 0;) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return strides;
}

std::string shape_text(const std::vector<int64_t> &shape) {
  std::string text = "[";
  for (size_t axis = 0; axis < shape.size(); ++axis) text += (axis ? ", " : "") + std::to_string(shape[axis]);
  return text + "]";
}

std::vector<unsigned char> copy_contiguous(const TensorView &view) {
  const size_t element = static_cast<size_t>(dtype_bytes(view.dtype));
  std::vector<unsigned char> bytes(static_cast<size_t>(view.elements()) * element);
  if (bytes.empty()) return bytes;
  if (view.contiguous()) {
    std::memcpy(bytes.data(), view.data, bytes.size());
    return bytes;
  }
  std::vector<int64_t> index(view.shape.size(), 0);
  int64_t offset = 0;
  for (size_t at = 0; at < bytes.size(); at += element) {
    std::memcpy(bytes.data() + at, view.data + offset * static_cast<int64_t>(element), element);
    for (size_t axis = index.size(); axis-- > 0;) {
      offset += view.strides[axis];
      if (++index[axis] < view.shape[axis]) break;
      offset -= view.strides[axis] * view.shape[axis];
      index[axis] = 0;
    }
  }
  return bytes;
}

}  // namespace lamina::manifest
