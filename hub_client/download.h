// What a hub lists of a repository, and how its files come into the cache.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "hub_client/cache.h"
#include "hub_client/http.h"

namespace lamina::hub {

struct ListedFile {
  std::string etag;  // 40 hex digits: git blob SHA-1; 64: SHA-256
  uint64_t size = 0;
};
using Listing = std::map<std::string, ListedFile>;  // path below the repository -> file

// Everything below `folder` of a commit.  Not a byte of it is trusted: names, hashes, sizes, number.  Errors: those of the network;
// integrity, malformed.
Listing list_files(const Http &http, const std::string &repository, const std::string &commit, const std::string &folder);

// One page of such a listing.  `entries` counts those of all pages.  Errors: integrity, malformed.
void read_listing_page(std::string_view body, const std::string &what, Listing &listing, size_t &entries);
// What a listing must not be, as a whole: names that differ in case alone, a file that is a folder too.  Errors: malformed.
void check_names(const Listing &listing, const std::string &what);

// Branches of a repository.  Errors: those of the network; integrity, malformed.
std::map<std::string, std::string> list_branches(const Http &http, const std::string &repository);

struct Progress {
  std::string file;  // what is being downloaded
  uint64_t done = 0, total = 0;
  uint64_t all_done = 0, all_total = 0;  // of all files that this call downloads
  uint64_t resumed = 0;                  // of `done`: what an earlier process had left
};

class Downloader {
 public:
  using Log = std::function<void(const std::string &)>;
  Downloader(const Http &http, RepositoryCache &cache, std::string repository, std::string commit, Log log,
             std::function<void(const Progress &)> progress)
      : http_(http),
        cache_(cache),
        repository_(std::move(repository)),
        commit_(std::move(commit)),
        log_(std::move(log)),
        progress_(std::move(progress)) {}

  // Removes from the snapshot what leads to other bytes than the hub lists: a bad disk, or a client that linked without hashing.
  void drop_wrong(const Listing &files) const;
  // Downloads those of the files that the cache lacks, and links all of them.  A file that another process downloads is waited for.
  // Errors: no_space before anything is asked for; those of the network; integrity; permission, io.
  void get(const Listing &files);
  // Whether this object downloaded the file, hashed it to that SHA-256 on its way, and nobody has touched it since.
  bool hashed(const std::string &path, const std::string &sha256) const;
  size_t files() const { return files_; }    // downloaded so far
  uint64_t bytes() const { return bytes_; }  // that came over the network

 private:
  bool have(const std::string &path, const ListedFile &file) const;
  void check_space(uint64_t needed) const;
  void download(const std::string &path, const ListedFile &file);
  void transfer(const std::string &path, const ListedFile &file, bool locked);
  void say(const std::string &sentence) const {
    if (log_) log_(sentence);
  }

  const Http &http_;
  RepositoryCache &cache_;
  std::string repository_, commit_;
  Log log_;
  std::function<void(const Progress &)> progress_;
  Progress now_;
  std::map<std::string, std::pair<std::string, std::string>> hashed_;  // path -> SHA-256, and what the blob looked like then
  size_t files_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace lamina::hub
