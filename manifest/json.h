// JSON from strangers, read within bounds; JSON of ours, written the same way every time.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "manifest/files.h"
#include "manifest/json_forward.h"

namespace lamina::manifest {

struct JsonLimits {
  uint64_t max_bytes = 16 << 20;
  int max_depth = 64;
  bool duplicate_keys = false;  // true: the last one counts, as most readers have it
};

// Parses one JSON text.  Refused: more bytes or deeper nesting than the limits, a byte order mark, NUL bytes, invalid UTF-8,
// comments, anything after the value, numbers beyond double, and (unless allowed) a key twice in one object.  `what` names the
// text in the message.  Errors: malformed.  [thread-safe]
Json parse_json(std::string_view text, const std::string &what, const JsonLimits &limits = {});

// read_file and parse_json.
Json read_json(const std::filesystem::path &path, const JsonLimits &limits = {});

// The stable text of a value: keys sorted by bytes, two spaces of indent, UTF-8 as it is, one final newline.  Equal values give
// equal bytes.  Errors: malformed when a string is not UTF-8.  [thread-safe]
std::string write_json(const Json &value);

}  // namespace lamina::manifest
