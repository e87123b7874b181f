#include "hub_client/cache.h"

#include <cctype>
#include <random>

#include "manifest/digest.h"
#include "manifest/error.h"
#include "manifest/files.h"

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;

bool is_hex(std::string_view text) { return text.find_first_not_of("0123456789abcdef") == std::string_view::npos; }

}  // namespace

bool valid_etag(std::string_view etag) { return (etag.size() == 40 || etag.size() == 64) && is_hex(etag); }
bool valid_commit(std::string_view text) { return text.size() == 40 && is_hex(text); }

long version_of_ref(std::string_view name) {
  if (name.size() < 2 || name.size() > 8 || name[0] != 'v' || name.find_first_not_of("0123456789", 1) != std::string_view::npos) return -1;
  return std::stol(std::string(name.substr(1)));
}

std::string random_suffix() {
  std::random_device source;
  char text[9];
  std::snprintf(text, sizeof text, "%08x", source());
  return text;
}

namespace {

void refuse_link(const fs::path &path) {
  if (fs::is_symlink(fs::symlink_status(path)))
    throw Error(ErrorKind::permission, path.string() + " is a symbolic link; the cache's folders must be real ones");
}

}  // namespace

void make_cache_folder(const fs::path &path) {
  std::error_code failure;
  fs::create_directories(path, failure);
  if (failure)
    throw Error(kind_of_errno(failure.value()),
                "cannot make " + path.string() + ": " + failure.message() + "; let HF_HUB_CACHE name a folder that you may write");
  refuse_link(path);
}

bool file_matches(const fs::path &path, const std::string &etag, uint64_t size) {
  std::error_code missing;
  if (fs::file_size(path, missing) != size || missing) return false;
  if (etag.size() == 64) return manifest::to_hex(manifest::digest_file(path).sha256) == etag;
  return manifest::git_blob_hex(manifest::read_file(path, size + 1)) == etag;
}

RepositoryCache::RepositoryCache(const fs::path &cache, const std::string &repository) {
  const size_t slash = repository.find('/');
  folder_ = cache / ("kernels--" + repository.substr(0, slash) + "--" + repository.substr(slash + 1));
}

fs::path RepositoryCache::blob(const std::string &etag, uint64_t size) const {
  const fs::path path = folder_ / "blobs" / etag;
  if (!fs::is_regular_file(fs::symlink_status(path))) return {};
  // Whoever wrote it may not have hashed or synced it: bytes count, not the name.
  if (file_matches(path, etag, size)) return path;
  std::error_code ignored;
  fs::remove(path, ignored);
  return {};
}

fs::path RepositoryCache::lock_file(const std::string &etag) const {
  const fs::path folder = folder_.parent_path() / ".locks" / folder_.filename();
  std::error_code ignored;  // without a lock a download only costs more
  if (fs::is_symlink(folder.parent_path(), ignored) || fs::is_symlink(folder, ignored)) return {};
  fs::create_directories(folder, ignored);
  return folder / (etag + ".lock");
}

uint64_t RepositoryCache::unfinished_bytes(const std::string &etag) const {
  uint64_t bytes = 0;
  std::error_code ignored;
  for (const fs::directory_entry &entry : fs::directory_iterator(blobs(), ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(etag + ".") || !name.ends_with(".incomplete")) continue;
    const uint64_t size = entry.file_size(ignored);
    if (!ignored) bytes += size;
  }
  return bytes;
}

bool RepositoryCache::holds_file(const std::string &commit, const std::string &path, const std::string &etag, uint64_t size) const {
  const fs::path file = snapshot(commit) / path;
  return fs::is_regular_file(fs::symlink_status(file)) && file_matches(file, etag, size);
}

void RepositoryCache::link(const std::string &commit, const std::string &path, const std::string &etag) {
  const fs::path pointer = snapshot(commit) / path;
  for (fs::path folder = pointer.parent_path(); folder != folder_; folder = folder.parent_path())
    if (fs::is_symlink(folder)) make_cache_folder(folder);  // which refuses it
  make_cache_folder(pointer.parent_path());
  std::string target = "../../";
  for (const char c : path) target += c == '/' ? "../" : "";
  target += "blobs/" + etag;
  std::error_code missing;
  if (fs::read_symlink(pointer, missing) == target && !missing) return;
  std::error_code taken;
  fs::create_symlink(target, pointer, taken);
  if (!taken) return;
  // Something else has the name.  The new link is made among the blobs: a process that is killed here must leave no stranger in the snapshot.
  make_cache_folder(blobs());
  const fs::path temporary = blobs() / (etag + "." + random_suffix() + ".incomplete");
  fs::create_symlink(target, temporary);
  fs::rename(temporary, pointer);
}

void RepositoryCache::refuse_links() const {
  for (const char *name : {"", "blobs", "snapshots", "refs"}) refuse_link(*name ? folder_ / name : folder_);
}

std::string RepositoryCache::ref(const std::string &name) const {
  const fs::path path = folder_ / "refs" / name;
  std::error_code missing;
  if (!fs::is_regular_file(path, missing) || fs::file_size(path, missing) > 256) return "";
  std::string text = manifest::read_file(path, 256);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  return valid_commit(text) ? text : "";
}

std::map<std::string, std::string> RepositoryCache::refs() const {
  std::map<std::string, std::string> found;
  std::error_code ignored;
  for (const fs::directory_entry &entry : fs::directory_iterator(folder_ / "refs", ignored))
    if (const std::string name = entry.path().filename().string(), commit = ref(name); !commit.empty() && name[0] != '.')
      found[name] = commit;  // one with a dot in front is being written
  return found;
}

void RepositoryCache::write_ref(const std::string &name, const std::string &commit) {
  const fs::path path = folder_ / "refs" / name;
  std::error_code missing;
  if (ref(name) == commit && fs::file_size(path, missing) == commit.size() && !fs::is_symlink(path)) return;
  make_cache_folder(folder_ / "refs");
  manifest::write_file_atomically(path, commit);
}

}  // namespace lamina::hub
