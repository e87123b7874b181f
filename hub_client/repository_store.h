// The directory behind a hub server: objects by their SHA-256, commits as JSON, branches as files that appear by rename.
// A crash leaves an object or a commit that nobody names, never a branch that names something missing.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "hub_client/upload_file.h"

namespace lamina::hub {

struct StoredFile {
  std::string sha256;    // names the object
  std::string git_sha1;  // of the blob, as git would name it
  uint64_t size = 0;
  bool lfs = false;  // which of the two hashes the hub shows as ETag
  const std::string &etag() const { return lfs ? sha256 : git_sha1; }
};
using Tree = std::map<std::string, StoredFile>;  // path -> file, sorted by bytes

struct Change {
  enum class Kind { put, remove_file, remove_folder } kind = Kind::put;
  std::string path;  // of a folder: without a final '/'
  StoredFile file;
};

class RepositoryStore {
 public:
  // Makes the folder if needed.  Errors: permission, io.
  explicit RepositoryStore(std::filesystem::path root);

  // `repository` is "kernels/org/name" (or models/, datasets/); checked.  Returns false when it exists already.
  bool create(const std::string &repository);
  bool remove(const std::string &repository);
  bool exists(const std::string &repository) const;

  std::map<std::string, std::string> branches(const std::string &repository) const;  // name -> commit
  std::map<std::string, std::string> tags(const std::string &repository) const;
  // A branch, tag, commit, refs/heads/B or refs/tags/T.  Empty when there is none.
  std::string resolve(const std::string &repository, const std::string &revision) const;
  // False when it exists.  `start` is a commit or empty: an empty tree.
  bool create_branch(const std::string &repository, const std::string &branch, const std::string &start);
  bool create_tag(const std::string &repository, const std::string &tag, const std::string &commit);

  // Errors: not_found.
  Tree tree(const std::string &repository, const std::string &commit) const;
  // Applies the changes to the branch's head as one commit.  `parent` not empty: the head must be it.  Every put object must be stored.
  // Errors: conflict (the head moved), not_found (no such branch or object), malformed (a path).  [thread-safe]
  std::string commit(const std::string &repository, const std::string &branch, const std::string &parent, const std::string &summary,
                     const std::vector<Change> &changes);

  // Objects.  put() hashes what it stores; `expected_sha256` not empty must be it.  Errors: integrity, no_space, io.
  StoredFile put(std::string_view bytes, const std::string &expected_sha256 = "");
  // The same for a file beside the objects, which is moved there.
  StoredFile put_file(UploadFile &upload, const std::string &expected_sha256);
  // Where uploads are written while they arrive.
  std::filesystem::path incoming() const { return root_ / "incoming"; }
  std::optional<StoredFile> find_object(const std::string &sha256) const;
  std::filesystem::path object_path(const std::string &sha256) const;  // checked to be 64 hex digits

 private:
  std::filesystem::path folder(const std::string &repository) const;
  std::map<std::string, std::string> refs(const std::string &repository, const char *kind) const;
  void write_ref(const std::string &repository, const char *kind, const std::string &name, const std::string &commit);

  std::filesystem::path root_;
  std::mutex commits_;  // one commit at a time: the head is read and moved under it
};

// Repository ids and branch names that may name a folder or file here.
bool valid_repository_name(std::string_view name);  // "org/name"
bool valid_ref_name(std::string_view name);

}  // namespace lamina::hub
