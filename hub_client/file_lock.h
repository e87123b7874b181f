// A lock between processes, as the Python clients take it: flock on a file of its own.  It saves bandwidth; nothing depends on it.
#pragma once
#include <unistd.h>

#include <filesystem>
#include <functional>

namespace lamina::hub {

class FileLock {
 public:
  // Tries until the lock is ours or `keep_waiting()`, asked about every 50 ms, says false.  The file's folder must exist; the file is
  // made and stays.  Where a lock cannot be had (read-only folder, a file system without flock) the object is simply not held.
  FileLock(const std::filesystem::path &path, const std::function<bool()> &keep_waiting);
  ~FileLock();
  FileLock(const FileLock &) = delete;
  FileLock &operator=(const FileLock &) = delete;
  // True only if the lock is proven to keep others out: some network file systems grant flock to everybody.
  bool held() const { return held_; }

 private:
  int file_ = -1;
  const pid_t owner_ = getpid();  // whoever inherits this object by fork() does not let go for its owner
  bool held_ = false;
};

}  // namespace lamina::hub
