// The hash of a file that is being written, computed behind the writer: a long one by a thread of its own, so that a download takes as long as
// the slower of the two and not as long as both.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

namespace lamina::hub {

class FollowingHash {
 public:
  // `file` is open for reading, belongs to the caller, and stays open as long as this object lives.  `etag` says which hash: 64 hex digits are
  // a SHA-256, 40 a git blob id.  `size`: bytes that the whole file will have.
  FollowingHash(int file, const std::string &etag, uint64_t size);
  ~FollowingHash();  // gives up: without finish() nobody wants the hash
  FollowingHash(const FollowingHash &) = delete;
  FollowingHash &operator=(const FollowingHash &) = delete;

  // The file holds its first `written` bytes now; they do not change any more.
  void grown(uint64_t written);
  // Of all `size` bytes, in lower-case hex, which must be there.  Once.  Errors: integrity when the file became shorter; io.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lamina::hub
