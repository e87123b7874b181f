#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "manifest/json.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <cerrno>
#include <csignal>

#include "manifest/tests/support.h"

using namespace lamina;
using namespace lamina::manifest;
using test::error_of;
using test::has;

namespace {
std::string refused(const std::string &text, const JsonLimits &limits = {}) {
  return error_of(ErrorKind::malformed, [&] { parse_json(text, "x.json", limits); });
}
}  // namespace

TEST_CASE("well-formed JSON is read") {
  const Json json = parse_json(R"({"a": [1, 2.5, "\u00e9", null, true], "b": {"a": 1}})", "x.json");
  CHECK(json["a"][2] == "\xC3\xA9");
  CHECK(json["b"]["a"] == 1);
  CHECK(parse_json("3", "x") == 3);
}

TEST_CASE("what is not exactly one JSON text within bounds is refused") {
  for (const char *text : {"", " ", "{", "{}}", "{} x", "[1,]", "{\"a\":1,}", "// c\n{}", "/* */{}", "nul", "NaN", "[1 2]", "'a'", "{a:1}",
                           "01", "1e999", "\"\\ud800\"", "\"\x01\""})
    CHECK_MESSAGE(has(refused(text), "x.json"), text);
  CHECK(has(refused("\xEF\xBB\xBF{}"), "byte order mark"));
  CHECK(has(refused(std::string("{}\0junk", 7)), "NUL"));
  for (const char *text : {"\"\xFF\"", "\"\xC0\xAF\"", "\"\xED\xA0\x80\"", "\"\xF4\x90\x80\x80\"", "\xFF"}) refused(text);
}

TEST_CASE("a key twice is refused at any depth, unless allowed") {
  CHECK(has(refused(R"({"a": 1, "a": 2})"), "\"a\" appears twice"));
  refused(R"([{"b": {"a": 1, "c": {"a": 3}, "a": 2}}])");
  refused(R"({"a": 1, "\u0061": 2})");
  CHECK(parse_json(R"({"a": {"a": 1}, "b": {"a": 2}})", "x")["b"]["a"] == 2);
  CHECK(parse_json(R"({"b": {"a": 1}, "a": 2})", "x")["a"] == 2);
  CHECK(parse_json(R"({"a": 1, "a": 2})", "x", {.duplicate_keys = true})["a"] == 2);
}

TEST_CASE("size and depth have limits") {
  CHECK(has(refused("[1, 2, 3]", {.max_bytes = 8}), "longer than the 8 bytes"));
  parse_json("[1, 2, 3]", "x", {.max_bytes = 9});
  const auto nested = [](int depth) { return std::string(static_cast<size_t>(depth), '[') + std::string(static_cast<size_t>(depth), ']'); };
  parse_json(nested(64), "x");
  CHECK(has(refused(nested(65)), "nested deeper than 64"));
  refused(std::string(1'000'000, '['));
  std::string objects;
  for (int i = 0; i < 65; ++i) objects += "{\"a\":";
  CHECK(has(refused(objects), "nested deeper"));
}

TEST_CASE("written JSON is the same every time and reads back") {
  Json json;
  json["b"] = {1, 2.5, 1e-5};
  json["a"] = "\xC3\xA9";
  CHECK(write_json(json) == "{\n  \"a\": \"\xC3\xA9\",\n  \"b\": [\n    1,\n    2.5,\n    1e-05\n  ]\n}\n");
  CHECK(parse_json(write_json(json), "x") == json);
  error_of(ErrorKind::malformed, [] { write_json(Json("\xFF")); });
}

TEST_CASE("files are read within bounds") {
  test::Folder folder;
  test::write(folder / "a", "hello");
  CHECK(read_file(folder / "a", 5) == "hello");
  CHECK(has(error_of(ErrorKind::malformed, [&] { read_file(folder / "a", 4); }), "longer than the 4 bytes"));
  CHECK(has(error_of(ErrorKind::not_found, [&] { read_file(folder / "b", 4); }), "/b: No such file"));
  error_of(ErrorKind::malformed, [&] { read_file(folder.path(), 4); });
  REQUIRE(mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK(has(error_of(ErrorKind::malformed, [&] { read_file(folder / "fifo", 4); }), "not a regular file"));
  CHECK(read_file("/proc/self/status", 1 << 20).starts_with("Name:"));
  error_of(ErrorKind::malformed, [&] { read_file("/proc/self/status", 10); });
}

TEST_CASE("files appear whole, with their mode, and leave nothing else behind") {
  test::Folder folder;
  write_file_atomically(folder / "key", "one", 0600);
  write_file_atomically(folder / "key", "two", 0600);
  CHECK(test::read(folder / "key") == "two");
  struct stat status{};
  REQUIRE(stat((folder / "key").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0600);
  CHECK(list_files(folder.path()) == std::vector<std::string>{"key"});
  error_of(ErrorKind::not_found, [&] { write_file_atomically(folder / "no/key", "x"); });
  std::filesystem::create_directory(folder / "taken");
  test::write(folder / "taken/x", "");
  error_of(ErrorKind::io, [&] { write_file_atomically(folder / "taken", "x"); });
  CHECK(list_files(folder.path()) == std::vector<std::string>{"key", "taken/x"});
}

TEST_CASE("a write that fails midway leaves the old file and nothing else") {
  test::Folder folder;
  test::write(folder / "file", "old");
  struct rlimit before{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small{1000, before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  const std::string sentence = error_of(ErrorKind::io, [&] { write_file_atomically(folder / "file", std::string(5000, 'x')); });
  REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
  CHECK(has(sentence, "cannot write"));
  CHECK(test::read(folder / "file") == "old");
  CHECK(list_files(folder.path()) == std::vector<std::string>{"file"});
}

TEST_CASE("errno has a kind") {
  CHECK(kind_of_errno(ENOSPC) == ErrorKind::no_space);
  CHECK(kind_of_errno(EDQUOT) == ErrorKind::no_space);
  CHECK(kind_of_errno(EROFS) == ErrorKind::permission);
  CHECK(kind_of_errno(EIO) == ErrorKind::io);
}

TEST_CASE("relative paths") {
  for (const char *good : {"a", "a/b.so", "build/torch-stable-abi29-cpu-x86_64-linux/x_1.json", ".gitattributes", "a/..b", "__init__.py"})
    check_relative_path(good);
  for (const char *bad : {"", "/a", "a/", "a//b", "..", "a/../b", ".", "./a", "-a", "a/-b", "a b", "a\\b", "a\nb", "a:b", "\xC3\xA9", "a/~",
                          "a%2e", "a\x1b[31m"})
    CHECK_MESSAGE(has(error_of(ErrorKind::malformed, [&] { check_relative_path(bad); }), "not allowed"), bad);
  check_relative_path(std::string(255, 'a'));
  error_of(ErrorKind::malformed, [] { check_relative_path(std::string(256, 'a')); });
  std::string deep = "a";
  while (deep.size() < 4095) deep += "/a";
  check_relative_path(deep);
  error_of(ErrorKind::malformed, [&] { check_relative_path(deep + "/ab"); });
  error_of(ErrorKind::malformed, [&] { check_relative_path(std::string("a\0b", 3)); });
  CHECK(!has(error_of(ErrorKind::malformed, [] { check_relative_path("a\x1b[31m"); }), "\x1b"));
  for (const char *bytecode : {"a.pyc", "x/__pycache__/y", "__pycache__"}) {
    error_of(ErrorKind::malformed, [&] { check_relative_path(bytecode); });
    check_relative_path(bytecode, Bytecode::allowed);
  }
}

TEST_CASE("listing files follows links to files only") {
  test::Folder folder;
  test::write(folder / "blobs/1", "x");
  test::write(folder / "s/b/z", "");
  std::filesystem::create_symlink("../../blobs/1", folder / "s/b/link");
  CHECK(list_files(folder / "s") == std::vector<std::string>{"b/link", "b/z"});
  error_of(ErrorKind::malformed, [&] { list_files(folder / "s", 1); });
  std::filesystem::create_symlink("nowhere", folder / "s/dangling");
  CHECK(has(error_of(ErrorKind::malformed, [&] { list_files(folder / "s"); }), "dangling"));
  std::filesystem::remove(folder / "s/dangling");
  std::filesystem::create_directory_symlink("../blobs", folder / "s/folder");
  CHECK(has(error_of(ErrorKind::malformed, [&] { list_files(folder / "s"); }), "link to a folder"));
  error_of(ErrorKind::not_found, [&] { list_files(folder / "none"); });
}

TEST_CASE("every kind has its own name and exit code") {
  CHECK(exit_code(ErrorKind::not_found) == 3);
  CHECK(std::string(name_of(ErrorKind::interrupted)) == "interrupted");
  CHECK(exit_code(ErrorKind::interrupted) == 130);
}
