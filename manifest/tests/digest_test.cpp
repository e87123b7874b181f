#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "manifest/digest.h"

#include "manifest/tests/support.h"

using namespace lamina;
using namespace lamina::manifest;
using test::error_of;

TEST_CASE("SHA-256 and git blob ids") {
  CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(git_blob_hex("") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
  CHECK(git_blob_hex("hello world\n") == "3b18e512dba79e4c8300dd08aeb37f8e728b8dad");
  Sha256 pieces;
  pieces.add("a");
  pieces.add("");
  pieces.add("bc");
  CHECK(to_hex(pieces.finish()) == sha256_hex("abc"));
  GitBlobSha1 cut(5);
  cut.add("hell");
  error_of(ErrorKind::integrity, [&] { cut.finish(); });
}

TEST_CASE("our git blob id is git's") {
  test::Folder folder;
  std::string bytes;
  for (int i = 0; i < 100000; ++i) bytes += static_cast<char>(i * 7919 >> 3);
  test::write(folder / "blob", bytes);
  CHECK(test::run("git hash-object --no-filters " + (folder / "blob").string()) == git_blob_hex(bytes) + "\n");
  const FileDigest digest = digest_file(folder / "blob");
  CHECK(digest.size == 100000);
  CHECK(test::run("sha256sum < " + (folder / "blob").string()).substr(0, 64) == to_hex(digest.sha256));
  error_of(ErrorKind::not_found, [&] { digest_file(folder / "none"); });
  error_of(ErrorKind::malformed, [&] { digest_file(folder.path()); });
}

TEST_CASE("hexadecimal and base64 are strict") {
  CHECK(to_hex(from_hex("00ff7A").data(), 3) == "00ff7a");
  for (const char *bad : {"0", "0g", "00 ", " 00", "0x00"}) error_of(ErrorKind::malformed, [&] { from_hex(bad); });
  CHECK(to_base64("hello world") == "aGVsbG8gd29ybGQ=");
  CHECK(to_base64("") == "");
  CHECK(from_base64("aGVsbG8gd29ybGQ=") == "hello world");
  CHECK(from_base64("") == "");
  for (const char *bad : {"aGVsbG8gd29ybGQ", "aGVsbG8gd29ybGR=", "aGVs bG8=", "aGVsbG8=\n", "====", "a", "aGVsbG8_", "aGVsbG8gd29ybGQ=="})
    CHECK_MESSAGE(!error_of(ErrorKind::malformed, [&] { from_base64(bad); }).empty(), bad);
}

TEST_CASE("the digest of a variant directory is the kernels library's") {
  test::Folder folder;
  // A vector of that library's own tests.
  test::write(folder / "v/_extension.so", "hello world");
  CHECK(digest_variant(folder / "v") ==
        std::map<std::string, std::string>{{"_extension.so", "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="}});
  // Left out: only what it leaves out, at the depth where it does.
  for (const char *name : {"metadata.json", "metadata.json.sigstore", "a.pyc", "x/__pycache__/y.py", "sub/metadata.json",
                           "sub/metadata.json.sigstore", "pyc", "b.json"})
    test::write(folder / "v" / name, "hello world");
  std::vector<std::string> names;
  for (const auto &[name, digest] : digest_variant(folder / "v")) {
    names.push_back(name);
    CHECK(digest == "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=");
  }
  CHECK(names == std::vector<std::string>{"_extension.so", "b.json", "pyc", "sub/metadata.json", "sub/metadata.json.sigstore"});
}
