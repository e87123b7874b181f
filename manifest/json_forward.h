// The JSON type without its implementation, for headers.
#pragma once
#include <nlohmann/json_fwd.hpp>

namespace lamina::manifest {
using Json = nlohmann::json;
}  // namespace lamina::manifest
