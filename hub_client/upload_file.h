// The body of one upload, on disk while it arrives: how much memory the server takes does not depend on what clients send.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string_view>

namespace lamina::hub {

class UploadFile {
 public:
  // A new file in `folder`, made if needed.  Errors: permission, no_space, io.
  explicit UploadFile(const std::filesystem::path &folder);
  ~UploadFile();  // removes the file, unless somebody has renamed it
  UploadFile(const UploadFile &) = delete;
  UploadFile &operator=(const UploadFile &) = delete;

  void write(std::string_view bytes);  // Errors: no_space, io
  uint64_t size() const { return size_; }
  const std::filesystem::path &path() const { return path_; }
  // So that a crash after the rename finds every byte.  Errors: no_space, io.
  void sync();

 private:
  std::filesystem::path path_;
  int file_ = -1;
  uint64_t size_ = 0;
};

}  // namespace lamina::hub
