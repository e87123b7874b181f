// A signed release that lies on this machine, ready to be carried elsewhere: from a bundle's folder or from the cache.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "hub_client/environment.h"
#include "manifest/bundle.h"

namespace lamina::hub {

struct SnapshotFile {
  std::filesystem::path file;
  std::string etag;  // what a hub calls these bytes: 64 digits (SHA-256) or 40 (git blob)
  std::string sha256;
  uint64_t size = 0;
};

struct Snapshot {
  std::string repository;                     // "org/name"
  std::string branch;                         // "v1"
  std::string commit;                         // the hub's; of a bundle's folder: a hash of paths and ETags, 40 digits like a hub's
  std::map<std::string, SnapshotFile> files;  // "build/<variant>/<path>"; nothing that no bundle.json covers
  std::map<std::string, uint64_t> variants;   // name -> its bundle's counter
  std::vector<std::string> absent;            // listed by a bundle, but never downloaded to this cache
};

// `source` is a folder that `lamina pack` made, one variant of it, or ORG/NAME[@vN|@COMMIT] in the cache (without a revision: the newest
// version that the cache knows).  Every file is hashed, every variant must be signed; whose signature it is, the receiver decides.
// Errors: not_found, invalid_argument, integrity, malformed, signature.
Snapshot read_snapshot(const std::string &source, const Environment &environment);

// The file's bytes, if they still are what was hashed.  Errors: integrity, not_found, io.
std::string read_snapshot_file(const std::string &path, const SnapshotFile &file);

inline constexpr uint64_t max_snapshot_file = uint64_t{2} << 30;

}  // namespace lamina::hub
