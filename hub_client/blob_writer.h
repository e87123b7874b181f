// One download on its way into the cache: hashed while it is written, named only when size and hash are right.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace lamina::hub {

class BlobWriter {
 public:
  enum class Name {
    shared,  // "<etag>.incomplete": what a killed process left there is hashed and goes on.  Only under the blob's FileLock.
    own,     // "<etag>.<8 hex>.incomplete": nobody else's, always from the start
  };
  // `blobs` is the cache's folder of that name, made if needed.  Errors: permission, no_space, io.
  BlobWriter(std::filesystem::path blobs, std::string etag, uint64_t size, Name name);
  ~BlobWriter();  // without commit() or keep(), nothing remains
  BlobWriter(const BlobWriter &) = delete;
  BlobWriter &operator=(const BlobWriter &) = delete;

  uint64_t written() const;  // bytes there, those of an earlier process included
  bool resumed() const;      // whether some are an earlier process's
  void restart();
  void write(std::string_view bytes);  // Errors: integrity for more than `size` bytes, no_space, io
  void commit();                       // Errors: integrity when size or hash is wrong
  void keep();                         // leaves a shared file with bytes in it to the next process

 private:
  void take_over();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lamina::hub
