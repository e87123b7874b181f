// safetensors files: mapped for reading, written deterministically.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "manifest/tensor.h"

namespace lamina::manifest {

// A read-only mapping of one file.  Views point into it: hold the shared_ptr as long as they are used.  If another process truncates
// the file meanwhile, reading raises SIGBUS, as with every mapping.
class SafetensorsFile {
 public:
  // Checks the whole header: at most 100 MB, unique names, known dtypes, extents without overflow, byte ranges that match dtype and
  // shape, cover the data without gap or overlap and lie inside the file.  Errors: not_found, permission, io, malformed, unsupported
  // (a dtype without an ABI word).  [thread-safe]
  static std::shared_ptr<const SafetensorsFile> open(const std::filesystem::path &path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile &) = delete;
  SafetensorsFile &operator=(const SafetensorsFile &) = delete;

  const std::filesystem::path &path() const { return path_; }
  // Row-major views, by name, sorted.
  const std::map<std::string, TensorView> &tensors() const { return tensors_; }
  const TensorView *find(const std::string &name) const;
  // "__metadata__".
  const std::map<std::string, std::string> &metadata() const { return metadata_; }

 private:
  SafetensorsFile() = default;
  std::filesystem::path path_;
  const unsigned char *mapping_ = nullptr;
  size_t size_ = 0;
  std::map<std::string, TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
};

// Writes atomically.  Wide dtypes first, then by name, so every tensor is aligned; strided views are copied.  Errors: as
// write_file_atomically; invalid_argument for a dtype the format lacks.
void write_safetensors(const std::filesystem::path &path, const std::map<std::string, TensorView> &tensors,
                       const std::map<std::string, std::string> &metadata = {});

}  // namespace lamina::manifest
