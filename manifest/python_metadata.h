// metadata.json as the Python library `kernels` reads it: any publisher's, not only what derive_metadata() writes.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lamina::manifest {

struct PythonMetadata {
  std::string name, id, license;
  uint64_t version = 0;
  std::string backend;  // "cann", "cpu", "cuda", "metal", "neuron", "rocm", "tpu", "xpu"
  std::vector<std::string> archs, python_depends;
  std::optional<std::string> kernels_minver, upstream, source;
  struct Digest {
    std::string algorithm;  // "sha256" or "sha512"
    std::map<std::string, std::string> files;
  };
  std::optional<Digest> digest;
};

// Accepts what kernels 0.17 accepts and refuses what it refuses; says nothing of whether the digest is right or the packages are known.
// Errors: malformed.  [thread-safe]
PythonMetadata parse_python_metadata(std::string_view text, const std::string &what);

}  // namespace lamina::manifest
