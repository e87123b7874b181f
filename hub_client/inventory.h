// What lies in the cache, and what of it can be used.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "hub_client/environment.h"
#include "hub_client/trust.h"
#include "manifest/verify.h"

namespace lamina::hub {

// One variant of one commit that holds a bundle.json.
struct CachedBundle {
  std::string repository, commit, variant;
  std::vector<std::string> revisions;  // the refs that name the commit: "v1"
  std::filesystem::path directory;
  uint64_t bytes = 0, files = 0;  // that are there
  manifest::VerifyReport report;  // signature by the keys that are trusted here, hashes of all files that are there
  std::string version() const { return report.bundle ? report.bundle->version : ""; }
  // One word: "trusted", "untrusted" (nobody here knows the key), "unsigned", "damaged".
  std::string state() const;
  std::string problem() const;  // the sentence of the failed check; "" when there is none
};

// Folders of kernel repositories in the cache: "org/name" and the folder.  A cache that does not exist has none.  Errors: permission, io.
std::vector<std::pair<std::string, std::filesystem::path>> cached_repositories(const std::filesystem::path &cache);

// Every bundle in the cache, by repository, commit and variant.  Reads and hashes all of it.  Errors: permission, io.
std::vector<CachedBundle> list_cache(const std::filesystem::path &cache, const TrustStore &trust);

// The check that fetch makes of what lies at `directory`, with partial downloads allowed.
manifest::VerifyReport verify_cached(const std::filesystem::path &directory, const std::string &repository, const TrustStore &trust);

}  // namespace lamina::hub
