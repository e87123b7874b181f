// metadata.json of any publisher; metadata_agrees.py compares thousands with the library that reads them in Python.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "manifest/python_metadata.h"

#include "manifest/git_url.h"
#include "manifest/json_reader.h"
#include "manifest/tests/support.h"

using namespace lamina;
using namespace lamina::manifest;
using test::error_of;
using test::has;

namespace {

constexpr const char *good =
    R"({"name": "some-kernel", "id": "_some", "version": 3, "license": "MIT", "python-depends": ["einops"], "backend": {"type": "cuda", "archs": ["9.0a"]}, )"
    R"("digest": {"algorithm": "sha512", "files": {"a": "b", "a": "c"}}, "source": "git@example.com:a/b.git", "extra": {"\ud800": [1e999, -0.0]}})";

std::string changed(const std::string &from, const std::string &to) {
  std::string text = good;
  REQUIRE(has(text, from));
  return text.replace(text.find(from), from.size(), to);
}
bool accepted(const std::string &text) {
  try {
    parse_python_metadata(text, "metadata.json");
    return true;
  } catch (const Error &error) { CHECK(error.kind == ErrorKind::malformed); }
  return false;
}

}  // namespace

TEST_CASE("what stands in it is read") {
  const PythonMetadata read = parse_python_metadata(good, "metadata.json");
  CHECK(read.name == "some-kernel");
  CHECK(read.version == 3);
  CHECK(read.backend == "cuda");
  CHECK(read.archs == std::vector<std::string>{"9.0a"});
  CHECK(read.python_depends == std::vector<std::string>{"einops"});
  CHECK(read.digest->files == std::map<std::string, std::string>{{"a", "c"}});
  CHECK(read.source == "git@example.com:a/b.git");
  CHECK(!read.upstream);
  CHECK(parse_python_metadata(" \n\t\r" + changed("some-kernel", R"(\u0061\u002db)") + "\n", "").name == "a-b");
  CHECK(parse_python_metadata(changed("_some", R"(\ud83d\ude00\n)"), "").id == "\xf0\x9f\x98\x80\n");
}

TEST_CASE("each member may be wrong in its own way") {
  CHECK(accepted(changed("\"MIT\"", "\"\"")));
  CHECK(accepted(changed("{\"type\": \"cuda\", \"archs\": [\"9.0a\"]}", "[{\"rocm\": null}, null]")));
  CHECK(accepted(changed("3", "18446744073709551615")));
  for (const auto &[from, to] : std::vector<std::pair<const char *, const char *>>{{"some-kernel", "some-kernel-"},
                                                                                   {"some-kernel", "s"},
                                                                                   {"3", "18446744073709551616"},
                                                                                   {"3", "3.0"},
                                                                                   {"3", "-0"},
                                                                                   {"3", "03"},
                                                                                   {"\"MIT\"", "null"},
                                                                                   {"\"license\"", "\"licence\""},
                                                                                   {"\"extra\"", "\"name\""},
                                                                                   {"[\"einops\"]", "[1]"},
                                                                                   {"\"cuda\"", "\"npu\""},
                                                                                   {"sha512", "md5"},
                                                                                   {"git@example.com:a/b.git", "a/b"},
                                                                                   {"1e999", "1e"},
                                                                                   {"1e999", "NaN"},
                                                                                   {"_some", "\\ud800"},
                                                                                   {"_some", "\xff"}}) {
    CHECK_MESSAGE(!accepted(changed(from, to)), to);
  }
  CHECK(!accepted(std::string(good) + "x"));
  CHECK(!accepted("\xef\xbb\xbf" + std::string(good)));
  CHECK(!accepted(""));
  CHECK(has(error_of(ErrorKind::malformed, [] { parse_python_metadata("{\"name\": 1}", "build/x/metadata.json"); }),
            "build/x/metadata.json: no text"));
}

TEST_CASE("what is skipped may be as deep as it likes") {
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  CHECK(accepted(changed("[1e999, -0.0]", deep)));
  CHECK(!accepted(changed("[1e999, -0.0]", deep + "]")));
}

TEST_CASE("addresses of git repositories") {
  for (const char *url : {"https://example.com/a", "HTTP://u:p@h:80", "ssh://git@h/x", "git+ssh://h", "ssh:x", "git@h:x", "1x:y",
                          "https:/h", "https://[::1]/", "http://0x7f.1"})
    CHECK_MESSAGE(is_git_url(url), url);
  for (const char *url : {"", "x", "/x", "ftp://h/x", "file:///x", "h:x", "https://", "https://h:65536", "https://a b", "https://1.2.3.256",
                          "git@h:/x", "git@:x", "ssh://a b", "https://[::1"})
    CHECK_MESSAGE(!is_git_url(url), url);
}
