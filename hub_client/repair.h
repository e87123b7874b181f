// Mends a cache that cannot be used offline: because a download was cut by a power failure, a disk lost bytes, or another client left it
// so (huggingface_hub links blobs without hashing them, and `kernels` notes no version).
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "hub_client/trust.h"

namespace lamina::hub {

struct Mending {
  std::filesystem::path path;
  std::string problem;  // "its bytes do not hash to its name"
  std::string action;   // "removed", "written"
};

struct RepairOptions {
  std::string repository;  // "org/name"; "" is all of them
  bool dry_run = false;    // say what would be done
};

// What was wrong in the cache's kernel repositories, mended unless `dry_run`; nothing that is right is touched:
//   a blob whose bytes do not hash to its name goes, and so does a link that leads nowhere or out of the repository;
//   an unfinished download that nobody has worked on for a day goes;
//   a version (refs/vN) that no client noted is written, when a snapshot of it is whole and, for a Lamina bundle, verified;
//   a ref that names no commit of the cache goes, one with white space around its commit is written again;
//   a listing (trees/COMMIT.json) that names files which are not there goes: Python takes the whole commit for missing because of it.
// Safe beside clients that work on the same cache.  Errors: permission, io.
std::vector<Mending> repair_cache(const std::filesystem::path &cache, const TrustStore &trust, const RepairOptions &options);

}  // namespace lamina::hub
