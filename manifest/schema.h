// The JSON Schemas of manifest/schemas, embedded in the library.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "manifest/json_forward.h"

namespace lamina::manifest {

// Throws Error(malformed) when `value` does not follow manifest/schemas/<schema>.schema.json; the message names `what`, the place
// inside it and the rule.  `schema` is one of schema_names().  [thread-safe]
void validate(const Json &value, std::string_view schema, const std::string &what);

// "bundle", "cases", "contract", "host", "manifest", "metadata", "trust".
std::vector<std::string> schema_names();

// The schema file's text.  Errors: not_found.
std::string_view schema_text(std::string_view schema);

}  // namespace lamina::manifest
