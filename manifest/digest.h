// SHA-256, git blob ids, base64, and the digest that the Python library `kernels` computes of a variant directory.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace lamina::manifest {

using Sha256Value = std::array<unsigned char, 32>;
using Sha1Value = std::array<unsigned char, 20>;

// Streaming SHA-256.  add() any number of times, then finish() once.  [not thread-safe per object]
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256 &&) noexcept;
  Sha256 &operator=(Sha256 &&) noexcept;
  void add(const void *bytes, size_t size);
  void add(std::string_view bytes) { add(bytes.data(), bytes.size()); }
  Sha256Value finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Streaming git blob id (SHA-1 over "blob <size>\0" and the content): what a 40-digit ETag of the hub means.  The size must be
// known first; finish() throws Error(integrity) if another number of bytes was added.  An identity, not a proof: SHA-1 collides.
class GitBlobSha1 {
 public:
  explicit GitBlobSha1(uint64_t size);
  ~GitBlobSha1();
  GitBlobSha1(GitBlobSha1 &&) noexcept;
  GitBlobSha1 &operator=(GitBlobSha1 &&) noexcept;
  void add(const void *bytes, size_t size);
  void add(std::string_view bytes) { add(bytes.data(), bytes.size()); }
  Sha1Value finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Sha256Value sha256(std::string_view bytes);
std::string sha256_hex(std::string_view bytes);    // 64 lower-case digits
std::string git_blob_hex(std::string_view bytes);  // 40 lower-case digits

struct FileDigest {
  uint64_t size = 0;
  Sha256Value sha256{};
};
// Reads the file once, in pieces.  Errors: not_found, permission, io.  [thread-safe]
FileDigest digest_file(const std::filesystem::path &path);

std::string to_hex(const void *bytes, size_t size);  // lower case
template <size_t size>
std::string to_hex(const std::array<unsigned char, size> &value) {
  return to_hex(value.data(), size);
}
std::string from_hex(std::string_view digits);   // bytes; Error(malformed) unless an even number of hex digits
std::string to_base64(std::string_view bytes);   // standard alphabet, padded
std::string from_base64(std::string_view text);  // bytes; Error(malformed) unless strictly standard, padded, canonical

// The `digest.files` map of metadata.json: relative path -> base64 of SHA-256, for every file below `variant` except the top-level
// metadata.json and metadata.json.sigstore, *.pyc, and anything under __pycache__.  Same rules as the `kernels` library, and stricter:
// list_files() decides what a file is.  [thread-safe]
std::map<std::string, std::string> digest_variant(const std::filesystem::path &variant);
// Whether digest_variant leaves this relative path out.
bool digest_excludes(std::string_view relative_path);

}  // namespace lamina::manifest
