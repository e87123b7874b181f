// What stands behind the handles of lamina_hub.h, and how its functions read structs and report failures.
#pragma once
#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "hub_client/client.h"
#include "hub_client/lamina_hub.h"
#include "manifest/contract.h"
#include "manifest/error.h"

struct lamina_hub_client {
  lamina::hub::FetchOptions options;
  std::unique_ptr<const lamina::hub::Client> client;
};

struct lamina_hub_bundle {
  std::optional<lamina::hub::Fetched> fetched;  // none: a lone build
  bool resolved_only = false;
  lamina::manifest::Contract contract;
  // What lamina_hub_info points at.
  std::string layer, version, arch, build_id, build_path, directory, signed_by, manifest_text, contract_text, explanation;
  std::vector<const char *> hosts;
  std::mutex loading;
  const lamina_library *library = nullptr;
};

namespace lamina::hub {

// Runs `body`; whatever it throws becomes a status and a sentence.  [thread-safe]
lamina_hub_status guarded(lamina_hub_error *error, const std::function<void()> &body) noexcept;

template <class T>
T &required(T *pointer, const char *name) {
  if (!pointer) throw Error(ErrorKind::invalid_argument, std::string(name) + " is NULL");
  return *pointer;
}

inline std::string text_or_empty(const char *text) { return text ? text : ""; }

// The caller's struct as this version knows it: what it lacks is zero, what it has beyond must be.
template <class T>
T read_struct(const T *given, const char *name) {
  T known{};
  known.struct_size = sizeof known;
  if (!given) return known;
  const uint32_t size = given->struct_size;
  if (size < sizeof size)
    throw Error(ErrorKind::invalid_argument,
                std::string(name) + ".struct_size is " + std::to_string(size) + "; set it to sizeof(" + name + ")");
  std::memcpy(&known, given, std::min<size_t>(size, sizeof known));
  const auto *bytes = reinterpret_cast<const unsigned char *>(given);
  for (size_t at = sizeof known; at < size; ++at)
    if (bytes[at]) throw Error(ErrorKind::unsupported, std::string(name) + " has a member that this version of liblamina does not know");
  known.struct_size = sizeof known;
  return known;
}

// Writes as much as the caller has room for.
template <class T>
void write_struct(T full, T *to, const char *name) {
  const uint32_t size = required(to, name).struct_size;
  if (size < sizeof size)
    throw Error(ErrorKind::invalid_argument,
                std::string(name) + ".struct_size is " + std::to_string(size) + "; set it to sizeof(" + name + ")");
  full.struct_size = size;
  std::memcpy(to, &full, std::min<size_t>(size, sizeof full));
}

inline void refuse_unknown_flags(uint32_t flags, uint32_t known, const char *name) {
  if (flags & ~known)
    throw Error(ErrorKind::unsupported, std::string(name) + ".flags has a bit that this version of liblamina does not know");
}

}  // namespace lamina::hub
