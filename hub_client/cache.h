// One repository's folder in the shared Hugging Face cache: blobs named by ETag, snapshots of links to them, refs.
// Python clients read the same files; nothing unverified ever gets a name here.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace lamina::hub {

class RepositoryCache {
 public:
  // `repository` is "org/name", of type kernel.
  RepositoryCache(const std::filesystem::path &cache, const std::string &repository);

  // The blob's file if it is there with the right size and hash; a wrong one is removed.  "" otherwise.
  std::filesystem::path blob(const std::string &etag, uint64_t size) const;
  std::filesystem::path blobs() const { return folder_ / "blobs"; }
  // Where the Python clients lock a blob while it is downloaded; its folder is made if that is possible.
  std::filesystem::path lock_file(const std::string &etag) const;
  // Bytes of all unfinished downloads of this blob: while it grows, somebody works on it.
  uint64_t unfinished_bytes(const std::string &etag) const;
  // Whether snapshots/<commit>/<path> is a real file with these bytes: so a client writes that does without links.
  bool holds_file(const std::string &commit, const std::string &path, const std::string &etag, uint64_t size) const;
  // Makes snapshots/<commit>/<path> a relative link to the blob.
  void link(const std::string &commit, const std::string &path, const std::string &etag);
  std::filesystem::path snapshot(const std::string &commit) const { return folder_ / "snapshots" / commit; }
  // The repository's own folders must be real ones: a symbolic link would lead what is written elsewhere.  Errors: permission.
  void refuse_links() const;
  // The commit that refs/<name> holds, or "".
  std::string ref(const std::string &name) const;
  std::map<std::string, std::string> refs() const;                     // name -> commit; of names without '/'
  void write_ref(const std::string &name, const std::string &commit);  // without a newline: Python joins it to a path as it is
  const std::filesystem::path &folder() const { return folder_; }

 private:
  std::filesystem::path folder_;
};

bool valid_etag(std::string_view etag);    // 40 or 64 hex digits
bool valid_commit(std::string_view text);  // 40 hex digits
// N of "vN", or -1: a repository's versions are its branches of such names.
long version_of_ref(std::string_view name);

// Whether the file has this size and hash (git blob SHA-1 for 40 digits, SHA-256 for 64).  [thread-safe]
bool file_matches(const std::filesystem::path &path, const std::string &etag, uint64_t size);
// Makes the folder if needed.  A symbolic link in its place is refused, since it would lead writes elsewhere.  Errors: permission, no_space, io.
void make_cache_folder(const std::filesystem::path &path);
std::string random_suffix();  // 8 hex digits

}  // namespace lamina::hub
