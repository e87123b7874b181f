// Downloads on their way into the cache, long enough that a thread hashes behind them.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "hub_client/blob_writer.h"
#include "manifest/digest.h"
#include "manifest/tests/support.h"

using namespace lamina;
using hub::BlobWriter;
using manifest::test::error_of;
namespace fs = std::filesystem;

namespace {

constexpr size_t mega = 1 << 20, pieces_of_libcurl = 16 << 10;

// Bytes in which no two pages are alike.
std::string content(size_t size) {
  std::string bytes(size, '\0');
  uint64_t state = 1;
  for (char &byte : bytes) state = state * 6364136223846793005u + 1442695040888963407u, byte = static_cast<char>(state >> 56);
  return bytes;
}

void send(BlobWriter &blob, std::string_view bytes) {
  for (; !bytes.empty(); bytes.remove_prefix(std::min(pieces_of_libcurl, bytes.size()))) blob.write(bytes.substr(0, pieces_of_libcurl));
}

struct Blobs {
  manifest::test::Folder folder;
  std::string bytes = content(9 * mega + 77), etag = manifest::sha256_hex(bytes);
  const fs::path &path() const { return folder.path(); }
  fs::path unfinished() const { return path() / (etag + ".incomplete"); }
  BlobWriter writer(BlobWriter::Name name = BlobWriter::Name::shared) const { return BlobWriter(path(), etag, bytes.size(), name); }
  bool empty() const { return fs::is_empty(path()); }
};

}  // namespace

TEST_CASE("a long download is named when its hash is right, whichever hash that is") {
  for (const bool git : {false, true}) {
    Blobs blobs;
    if (git) blobs.etag = manifest::git_blob_hex(blobs.bytes);
    BlobWriter blob = blobs.writer();
    send(blob, blobs.bytes);
    CHECK(blob.written() == blobs.bytes.size());
    blob.commit();
    CHECK(manifest::test::read(blobs.path() / blobs.etag) == blobs.bytes);
  }
}

TEST_CASE("one wrong bit anywhere is found") {
  Blobs blobs;
  for (const size_t at : {size_t{0}, 4 * mega, blobs.bytes.size() - 1}) {
    std::string wrong = blobs.bytes;
    wrong[at] = static_cast<char>(wrong[at] ^ 1);
    {
      BlobWriter blob = blobs.writer();
      send(blob, wrong);
      error_of(ErrorKind::integrity, [&] { blob.commit(); });
    }
    CHECK(blobs.empty());
  }
}

TEST_CASE("a download that begins again is hashed again") {
  Blobs blobs;
  BlobWriter blob = blobs.writer();
  send(blob, content(7 * mega).substr(mega));
  blob.restart();
  CHECK(blob.written() == 0);
  send(blob, blobs.bytes);
  blob.commit();
  CHECK(manifest::test::read(blobs.path() / blobs.etag) == blobs.bytes);
}

TEST_CASE("what an earlier process left is hashed, and only the rest is written") {
  Blobs blobs;
  {
    BlobWriter first = blobs.writer();
    send(first, std::string_view(blobs.bytes).substr(0, 6 * mega + 5));
    first.keep();
  }
  CHECK(fs::file_size(blobs.unfinished()) == 6 * mega + 5);
  BlobWriter second = blobs.writer();
  CHECK(second.resumed());
  CHECK(second.written() == 6 * mega + 5);
  send(second, std::string_view(blobs.bytes).substr(6 * mega + 5));
  second.commit();
  CHECK(manifest::test::read(blobs.path() / blobs.etag) == blobs.bytes);
}

TEST_CASE("left-overs with a wrong byte, and files that somebody cuts or lengthens meanwhile, are refused") {
  Blobs blobs;
  std::string left = blobs.bytes.substr(0, 5 * mega);
  left[3 * mega] = static_cast<char>(left[3 * mega] ^ 4);
  manifest::test::write(blobs.unfinished(), left);
  {
    BlobWriter blob = blobs.writer();
    send(blob, std::string_view(blobs.bytes).substr(left.size()));
    error_of(ErrorKind::integrity, [&] { blob.commit(); });
  }
  blobs.bytes.resize(9 * mega);  // all of it is in the file when the last piece was sent
  blobs.etag = manifest::sha256_hex(blobs.bytes);
  for (const size_t size : {3 * mega, blobs.bytes.size() + 1}) {
    BlobWriter blob = blobs.writer();
    send(blob, blobs.bytes);
    fs::resize_file(blobs.unfinished(), size);
    error_of(ErrorKind::integrity, [&] { blob.commit(); });
  }
  CHECK(blobs.empty());
}

TEST_CASE("given up in the middle, nothing remains and no thread is waited for") {
  const Blobs blobs;
  for (int i = 0; i < 20; ++i) {
    BlobWriter blob = blobs.writer(BlobWriter::Name::own);
    send(blob, std::string_view(blobs.bytes).substr(0, static_cast<size_t>(i) * 300'000));
  }
  CHECK(blobs.empty());
}
