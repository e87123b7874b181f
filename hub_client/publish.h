// A bundle on disk becomes a release of a hub repository.
#pragma once
#include <filesystem>
#include <functional>
#include <string>

#include "hub_client/http.h"

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

}  // namespace lamina::hub
