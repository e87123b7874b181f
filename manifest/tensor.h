// A tensor somewhere in memory, as the file readers and the host binding give it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "abi/lamina_abi.h"

namespace lamina::manifest {

inline bool operator==(const lamina_dtype &a, const lamina_dtype &b) { return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes; }

// The contract's words: "float64" "float32" "float16" "bfloat16" "bool" "int8" "uint8" "int16" "uint16" "int32" "uint32" "int64" "uint64".
std::optional<lamina_dtype> dtype_named(std::string_view name);
std::string dtype_name(lamina_dtype dtype);  // "code C bits B" for one without a name
inline int64_t dtype_bytes(lamina_dtype dtype) { return (int64_t{dtype.bits} * dtype.lanes + 7) / 8; }

// Does not own `data`; whoever handed it out says how long it lives.
struct TensorView {
  const unsigned char *data = nullptr;  // first element
  lamina_dtype dtype{};
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;  // in elements, as many as `shape`

  bool contiguous() const;
  int64_t elements() const;
  // The same tensor in the ABI's words; `data` is not written through.  Points into this view: keep it alive and unmoved.
  lamina_tensor abi(lamina_device device = {LAMINA_CPU, 0}) const;
};

std::vector<int64_t> row_major_strides(const std::vector<int64_t> &shape);
std::string shape_text(const std::vector<int64_t> &shape);  // "[128, 256]"
// The elements in row-major order.  [thread-safe]
std::vector<unsigned char> copy_contiguous(const TensorView &view);

}  // namespace lamina::manifest
