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

// Walks through a text: how deep it is, and whether an object has a key twice.  Builds nothing.
class Checker {
 public:
  explicit Checker(const JsonLimits &limits) : limits_(limits) {}
  std::string problem;

  bool null() { return true; }
  bool boolean(bool) { return true; }
  bool number_integer(Json::number_integer_t) { return true; }
  bool number_unsigned(Json::number_unsigned_t) { return true; }
  bool number_float(Json::number_float_t, const std::string &) { return true; }
  bool string(std::string &) { return true; }
  bool binary(Json::binary_t &) { return true; }
  bool start_object(size_t) { return keys_.emplace_back(), deeper(); }
  bool end_object() { return keys_.pop_back(), --depth_, true; }
  bool start_array(size_t) { return deeper(); }
  bool end_array() { return --depth_, true; }
  bool key(std::string &name) {
    if (limits_.duplicate_keys || keys_.back().insert(name).second) return true;
    problem = "key \"" + name + "\" appears twice in one object";
    return false;
  }
  template <class Exception>
  bool parse_error(size_t, const std::string &, const Exception &error) {
    problem = sentence_of(error);
    return false;
  }

 private:
  bool deeper() {
    if (++depth_ <= limits_.max_depth) return true;
    problem = "nested deeper than " + std::to_string(limits_.max_depth);
    return false;
  }
  const JsonLimits &limits_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open, outermost first
  int depth_ = 0;
};

}  // namespace

Json parse_json(std::string_view text, const std::string &what, const JsonLimits &limits) {
  const auto refuse = [&](const std::string &why) -> Error { return Error(ErrorKind::malformed, what + ": " + why); };
  if (text.size() > limits.max_bytes) throw refuse("longer than the " + std::to_string(limits.max_bytes) + " bytes allowed");
  if (text.starts_with("\xEF\xBB\xBF")) throw refuse("begins with a byte order mark; save it as plain UTF-8");
  // The parser takes NUL for the end of the text, so anything could hide behind one.
  if (text.find('\0') != text.npos) throw refuse("holds a NUL byte");
  try {
    // Looked through before anything is built: the parser's own callbacks cost the square of an array's length.
    Checker checker(limits);
    if (!Json::sax_parse(text.begin(), text.end(), &checker)) throw refuse(checker.problem);
    return Json::parse(text.begin(), text.end());
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
