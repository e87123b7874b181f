// NumPy's .npy files: little-endian, C order; f2 f4 f8, i1 i2 i4 i8, u1 u2 u4 u8, bool.  bfloat16, which NumPy has no word for, is read from
// and written as '|V2', as ml_dtypes does.
#pragma once
#include <filesystem>
#include <vector>

#include "manifest/tensor.h"

namespace lamina::manifest {

struct NpyArray {
  lamina_dtype dtype{};
  std::vector<int64_t> shape;
  std::vector<unsigned char> bytes;  // row-major
  TensorView view() const;           // points into `bytes`
};

// Format versions 1, 2 and 3.  Errors: not_found, permission, io, malformed; unsupported for Fortran order, big-endian, other dtypes.
NpyArray read_npy(const std::filesystem::path &path);

// Writes atomically; strided views are copied.  Errors: as write_file_atomically; invalid_argument for another dtype.
void write_npy(const std::filesystem::path &path, const TensorView &tensor);

}  // namespace lamina::manifest
