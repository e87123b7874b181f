// The list of cases of a layer: cases.json, read and expanded.  The file is data; nothing here knows a layer.
//
// {"schema": "lamina/cases/1", "layer": ..., "dims": {"G": {"output_gate": {"after_projection": "C", ...}}},
//  "data": {"<argument pattern>": RECIPE, ...}, "defaults": CASE, "cases": [CASE, ...]}
//
// A CASE gives why, op, dims, attributes, dtype (of the arguments that lead), dtypes, given, layout, packed, alias, data, shifted,
// local_factor, where, expect, seed; what it leaves out comes from `defaults`.  Any value in it may be {"sweep": [...]}: the case stands for one
// case per entry, and several sweeps multiply; {"together": [...]}: all of these in a case advance in step.
// Patterns name arguments: "pair", "norm_*", "*"; an exact name beats a pattern, a longer pattern a shorter one.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "conformance/element.h"

namespace lamina::conformance {

using AttributeValue = std::variant<int64_t, double, std::string>;

// How an argument's elements are drawn.
struct Recipe {
  enum class Kind { normal, mask, dropout, constant } kind = Kind::normal;
  double mean = 0, deviation = 1;  // normal; constant is `mean`
  std::string fan_in;              // the deviation is divided by the square root of these extents' product: "C"
  double shift = 0;                // each row (last dimension) gets its own mean, uniform in [-shift, shift]
  double keep = 0.8;               // mask: the share of ones; dropout: the share kept, scaled by 1 / keep
  std::string poison_where;        // elements under a 0 of this mask become `poison`
  double poison = 0;
};

struct Expectation {
  lamina_status status = LAMINA_OK;
  std::string argument;  // the argument that the error names; empty: none is asked for
  int dim = -1;
};

struct Case {
  std::string why, op = "forward", label;  // label: what the sweeps chose, for people
  std::map<std::string, int64_t> dims;
  std::map<std::string, AttributeValue> attributes;
  std::string dtype = "float32";
  std::map<std::string, std::string> dtypes, layout;
  std::map<std::string, Recipe> data;
  std::map<std::string, std::vector<std::string>> alias;  // a written argument and those whose memory it takes
  std::vector<std::string> given;                         // patterns of optional arguments that are present
  bool packed = false, shifted = false, on_gpu_only = false;
  std::optional<Expectation> expect;
  // The contract's limits of row and element times this: for rows made of fewer numbers than the limit was derived for; the why says so.
  double local_factor = 1;
  uint64_t seed = 1;
};

struct CaseList {
  std::string layer;
  std::vector<Case> cases;
};

// Throws lamina::Error naming the file, the case and the member.
CaseList read_cases(const std::string &path);
CaseList parse_cases(const std::string &text, const std::string &path);

// The entry whose pattern fits `name` best, or NULL.
template <class T>
const T *best_match(const std::map<std::string, T> &patterns, const std::string &name);
bool matches(const std::string &pattern, const std::string &name);

template <class T>
const T *best_match(const std::map<std::string, T> &patterns, const std::string &name) {
  const T *best = nullptr;
  size_t length = 0;
  for (const auto &[pattern, value] : patterns) {
    if (pattern == name) return &value;
    if (matches(pattern, name) && (!best || pattern.size() > length)) best = &value, length = pattern.size();
  }
  return best;
}

}  // namespace lamina::conformance
