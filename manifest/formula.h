// Extents as formulas of dims: "C", "4*C", "2*(H+G)", "H/2".
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace lamina::manifest {

// Whole numbers, single capital letters, + - * / and parentheses; division must come out even.  Errors: malformed when the text is no
// formula, invalid_argument when a dim is not known, the result does not fit or a division leaves a rest.  [thread-safe]
int64_t evaluate(std::string_view formula, const std::map<std::string, int64_t> &dims);

// The dims a formula names, in order of appearance, each once.  Errors: malformed.
std::vector<std::string> dims_of(std::string_view formula);

}  // namespace lamina::manifest
