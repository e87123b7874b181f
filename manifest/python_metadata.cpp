#include "manifest/python_metadata.h"

#include <algorithm>
#include <functional>
#include <set>

#include "manifest/git_url.h"
#include "manifest/json_reader.h"

namespace lamina::manifest {
namespace {

using Kind = JsonReader::Kind;

struct Member {
  std::vector<std::string_view> names;  // the first is the one in messages
  std::function<void()> read;
  bool required = true;
  bool may_end = false;  // in a list of values: may be missing at the end
};

// A struct is an object, or a list of its members' values in order.
void structure(JsonReader &json, const std::vector<Member> &members, bool unknown_allowed = true) {
  if (json.kind() == Kind::array) {
    size_t count = 0;
    json.array([&] {
      if (count == members.size()) json.refuse("a list with too many values");
      members[count++].read();
    });
    for (; count < members.size(); ++count)
      if (!members[count].may_end) json.refuse("a list without a value for '" + std::string(members[count].names[0]) + "'");
    return;
  }
  if (json.kind() != Kind::object) json.refuse("no object where one belongs");
  std::set<const Member *> seen;
  json.object([&](const std::string &key) {
    const auto found = std::find_if(members.begin(), members.end(), [&](const Member &member) {
      return std::find(member.names.begin(), member.names.end(), key) != member.names.end();
    });
    if (found == members.end()) {
      if (!unknown_allowed) json.refuse("a member that is not known");
      return json.skip();
    }
    if (!seen.insert(&*found).second) json.refuse("'" + std::string(found->names[0]) + "' twice");
    found->read();
  });
  for (const Member &member : members)
    if (member.required && !seen.contains(&member)) json.refuse("no '" + std::string(member.names[0]) + "' before the end of an object");
}

// A member that may be null.
std::function<void()> or_null(JsonReader &json, std::function<void()> read) {
  return [&json, read = std::move(read)] { json.kind() == Kind::null ? json.null() : read(); };
}

std::vector<std::string> texts(JsonReader &json) {
  std::vector<std::string> read;
  if (json.kind() != Kind::array) json.refuse("no list where one belongs");
  json.array([&] { read.push_back(json.text()); });
  return read;
}

// One of some words, or an object with that word as its only key and null as its value.
std::string choice(JsonReader &json, const std::vector<std::string_view> &words) {
  std::string word;
  const auto check = [&] {
    if (std::find(words.begin(), words.end(), word) == words.end()) json.refuse("a word that is not one of those allowed");
  };
  if (json.kind() == Kind::string) return word = json.text(), check(), word;
  if (json.kind() != Kind::object) json.refuse("no word where one belongs");
  int count = 0;
  json.object([&](const std::string &key) {
    if (++count > 1) json.refuse("two words where one belongs");
    word = key;
    check();
    json.null();
  });
  if (count == 0) json.refuse("no word where one belongs");
  return word;
}

std::string kernel_name(JsonReader &json) {
  const std::string name = json.text();
  const auto lower = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto inner = [&](char c) { return lower(c) || (c >= '0' && c <= '9') || c == '-'; };
  if (name.size() < 2 || !lower(name.front()) || name.back() == '-' || !std::all_of(name.begin(), name.end(), inner))
    json.refuse("a name that is no kernel's");
  return name;
}

std::string git_commit(JsonReader &json) {
  const std::string commit = json.text();
  if ((commit.size() != 40 && commit.size() != 64) || commit.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
    json.refuse("a commit that is no hash");
  return commit;
}

std::string git_url(JsonReader &json) {
  const std::string url = json.text();
  if (!is_git_url(url)) json.refuse("an address that is no git repository's");
  return url;
}

// Rust's blanks.
std::string_view trimmed(std::string_view text) {
  static const std::vector<std::string_view> blanks = {
      " ",      "\t",     "\n",     "\v",     "\f",     "\r",     "\u0085", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003",
      "\u2004", "\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"};
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view blank : blanks) {
      if (text.starts_with(blank)) text.remove_prefix(blank.size()), again = true;
      if (text.ends_with(blank)) text.remove_suffix(blank.size()), again = true;
    }
  }
  return text;
}

std::string three_numbers(JsonReader &json) {
  const std::string whole = json.text();
  std::string_view text = trimmed(whole);
  size_t parts = 0;
  for (bool more = true; more; ++parts) {
    const size_t dot = text.find('.');
    std::string_view part = text.substr(0, dot);
    if (part.starts_with('+')) part.remove_prefix(1);
    uint64_t value = 0;
    bool good = !part.empty();
    for (const char c : part)
      good = good && c >= '0' && c <= '9' && !__builtin_mul_overflow(value, uint64_t{10}, &value) &&
             !__builtin_add_overflow(value, static_cast<uint64_t>(c - '0'), &value);
    if (!good) json.refuse("a version that is no three numbers");
    more = dot != std::string_view::npos;
    if (more) text.remove_prefix(dot + 1);
  }
  if (parts != 3) json.refuse("a version that is no three numbers");
  return whole;
}

void kernel_dependency(JsonReader &json) {
  bool version = false, revision = false;
  structure(json,
            {{{"repo-id"}, [&] { json.text(); }},
             {{"version"}, or_null(json, [&] { json.count(), version = true; }), false},
             {{"revision"}, or_null(json, [&] { json.text(), revision = true; }), false}},
            false);
  if (version == revision) json.refuse("a dependency with both version and revision, or neither");
}

void provenance(JsonReader &json) {
  const auto builder = [&] {
    bool commit = false, dirty = false;
    structure(json, {{{"version"}, [&] { json.text(); }},
                     {{"commit", "sha"}, [&] { git_commit(json), commit = true; }, false, true},
                     {{"dirty"}, [&] { json.boolean(), dirty = true; }, false, true}});
    if (commit != dirty) json.refuse("a commit without 'dirty', or the reverse");
  };
  const auto kernel = [&] { structure(json, {{{"commit", "sha"}, [&] { git_commit(json); }}, {{"dirty"}, [&] { json.boolean(); }}}); };
  structure(json, {{{"kernel-builder"}, builder}, {{"kernel"}, or_null(json, kernel), false}});
}

}  // namespace

PythonMetadata parse_python_metadata(std::string_view text, const std::string &what) {
  PythonMetadata read;
  JsonReader json(text, what);
  const auto backend = [&] {
    structure(json, {{{"type"}, [&] { read.backend = choice(json, {"cann", "cpu", "cuda", "metal", "neuron", "rocm", "tpu", "xpu"}); }},
                     {{"archs"}, or_null(json, [&] { read.archs = texts(json); }), false}});
  };
  const auto files = [&] {
    if (json.kind() != Kind::object) json.refuse("no object where one belongs");
    json.object([&](const std::string &path) { read.digest->files[path] = json.text(); });
  };
  const auto digest = [&] {
    read.digest.emplace();
    structure(json, {{{"algorithm"}, [&] { read.digest->algorithm = choice(json, {"sha256", "sha512"}); }}, {{"files"}, files}});
  };
  const auto dependencies = [&] {
    if (json.kind() != Kind::array) json.refuse("no list where one belongs");
    json.array([&] { kernel_dependency(json); });
  };
  structure(json, {{{"name"}, [&] { read.name = kernel_name(json); }},
                   {{"id"}, [&] { read.id = json.text(); }},
                   {{"version"}, [&] { read.version = json.count(); }},
                   {{"kernels-minver"}, or_null(json, [&] { read.kernels_minver = three_numbers(json); }), false},
                   {{"license"}, [&] { read.license = json.text(); }},
                   {{"upstream"}, or_null(json, [&] { read.upstream = git_url(json); }), false},
                   {{"source"}, or_null(json, [&] { read.source = git_url(json); }), false},
                   {{"python-depends"}, [&] { read.python_depends = texts(json); }},
                   {{"kernel-depends"}, dependencies, false},
                   {{"backend"}, backend},
                   {{"digest"}, or_null(json, digest), false},
                   {{"provenance"}, or_null(json, [&] { provenance(json); }), false}});
  json.end();
  return read;
}

}  // namespace lamina::manifest
