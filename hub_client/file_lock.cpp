#include "hub_client/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

namespace lamina::hub {
namespace {

int open_lock(const std::filesystem::path &path) { return open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0664); }

// Some releases of the Python client remove the file when they let go: a lock on a removed file keeps nobody out.
bool still_named(int file, const std::filesystem::path &path) {
  struct stat ours{}, named{};
  return fstat(file, &ours) == 0 && lstat(path.c_str(), &named) == 0 && ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
}

// A second description of the same file must be refused, also within one process.
bool excludes_others(const std::filesystem::path &path) {
  const int second = open_lock(path);
  if (second < 0) return false;
  const bool refused = flock(second, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  close(second);
  return refused;
}

}  // namespace

FileLock::FileLock(const std::filesystem::path &path, const std::function<bool()> &keep_waiting) {
  for (;;) {
    file_ = open_lock(path);
    if (file_ < 0) return;
    if (flock(file_, LOCK_EX | LOCK_NB) == 0) {
      if (still_named(file_, path)) {
        held_ = excludes_others(path);
        return;
      }
    } else if (errno != EWOULDBLOCK && errno != EINTR) {
      return;
    }
    close(file_);
    file_ = -1;
    if (!keep_waiting()) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

FileLock::~FileLock() {
  if (file_ < 0) return;
  // Said, not left to close(): a child of fork() may hold the same description open for as long as it lives.
  if (getpid() == owner_) flock(file_, LOCK_UN);
  close(file_);
}

}  // namespace lamina::hub
