#include "hub_client/cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>

#include "manifest/digest.h"
#include "manifest/error.h"
#include "manifest/files.h"

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;

bool is_hex(std::string_view text) { return text.find_first_not_of("0123456789abcdef") == std::string_view::npos; }

std::string random_name() {
  std::random_device source;
  char text[9];
  std::snprintf(text, sizeof text, "%08x", source());
  return text;
}

[[noreturn]] void throw_errno(const std::string &what, int code) { throw Error(kind_of_errno(code), what + ": " + std::strerror(code)); }

// A folder of the cache, made if needed; a symbolic link in its place is refused, since it would lead writes elsewhere.
void make_folder(const fs::path &path) {
  std::error_code failure;
  fs::create_directories(path, failure);
  if (failure) throw Error(kind_of_errno(failure.value()), "cannot make " + path.string() + ": " + failure.message());
  if (fs::is_symlink(path))
    throw Error(ErrorKind::permission, path.string() + " is a symbolic link; the cache's folders must be real ones");
}

}  // namespace

bool valid_etag(std::string_view etag) { return (etag.size() == 40 || etag.size() == 64) && is_hex(etag); }
bool valid_commit(std::string_view text) { return text.size() == 40 && is_hex(text); }

struct BlobWriter::State {
  fs::path blobs, temporary;
  std::string etag;
  uint64_t size = 0, written = 0;
  int file = -1;
  manifest::Sha256 sha256;
  manifest::GitBlobSha1 sha1{0};
};

BlobWriter::BlobWriter(fs::path blobs, std::string etag, uint64_t size) : state_(std::make_unique<State>()) {
  state_->blobs = std::move(blobs), state_->etag = std::move(etag), state_->size = size;
  make_folder(state_->blobs);
  // The name that the Python client gives its own, so that its cleaning knows it.
  state_->temporary = state_->blobs / (state_->etag + "." + random_name() + ".incomplete");
  state_->file = open(state_->temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (state_->file < 0) throw_errno("cannot write " + state_->temporary.string(), errno);
  restart();
}

BlobWriter::~BlobWriter() {
  if (state_->file >= 0) close(state_->file);
  if (!state_->temporary.empty()) unlink(state_->temporary.c_str());
}

void BlobWriter::restart() {
  if (ftruncate(state_->file, 0) != 0 || lseek(state_->file, 0, SEEK_SET) != 0) throw_errno(state_->temporary.string(), errno);
  state_->written = 0;
  state_->sha256 = manifest::Sha256();
  state_->sha1 = manifest::GitBlobSha1(state_->size);
}

void BlobWriter::write(std::string_view bytes) {
  if (bytes.size() > state_->size - state_->written)
    throw Error(ErrorKind::integrity,
                "the hub sent more than the " + std::to_string(state_->size) + " bytes it promised for " + state_->etag);
  state_->written += bytes.size();
  state_->etag.size() == 64 ? state_->sha256.add(bytes) : state_->sha1.add(bytes);
  while (!bytes.empty()) {
    const ssize_t count = ::write(state_->file, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_errno("cannot write " + state_->temporary.string(), errno);
    bytes.remove_prefix(static_cast<size_t>(count));
  }
}

void BlobWriter::commit() {
  if (state_->written != state_->size)
    throw Error(ErrorKind::integrity,
                "the hub sent " + std::to_string(state_->written) + " of " + std::to_string(state_->size) + " bytes of " + state_->etag);
  const std::string found = state_->etag.size() == 64 ? manifest::to_hex(state_->sha256.finish()) : manifest::to_hex(state_->sha1.finish());
  if (found != state_->etag) throw Error(ErrorKind::integrity, "what the hub sent as " + state_->etag + " hashes to " + found);
  if (fsync(state_->file) != 0) throw_errno("cannot sync " + state_->temporary.string(), errno);
  if (rename(state_->temporary.c_str(), (state_->blobs / state_->etag).c_str()) != 0) throw_errno("cannot name " + state_->etag, errno);
  state_->temporary.clear();
}

RepositoryCache::RepositoryCache(const fs::path &cache, const std::string &repository) {
  const size_t slash = repository.find('/');
  folder_ = cache / ("kernels--" + repository.substr(0, slash) + "--" + repository.substr(slash + 1));
}

fs::path RepositoryCache::blob(const std::string &etag, uint64_t size) const {
  const fs::path path = folder_ / "blobs" / etag;
  if (!fs::is_regular_file(fs::symlink_status(path))) return {};
  // Whoever wrote it may not have hashed or synced it: bytes count, not the name.
  if (fs::file_size(path) == size) {
    const std::string bytes = manifest::read_file(path, size + 1);
    if ((etag.size() == 64 ? manifest::sha256_hex(bytes) : manifest::git_blob_hex(bytes)) == etag) return path;
  }
  std::error_code ignored;
  fs::remove(path, ignored);
  return {};
}

std::unique_ptr<BlobWriter> RepositoryCache::write_blob(const std::string &etag, uint64_t size) {
  return std::make_unique<BlobWriter>(folder_ / "blobs", etag, size);
}

void RepositoryCache::link(const std::string &commit, const std::string &path, const std::string &etag) {
  const fs::path pointer = snapshot(commit) / path;
  make_folder(pointer.parent_path());
  std::string target = "../../";
  for (const char c : path) target += c == '/' ? "../" : "";
  target += "blobs/" + etag;
  std::error_code missing;
  if (fs::read_symlink(pointer, missing) == target && !missing) return;
  const fs::path temporary = pointer.string() + "." + random_name();
  fs::create_symlink(target, temporary);
  fs::rename(temporary, pointer);
}

std::string RepositoryCache::ref(const std::string &name) const {
  const fs::path path = folder_ / "refs" / name;
  if (!fs::is_regular_file(path)) return "";
  std::string text = manifest::read_file(path, 256);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  return valid_commit(text) ? text : "";
}

void RepositoryCache::write_ref(const std::string &name, const std::string &commit) {
  if (ref(name) == commit) return;
  make_folder(folder_ / "refs");
  manifest::write_file_atomically(folder_ / "refs" / name, commit);
}

}  // namespace lamina::hub
