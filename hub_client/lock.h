// lamina.lock: exactly which releases a project was built with, so that tomorrow's fetch brings the same bytes or nothing.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace lamina::hub {

struct LockedBundle {
  std::string revision;                         // "v1": what was asked for
  std::string commit;                           // of the hub
  std::string version;                          // "1.0.0"
  uint64_t counter = 0;                         // of the release
  std::map<std::string, std::string> variants;  // every variant of it -> SHA-256 of its bundle.json, which lists the SHA-256 of every file
};
using Lock = std::map<std::string, LockedBundle>;  // "org/name" -> what it is pinned to

// Errors: not_found, malformed.
Lock read_lock(const std::filesystem::path &file);
Lock parse_lock(std::string_view text, const std::string &what);
// The same lock gives the same bytes; the file appears whole.  Errors: permission, no_space, io.
void write_lock(const std::filesystem::path &file, const Lock &lock);

}  // namespace lamina::hub
