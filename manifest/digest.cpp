#include "manifest/digest.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include <cerrno>
#include <cstring>

#include "manifest/error.h"
#include "manifest/files.h"

namespace lamina::manifest {

namespace {

constexpr size_t piece_bytes = 64 << 10;  // the heap keeps it from file to file; more would be fresh pages each time

struct FreeContext {
  void operator()(EVP_MD_CTX *context) const { EVP_MD_CTX_free(context); }
};

class Hash {
 public:
  explicit Hash(const EVP_MD *method) : context_(EVP_MD_CTX_new()) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), method, nullptr) != 1) broken();
  }
  void add(const void *bytes, size_t size) {
    if (EVP_DigestUpdate(context_.get(), bytes, size) != 1) broken();
  }
  template <size_t size>
  std::array<unsigned char, size> finish() {
    std::array<unsigned char, size> value;
    unsigned length = 0;
    if (EVP_DigestFinal_ex(context_.get(), value.data(), &length) != 1 || length != size) broken();
    return value;
  }

 private:
  [[noreturn]] static void broken() { throw Error(ErrorKind::internal, "libcrypto refused to hash"); }
  std::unique_ptr<EVP_MD_CTX, FreeContext> context_;
};

}  // namespace

struct Sha256::State {
  Hash hash{EVP_sha256()};
};
Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256 &&) noexcept = default;
Sha256 &Sha256::operator=(Sha256 &&) noexcept = default;
void Sha256::add(const void *bytes, size_t size) { state_->hash.add(bytes, size); }
Sha256Value Sha256::finish() { return state_->hash.finish<32>(); }

struct GitBlobSha1::State {
  Hash hash{EVP_sha1()};
  uint64_t size, added = 0;
};
GitBlobSha1::GitBlobSha1(uint64_t size) : state_(new State{.size = size}) {
  const std::string header = "blob " + std::to_string(size);
  state_->hash.add(header.c_str(), header.size() + 1);
}
GitBlobSha1::~GitBlobSha1() = default;
GitBlobSha1::GitBlobSha1(GitBlobSha1 &&) noexcept = default;
GitBlobSha1 &GitBlobSha1::operator=(GitBlobSha1 &&) noexcept = default;
void GitBlobSha1::add(const void *bytes, size_t size) {
  state_->hash.add(bytes, size);
  state_->added += size;
}
Sha1Value GitBlobSha1::finish() {
  if (state_->added != state_->size)
    throw Error(ErrorKind::integrity,
                "got " + std::to_string(state_->added) + " bytes where " + std::to_string(state_->size) + " were promised");
  return state_->hash.finish<20>();
}

Sha256Value sha256(std::string_view bytes) {
  Sha256 hash;
  hash.add(bytes);
  return hash.finish();
}
std::string sha256_hex(std::string_view bytes) { return to_hex(sha256(bytes)); }
std::string git_blob_hex(std::string_view bytes) {
  GitBlobSha1 hash(bytes.size());
  hash.add(bytes);
  return to_hex(hash.finish());
}

FileDigest digest_file(const std::filesystem::path &path) {
  const auto fail = [&](int code) { return Error(kind_of_errno(code), "cannot read " + path.string() + ": " + std::strerror(code)); };
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) throw fail(errno);
  const std::unique_ptr<const int, void (*)(const int *)> closer(&file, [](const int *number) { ::close(*number); });
  struct stat status{};
  if (::fstat(file, &status) != 0) throw fail(errno);
  if (!S_ISREG(status.st_mode)) throw Error(ErrorKind::malformed, path.string() + " is not a regular file");
  Sha256 hash;
  FileDigest digest;
  const auto piece = std::make_unique_for_overwrite<char[]>(piece_bytes);
  for (;;) {
    const ssize_t got = ::read(file, piece.get(), piece_bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw fail(errno);
    if (got == 0) break;
    hash.add(piece.get(), static_cast<size_t>(got));
    digest.size += static_cast<uint64_t>(got);
  }
  digest.sha256 = hash.finish();
  return digest;
}

bool digest_excludes(std::string_view path) {
  if (path == "metadata.json" || path == "metadata.json.sigstore" || path.ends_with(".pyc")) return true;
  return ("/" + std::string(path) + "/").find("/__pycache__/") != std::string::npos;
}

std::map<std::string, std::string> digest_variant(const std::filesystem::path &variant) {
  std::map<std::string, std::string> digests;
  for (const std::string &path : list_files(variant)) {
    if (digest_excludes(path)) continue;
    const Sha256Value value = digest_file(variant / path).sha256;
    digests[path] = to_base64({reinterpret_cast<const char *>(value.data()), value.size()});
  }
  return digests;
}

}  // namespace lamina::manifest
