#include "manifest/json.h"

#include <set>

#include "manifest/error.h"

namespace lamina::manifest {

namespace {

// nlohmann puts its exception's name in front of what a person wants to read.
std::string sentence_of(const Json::exception &error) {
  const std::string_view text = error.what();
  const size_t end = text.find("] ");
  return std::string(text.starts_with("[json.exception") && end != text.npos ? text.substr(end + 2) : text);
}

}  // namespace

Json parse_json(std::string_view text, const std::string &what, const JsonLimits &limits) {
  const auto refuse = [&](const std::string &why) -> Error { return Error(ErrorKind::malformed, what + ": " + why); };
  if (text.size() > limits.max_bytes) throw refuse("longer than the " + std::to_string(limits.max_bytes) + " bytes allowed");
  if (text.starts_with("\xEF\xBB\xBF")) throw refuse("begins with a byte order mark; save it as plain UTF-8");
  // The parser takes NUL for the end of the text, so anything could hide behind one.
  if (text.find('\0') != text.npos) throw refuse("holds a NUL byte");
  std::vector<std::set<std::string>> keys;  // of the objects that are open, outermost first
  const auto on_event = [&](int depth, Json::parse_event_t event, Json &parsed) {
    if (depth >= limits.max_depth && (event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start))
      throw refuse("nested deeper than " + std::to_string(limits.max_depth));
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second && !limits.duplicate_keys)
      throw refuse("key \"" + parsed.get<std::string>() + "\" appears twice in one object");
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), on_event);
  } catch (const Json::exception &error) { throw refuse(sentence_of(error)); }
}

Json read_json(const std::filesystem::path &path, const JsonLimits &limits) {
  return parse_json(read_file(path, limits.max_bytes), path.string(), limits);
}

std::string write_json(const Json &value) {
  try {
    return value.dump(2) + "\n";
  } catch (const Json::exception &error) { throw Error(ErrorKind::malformed, "cannot write JSON: " + sentence_of(error)); }
}

}  // namespace lamina::manifest
