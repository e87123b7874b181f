#include "manifest/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "manifest/error.h"

namespace lamina::manifest {

namespace {

[[noreturn]] void fail(const char *verb, const std::filesystem::path &path, int code) {
  throw Error(kind_of_errno(code), std::string("cannot ") + verb + " " + path.string() + ": " + std::strerror(code));
}

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor &) = delete;
  Descriptor &operator=(const Descriptor &) = delete;
  int number() const { return number_; }
  int release() { return std::exchange(number_, -1); }

 private:
  int number_;
};

void write_all(int file, std::string_view bytes, const std::filesystem::path &path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write", path, errno);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

// Removes the temporary file unless it was renamed away.
class Temporary {
 public:
  explicit Temporary(std::string path) : path_(std::move(path)) {}
  ~Temporary() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  Temporary(const Temporary &) = delete;
  Temporary &operator=(const Temporary &) = delete;
  void keep() { path_.clear(); }

 private:
  std::string path_;
};

// After a crash the name, too, must be there: a rename lasts only once its folder is synced.
void sync_folder(const std::filesystem::path &folder) {
  Descriptor handle(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (handle.number() < 0) fail("open", folder, errno);
  // Some file systems cannot sync a folder; they say EINVAL and have nothing to lose.
  if (::fsync(handle.number()) != 0 && errno != EINVAL && errno != EROFS) fail("sync", folder, errno);
}

}  // namespace

std::string read_file(const std::filesystem::path &path, uint64_t max_bytes) {
  // Without O_NONBLOCK a FIFO in place of the file would hang us before fstat can refuse it.
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.number() < 0) fail("open", path, errno);
  struct stat status{};
  if (::fstat(file.number(), &status) != 0) fail("read", path, errno);
  if (!S_ISREG(status.st_mode)) throw Error(ErrorKind::malformed, path.string() + " is not a regular file");
  const auto too_long = [&] {
    return Error(ErrorKind::malformed,
                 path.string() + " is longer than the " + std::to_string(max_bytes) + " bytes allowed for such a file");
  };
  if (static_cast<uint64_t>(status.st_size) > max_bytes) throw too_long();
  std::string bytes(static_cast<size_t>(status.st_size), '\0');
  size_t filled = 0;
  for (;;) {
    if (filled == bytes.size()) bytes.resize(bytes.size() + 4096);  // it may have grown since, or lie in /proc
    const ssize_t got = ::read(file.number(), bytes.data() + filled, bytes.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("read", path, errno);
    if (got == 0) break;
    filled += static_cast<size_t>(got);
    if (filled > max_bytes) throw too_long();
  }
  bytes.resize(filled);
  return bytes;
}

void write_file_atomically(const std::filesystem::path &path, std::string_view bytes, unsigned mode) {
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  std::string name = (folder / ("." + path.filename().string().substr(0, 200) + ".XXXXXX")).string();
  Descriptor file(::mkostemp(name.data(), O_CLOEXEC));  // mode 0600: nobody reads it before it is complete
  if (file.number() < 0) fail("create", path, errno);
  Temporary temporary(name);
  write_all(file.number(), bytes, path);
  if (::fchmod(file.number(), static_cast<mode_t>(mode)) != 0) fail("set the mode of", path, errno);
  if (::fsync(file.number()) != 0) fail("write", path, errno);
  if (::close(file.release()) != 0) fail("write", path, errno);
  if (::rename(name.c_str(), path.c_str()) != 0) fail("create", path, errno);
  temporary.keep();
  sync_folder(folder);
}

namespace {

std::string problem_of_segment(std::string_view segment, Bytecode bytecode) {
  if (segment.empty()) return "has an empty segment";
  if (segment == "." || segment == "..") return "has a segment '" + std::string(segment) + "'";
  if (segment.front() == '-') return "has a segment that begins with '-'";
  if (segment.size() > 255) return "has a segment longer than 255 bytes";
  for (const char c : segment) {
    const bool good = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    if (!good) return "has a character outside A-Z a-z 0-9 . _ - /";
  }
  if (bytecode == Bytecode::refused && (segment == "__pycache__" || segment.ends_with(".pyc")))
    return "is Python bytecode, which no digest covers";
  return "";
}

// For messages: what a stranger called a file must not reach a terminal as control characters.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 200)) out += c >= ' ' && c < 127 ? c : '?';
  return out;
}

}  // namespace

void check_relative_path(std::string_view path, Bytecode bytecode) {
  std::string problem;
  if (path.empty()) problem = "is empty";
  else if (path.size() > 4096) problem = "is longer than 4096 bytes";
  for (size_t begin = 0; problem.empty() && begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    problem = problem_of_segment(path.substr(begin, end - begin), bytecode);
    begin = end + 1;
  }
  if (!problem.empty()) throw Error(ErrorKind::malformed, "path '" + printable(path) + "' is not allowed: it " + problem);
}

std::vector<std::string> list_files(const std::filesystem::path &root, size_t max_files) {
  namespace fs = std::filesystem;
  std::vector<std::string> found;
  try {
    for (fs::recursive_directory_iterator it(root), end; it != end; ++it) {
      const fs::file_status status = it->status();  // follows links
      if (fs::is_directory(status) && !it->is_symlink()) continue;
      if (fs::is_directory(status)) throw Error(ErrorKind::malformed, it->path().string() + " is a symbolic link to a folder");
      if (!fs::exists(status)) throw Error(ErrorKind::malformed, it->path().string() + " is a dangling symbolic link");
      if (!fs::is_regular_file(status)) throw Error(ErrorKind::malformed, it->path().string() + " is not a regular file");
      if (found.size() == max_files)
        throw Error(ErrorKind::malformed, root.string() + " holds more than " + std::to_string(max_files) + " files");
      found.push_back(it->path().lexically_relative(root).generic_string());
    }
  } catch (const fs::filesystem_error &error) {
    throw Error(kind_of_errno(error.code().value()), "cannot list " + root.string() + ": " + error.code().message());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace lamina::manifest
