#include "hub_client/upload_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "manifest/error.h"

namespace lamina::hub {
namespace {

[[noreturn]] void fail(const char *what, const std::filesystem::path &path, int code) {
  throw Error(kind_of_errno(code), std::string("cannot ") + what + " " + path.string() + ": " + std::strerror(code));
}

}  // namespace

UploadFile::UploadFile(const std::filesystem::path &folder) {
  std::error_code failure;
  std::filesystem::create_directories(folder, failure);
  if (failure) fail("make", folder, failure.value());
  std::string name = (folder / "upload.XXXXXX").string();
  file_ = mkostemp(name.data(), O_CLOEXEC);
  if (file_ < 0) fail("create", name, errno);
  path_ = name;
}

UploadFile::~UploadFile() {
  close(file_);
  unlink(path_.c_str());
}

void UploadFile::write(std::string_view bytes) {
  size_ += bytes.size();
  while (!bytes.empty()) {
    const ssize_t count = ::write(file_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("write", path_, errno);
    bytes.remove_prefix(static_cast<size_t>(count));
  }
}

void UploadFile::sync() {
  if (fchmod(file_, 0444) != 0 || fsync(file_) != 0) fail("sync", path_, errno);
}

}  // namespace lamina::hub
