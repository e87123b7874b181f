// One repository's folder in the shared Hugging Face cache: blobs named by ETag, snapshots of links to them, refs.
// Python clients read the same files; nothing unverified ever gets a name here.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lamina::hub {

// Takes a download's bytes: checks size and ETag's hash while writing a temporary file; commit() gives it its name.
class BlobWriter {
 public:
  BlobWriter(std::filesystem::path blobs, std::string etag, uint64_t size);
  ~BlobWriter();  // without commit(), nothing remains
  BlobWriter(const BlobWriter &) = delete;
  void restart();
  void write(std::string_view bytes);  // Errors: integrity for more than `size` bytes, no_space, io
  void commit();                       // Errors: integrity when size or hash is wrong

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class RepositoryCache {
 public:
  // `repository` is "org/name", of type kernel.
  RepositoryCache(const std::filesystem::path &cache, const std::string &repository);

  // The blob's file if it is there with the right size and hash; a wrong one is removed.  "" otherwise.
  std::filesystem::path blob(const std::string &etag, uint64_t size) const;
  std::unique_ptr<BlobWriter> write_blob(const std::string &etag, uint64_t size);
  // Makes snapshots/<commit>/<path> a relative link to the blob.
  void link(const std::string &commit, const std::string &path, const std::string &etag);
  std::filesystem::path snapshot(const std::string &commit) const { return folder_ / "snapshots" / commit; }
  // The commit that refs/<name> holds, or "".
  std::string ref(const std::string &name) const;
  void write_ref(const std::string &name, const std::string &commit);  // without a newline: Python joins it to a path as it is
  const std::filesystem::path &folder() const { return folder_; }

 private:
  std::filesystem::path folder_;
};

bool valid_etag(std::string_view etag);    // 40 or 64 hex digits
bool valid_commit(std::string_view text);  // 40 hex digits

}  // namespace lamina::hub
