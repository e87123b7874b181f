// One file that carries a release to a machine without network: a .tar.zst with an index, then every file of the variants.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "hub_client/environment.h"
#include "hub_client/snapshot.h"

namespace lamina::hub {

// The same snapshot gives the same bytes: sorted, no times, no owners.  On error nothing is left behind; an existing file is replaced
// only by a whole one.  Errors: integrity when a file changed, permission, no_space, io.
void write_archive(const Snapshot &snapshot, const std::filesystem::path &file);

struct Imported {
  std::string repository, branch, commit;
  std::vector<std::string> variants;
  std::vector<std::filesystem::path> directories;  // of the variants, in the cache
  size_t files = 0;
  uint64_t bytes = 0;
};

// Unpacks beside the cache, checks that every variant is signed by a key that the environment's trust files pin for its organisation,
// and only then gives the files names in the cache.  Takes plain files alone that the index lists, each once, below build/VARIANT/.
// On error the cache is as it was.  Errors: malformed (no archive of ours, or a hostile one), integrity, signature, untrusted, conflict
// (the cache has a newer release, or other bytes under the same commit), no_space, permission, io.
Imported import_archive(const std::filesystem::path &file, const Environment &environment);

}  // namespace lamina::hub
