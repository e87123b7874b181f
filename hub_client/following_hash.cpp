#include "hub_client/following_hash.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "manifest/digest.h"
#include "manifest/error.h"

namespace lamina::hub {
namespace {

constexpr uint64_t worth_a_thread = 4 << 20;
constexpr size_t piece_bytes = 128 << 10;         // stays in a core's own cache
constexpr uint64_t written_back_bytes = 8 << 20;  // the disk is told to begin after so many, so that the final sync is short

// A thread of ours must not take the host's signals.
std::thread quiet_thread(auto body) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  struct Restore {
    const sigset_t &mask;
    ~Restore() { pthread_sigmask(SIG_SETMASK, &mask, nullptr); }
  } const restore{before};
  return std::thread(body);
}

}  // namespace

struct FollowingHash::State {
  const int file;
  const bool git;
  const uint64_t size;
  manifest::Sha256 sha256;
  manifest::GitBlobSha1 sha1;
  uint64_t hashed = 0;  // of the thread while there is one
  uint64_t sent_to_disk = 0;
  std::vector<char> piece;

  std::mutex mutex;  // of what follows
  std::condition_variable more;
  uint64_t written = 0;
  std::atomic<bool> stopped = false;
  std::exception_ptr thrown;
  bool alone = false;  // no thread could be had
  std::thread thread;

  State(int descriptor, bool is_git, uint64_t bytes) : file(descriptor), git(is_git), size(bytes), sha1(bytes) {}

  void hash_to(uint64_t limit) {
    piece.resize(std::min<uint64_t>(piece_bytes, size));
    while (hashed < limit && !stopped) {
      const ssize_t got =
          pread(file, piece.data(), static_cast<size_t>(std::min<uint64_t>(piece.size(), limit - hashed)), static_cast<off_t>(hashed));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw Error(kind_of_errno(errno), std::string("cannot read a download back: ") + std::strerror(errno));
      if (got == 0) throw Error(ErrorKind::integrity, "a download became shorter while it was written");
      const std::string_view bytes(piece.data(), static_cast<size_t>(got));
      git ? sha1.add(bytes) : sha256.add(bytes);
      hashed += bytes.size();
      if (hashed - sent_to_disk < written_back_bytes) continue;
      // Only a request: where it fails, the sync at the end does all of it.
      sync_file_range(file, static_cast<off64_t>(sent_to_disk), static_cast<off64_t>(hashed - sent_to_disk), SYNC_FILE_RANGE_WRITE);
      sent_to_disk = hashed;
    }
  }

  void follow() {
    try {
      while (hashed < size && !stopped) {
        uint64_t limit = 0;
        {
          std::unique_lock lock(mutex);
          more.wait(lock, [&] { return stopped || written > hashed; });
          limit = written;
        }
        hash_to(limit);
      }
    } catch (...) { thrown = std::current_exception(); }
  }
};

FollowingHash::FollowingHash(int file, const std::string &etag, uint64_t size)
    : state_(std::make_unique<State>(file, etag.size() != 64, size)) {}

FollowingHash::~FollowingHash() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopped = true;
  }
  state_->more.notify_one();
  if (state_->thread.joinable()) state_->thread.join();
}

void FollowingHash::grown(uint64_t written) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->written = written;
  }
  if (state_->thread.joinable()) return state_->more.notify_one();
  if (state_->alone || state_->size < worth_a_thread) return;
  try {
    state_->thread = quiet_thread([state = state_.get()] { state->follow(); });
  } catch (const std::system_error &) { state_->alone = true; }  // no thread to be had: finish() does it all
}

std::string FollowingHash::finish() {
  if (state_->thread.joinable()) state_->thread.join();
  else state_->hash_to(state_->size);
  if (state_->thrown) std::rethrow_exception(state_->thrown);
  return state_->git ? manifest::to_hex(state_->sha1.finish()) : manifest::to_hex(state_->sha256.finish());
}

}  // namespace lamina::hub
