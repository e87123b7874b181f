// A bundle on disk becomes a release of a hub repository.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "hub_client/http.h"
#include "manifest/minisign.h"

namespace lamina::hub {

struct PublishOptions {
  std::filesystem::path bundle;  // what `lamina pack` made and `lamina sign` signed
  std::string repository;        // "org/name"; must be what the bundle says it is
  bool create = false;           // make the repository if it is missing
  std::function<void(const std::string &)> log;
};

struct Published {
  std::string branch, commit;  // "v1" and the commit that holds the release
  bool unchanged = false;      // it was there already, byte for byte
};

// Verifies every variant first; then one commit on vN that holds only build/, then the card on main.  A rerun after any interruption
// finishes what is missing.  Errors: conflict for the counter of an earlier release or a branch that moved meanwhile; integrity when a
// file changes under our feet; signature for an unsigned bundle; and those of the network.
Published publish(const Http &http, const PublishOptions &options);

// Takes a release back: adds its counter to the signed list on the repository's main branch.  `secret_key` is a file of `lamina keygen`,
// whose public half `keys` must hold, so that clients accept the list.  Returns the commit.  Errors: as publish(); signature, untrusted.
std::string revoke(const Http &http, const std::string &repository, uint64_t counter, const std::string &reason,
                   const std::filesystem::path &secret_key, const std::vector<manifest::PublicKey> &keys);

}  // namespace lamina::hub
