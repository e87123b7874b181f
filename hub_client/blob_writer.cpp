#include "hub_client/blob_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "hub_client/cache.h"
#include "hub_client/following_hash.h"
#include "manifest/error.h"

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;

// libcurl hands over 16 KB at a time; a file system likes longer pieces.  Short enough that others, who wait, see the file grow.
constexpr size_t gathered_bytes = 128 << 10;

[[noreturn]] void throw_errno(const std::string &what, int code) {
  std::string fix;
  if (kind_of_errno(code) == ErrorKind::no_space) fix = "; free space there, or let HF_HUB_CACHE name a folder on a larger disk";
  if (kind_of_errno(code) == ErrorKind::permission) fix = "; let HF_HUB_CACHE name a folder that you may write";
  throw Error(kind_of_errno(code), what + ": " + std::strerror(code) + fix);
}

}  // namespace

struct BlobWriter::State {
  fs::path blobs, temporary;
  std::string etag;
  uint64_t size = 0, written = 0;
  Name name = Name::own;
  bool resumed = false, keep = false;
  int file = -1;
  std::string gathered;  // the last of `written`, not yet in the file
  std::unique_ptr<FollowingHash> hash;

  void forget() {
    written = 0;
    gathered.clear();
    hash = std::make_unique<FollowingHash>(file, etag, size);
  }
  void put(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::write(file, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw_errno("cannot write " + temporary.string(), errno);
      bytes.remove_prefix(static_cast<size_t>(count));
    }
  }
  void flush() {
    try {
      put(gathered);
    } catch (const Error &) {
      gathered.clear();  // some of it is in the file: not again
      throw;
    }
    gathered.clear();
    hash->grown(written);
  }
};

BlobWriter::BlobWriter(fs::path blobs, std::string etag, uint64_t size, Name name) : state_(std::make_unique<State>()) {
  state_->blobs = std::move(blobs), state_->etag = std::move(etag), state_->size = size, state_->name = name;
  make_cache_folder(state_->blobs);
  const bool shared = name == Name::shared;
  state_->temporary = state_->blobs / (state_->etag + (shared ? "" : "." + random_suffix()) + ".incomplete");
  state_->file = open(state_->temporary.c_str(), O_RDWR | O_CREAT | (shared ? O_NONBLOCK : O_EXCL) | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (state_->file < 0) {
    const int code = errno;
    const std::string path = state_->temporary.string();
    state_->temporary.clear();
    throw_errno("cannot write " + path, code);
  }
  state_->forget();
  if (shared) take_over();
}

BlobWriter::~BlobWriter() {
  state_->hash.reset();
  if (state_->file >= 0) close(state_->file);
  if (!state_->temporary.empty() && !state_->keep) unlink(state_->temporary.c_str());
}

uint64_t BlobWriter::written() const { return state_->written; }
bool BlobWriter::resumed() const { return state_->resumed; }
void BlobWriter::keep() {
  try {
    state_->flush();
  } catch (const Error &) {}  // then the next process finds less
  state_->keep = state_->name == Name::shared && state_->written > 0;
}

// What is there already is hashed from the beginning, so that only the rest need be asked for.
void BlobWriter::take_over() {
  struct stat facts{};
  if (fstat(state_->file, &facts) != 0) throw_errno("cannot read " + state_->temporary.string(), errno);
  if (!S_ISREG(facts.st_mode) || facts.st_nlink != 1) {
    const std::string path = state_->temporary.string();
    state_->temporary.clear();  // not ours to remove
    throw Error(ErrorKind::permission, path + " is no plain file; remove it and fetch again");
  }
  if (static_cast<uint64_t>(facts.st_size) > state_->size) return restart();  // longer than it may be: another file's
  if (lseek(state_->file, 0, SEEK_END) != facts.st_size) throw_errno("cannot go on with " + state_->temporary.string(), errno);
  state_->written = static_cast<uint64_t>(facts.st_size);
  state_->resumed = state_->written > 0;
  state_->hash->grown(state_->written);
}

void BlobWriter::restart() {
  state_->hash.reset();  // before the file shrinks under it
  if (ftruncate(state_->file, 0) != 0 || lseek(state_->file, 0, SEEK_SET) != 0) throw_errno(state_->temporary.string(), errno);
  state_->resumed = false;
  state_->forget();
}

void BlobWriter::write(std::string_view bytes) {
  if (bytes.size() > state_->size - state_->written)
    throw Error(ErrorKind::integrity,
                "the hub sent more than the " + std::to_string(state_->size) + " bytes it promised for " + state_->etag);
  state_->written += bytes.size();
  state_->gathered.append(bytes);
  if (state_->gathered.size() >= gathered_bytes) state_->flush();
}

void BlobWriter::commit() {
  if (state_->written != state_->size)
    throw Error(ErrorKind::integrity,
                "the hub sent " + std::to_string(state_->written) + " of " + std::to_string(state_->size) + " bytes of " + state_->etag);
  state_->flush();
  const std::string found = state_->hash->finish();
  if (found != state_->etag) throw Error(ErrorKind::integrity, "what the hub sent as " + state_->etag + " hashes to " + found);
  struct stat facts{};
  if (fstat(state_->file, &facts) != 0) throw_errno("cannot read " + state_->temporary.string(), errno);
  if (static_cast<uint64_t>(facts.st_size) != state_->size)
    throw Error(ErrorKind::integrity, state_->temporary.string() + " changed its size while it was written");
  if (fsync(state_->file) != 0) throw_errno("cannot sync " + state_->temporary.string(), errno);
  if (rename(state_->temporary.c_str(), (state_->blobs / state_->etag).c_str()) != 0) throw_errno("cannot name " + state_->etag, errno);
  state_->temporary.clear();
  if (const int folder = open(state_->blobs.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); folder >= 0) {
    fsync(folder);  // the name survives a power cut too; where that is not supported the next reader hashes anyway
    close(folder);
  }
}

}  // namespace lamina::hub
