// Releases that their publisher takes back: a signed list on the repository's main branch, remembered once seen.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "hub_client/http.h"
#include "hub_client/memory.h"
#include "manifest/minisign.h"

namespace lamina::hub {

inline constexpr const char *revocations_file = "revocations.json";
inline constexpr const char *revocations_signature_file = "revocations.json.minisig";

struct Revocations {
  std::string repository;
  uint64_t counter = 0;                      // of the list: it only grows
  std::map<uint64_t, std::string> releases;  // counter of a release -> why
};

// A list signed by one of the keys, for this repository.  Errors: malformed, signature, untrusted, integrity (of another repository).
Revocations read_revocations(const Memory::SignedText &list, const std::string &repository, const std::vector<manifest::PublicKey> &keys);
// The list and its signature.
Memory::SignedText sign_revocations(const Revocations &list, const manifest::SecretKey &key);

// What the hub has, if it is not older than what is remembered, else an error; and it is remembered.  Without one at the hub, or offline:
// what is remembered.  `http` nullptr: offline.  Errors: those of the network and of read_revocations; integrity for an older list.
Revocations current_revocations(const Http *http, const Memory &memory, const std::string &repository,
                                const std::vector<manifest::PublicKey> &keys);

}  // namespace lamina::hub
