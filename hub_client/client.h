// The hub client: from a name to a verified bundle on disk, and to the build of this machine in memory.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "abi/lamina_abi.h"
#include "hub_client/download.h"
#include "hub_client/http.h"
#include "hub_client/lock.h"
#include "hub_client/memory.h"
#include "hub_client/resolve.h"
#include "manifest/bundle.h"
#include "manifest/verify.h"

namespace lamina::hub {

struct FetchOptions {
  std::string backend;  // "" : of this machine
  std::string arch;     // "" : the best build of this machine; else this one, if the machine runs it
  Framework framework;
  manifest::SignaturePolicy signatures = manifest::SignaturePolicy::require;
  bool allow_rollback = false;                     // take an older release for a version than was seen, and remember that one from now on
  std::optional<LockedBundle> locked;              // only this commit, and only bundles with these hashes
  bool resolve_only = false;                       // stop when the build is chosen: it, and what comes with it, is not downloaded
  std::function<void(const std::string &)> log;    // one sentence at a time
  std::function<void(const Progress &)> progress;  // often
};

struct BuildVerdict {
  manifest::Build build;
  std::string reason;  // why this machine cannot run it; empty: it can
};

struct Fetched {
  std::string repository, revision, commit;
  std::vector<Candidate> candidates;  // best first, with what speaks against the others
  std::string variant;
  std::filesystem::path directory;  // the variant, in the cache or where LOCAL_KERNELS says
  manifest::Bundle bundle;
  manifest::Manifest manifest;
  std::vector<BuildVerdict> builds;  // by rank
  manifest::Build build;             // the first that this machine runs
  manifest::VerifyReport report;
  std::shared_ptr<const Receipt> receipt;  // of an earlier check of these files; load() need not hash what it holds for
  size_t downloaded_files = 0;
  uint64_t downloaded_bytes = 0;  // over the network; what the cache had is not among them
};

class Client {
 public:
  explicit Client(const Environment &environment);
  // "ORG/NAME", "ORG/NAME@v1" or "ORG/NAME@<commit>".  Downloads what is missing, verifies everything, loads nothing.
  // Errors: every kind; see docs/exit-codes.md.
  Fetched fetch(const std::string &specification, const FetchOptions &options) const;
  // What "ORG/NAME@vN" means now, for a lock file: its commit, and the hash of every variant's bundle.json, each verified.  Downloads the
  // documents of all variants.  Errors: as fetch(); offline.
  LockedBundle lock(const std::string &specification, const FetchOptions &options) const;
  // A bundle on this disk: its folder (holds build/), or one variant's.  Verified like a fetched one, under the name it bears; no network.
  // Errors: not_found, unsupported, those of verification.
  Fetched open_folder(const std::filesystem::path &folder, const FetchOptions &options) const;

 private:
  Fetched fetch_online(Fetched fetched, const FetchOptions &options) const;
  Fetched fetch_offline(Fetched fetched, const FetchOptions &options) const;
  void bring_documents(Fetched &fetched, const Listing &listing, Downloader &downloader, const FetchOptions &options) const;
  void check_pins(const Fetched &fetched, const FetchOptions &options) const;
  void check_revoked(const Fetched &fetched, const FetchOptions &options) const;
  void choose(Fetched &fetched, const std::vector<std::string> &variants, const FetchOptions &options) const;
  void read_documents(Fetched &fetched) const;
  void choose_build(Fetched &fetched, const FetchOptions &options) const;
  void verify(Fetched &fetched, const FetchOptions &options, uint64_t minimum_counter = 0,
              const std::function<bool(const manifest::BundleEntry &)> &hashed = {}) const;
  uint64_t counter_seen(const Fetched &fetched, const FetchOptions &options) const;
  void remember(const Fetched &fetched, const FetchOptions &options) const;

  Http http_;
  Memory memory_;
  Machine machine_;
};

struct Loaded {
  Fetched fetched;
  std::string path;  // of the verified file, for messages
  const lamina_library *library = nullptr;
};
// Opens the very bytes that are hashed here: the descriptor stays open for the life of the process.  Errors: integrity, unsupported.
Loaded load(Fetched fetched);
// A plug-in's file, without bundle: nobody vouches for it.  Errors: not_found, integrity, unsupported.
const lamina_library *load_build(const std::string &path);

// ORG/NAME and the revision behind '@' ("" if none).  Errors: invalid_argument.
std::pair<std::string, std::string> parse_specification(const std::string &text);

}  // namespace lamina::hub
