#include "hub_client/snapshot.h"

#include <algorithm>

#include "hub_client/cache.h"
#include "hub_client/client.h"
#include "manifest/digest.h"
#include "manifest/error.h"
#include "manifest/files.h"
#include "manifest/verify.h"

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t long_file = 1 << 20;  // as lamina serve has it

// In the cache a file is a link to a blob that has the hub's name for it.  Elsewhere builds and long files are named as LFS does, the rest
// as git does.
std::string etag_of(const fs::path &file, const std::string &sha256, uint64_t size) {
  std::error_code no_link;
  const std::string blob = fs::read_symlink(file, no_link).filename().string();
  if (!no_link && valid_etag(blob)) {
    if (!file_matches(file, blob, size))
      throw Error(ErrorKind::integrity, file.string() + " is not what its blob's name says; run lamina repair");
    return blob;
  }
  // LFS's name is the very hash that bundle.json lists: a client need not compute another one of a long file.
  return file.extension() == ".so" || size > long_file ? sha256 : manifest::git_blob_hex(manifest::read_file(file, max_snapshot_file));
}

void add_variant(Snapshot &snapshot, const fs::path &directory, const std::string &expected_variant, bool partial) {
  manifest::VerifyPolicy policy;
  policy.expected_repo = snapshot.repository, policy.expected_variant = expected_variant, policy.partial = partial;
  policy.signatures = manifest::SignaturePolicy::off;
  const manifest::VerifyReport report = manifest::verify_variant_directory(directory, policy);
  report.throw_if_failed();
  const manifest::Bundle &bundle = *report.bundle;
  if (!fs::exists(directory / manifest::bundle_signature_file))
    throw Error(ErrorKind::signature, directory.string() + " is not signed, so nobody could import it; run lamina sign first");
  const std::string branch = "v" + std::to_string(bundle.major());
  if (!snapshot.branch.empty() && snapshot.branch != branch)
    throw Error(ErrorKind::malformed, directory.string() + " is of " + branch + ", another variant beside it of " + snapshot.branch);
  snapshot.repository = bundle.repo, snapshot.branch = branch, snapshot.variants[bundle.variant] = bundle.counter;
  std::vector<std::string> names = {manifest::bundle_file, manifest::bundle_signature_file, manifest::metadata_file};
  for (const manifest::BundleEntry &entry : bundle.files) names.push_back(entry.path);
  for (const std::string &name : names) {
    const fs::path file = directory / name;
    const std::string path = "build/" + bundle.variant + "/" + name;
    if (!fs::exists(file)) {
      snapshot.absent.push_back(path);
      continue;
    }
    const manifest::FileDigest digest = manifest::digest_file(file);
    const std::string sha256 = manifest::to_hex(digest.sha256);
    if (const manifest::BundleEntry *entry = bundle.file(name); entry && entry->sha256 != sha256)
      throw Error(ErrorKind::integrity, file.string() + " changed while it was read");
    snapshot.files[path] = {file, etag_of(file, sha256, digest.size), sha256, digest.size};
  }
}

Snapshot read_folder(const fs::path &folder) {
  Snapshot snapshot;
  if (fs::exists(folder / manifest::bundle_file)) {
    add_variant(snapshot, folder, "", false);
  } else {
    for (const fs::directory_entry &entry : fs::directory_iterator(folder / "build"))
      add_variant(snapshot, entry.path(), entry.path().filename().string(), false);
  }
  std::string lines;
  for (const auto &[path, file] : snapshot.files) lines += path + " " + file.etag + "\n";
  snapshot.commit = manifest::sha256_hex(lines).substr(0, 40);
  return snapshot;
}

Snapshot read_cache(const std::string &source, const Environment &environment) {
  Snapshot snapshot;
  std::string revision;
  std::tie(snapshot.repository, revision) = parse_specification(source);
  const RepositoryCache cache(environment.cache, snapshot.repository);
  if (revision.empty())
    for (const auto &[name, commit] : cache.refs())
      if (version_of_ref(name) > version_of_ref(revision)) revision = name;
  snapshot.commit = valid_commit(revision) ? revision : revision.empty() ? "" : cache.ref(revision);
  const fs::path build = cache.snapshot(snapshot.commit) / "build";
  if (snapshot.commit.empty() || !fs::is_directory(build))
    throw Error(ErrorKind::not_found, source + " is neither a bundle's folder nor in the cache " + environment.cache.string() +
                                          "; name a folder that lamina pack made, or run lamina fetch " + source + " first");
  for (const fs::directory_entry &entry : fs::directory_iterator(build))
    // A variant that another program fetched and that no bundle.json covers cannot be vouched for.
    if (fs::exists(entry.path() / manifest::bundle_file)) add_variant(snapshot, entry.path(), entry.path().filename().string(), true);
  return snapshot;
}

}  // namespace

Snapshot read_snapshot(const std::string &source, const Environment &environment) {
  const bool folder = fs::exists(fs::path(source) / manifest::bundle_file) || fs::is_directory(fs::path(source) / "build");
  if (!folder && fs::exists(source))
    throw Error(ErrorKind::not_found, source + " is not a Lamina bundle: it has neither build/ nor bundle.json");
  Snapshot snapshot = folder ? read_folder(source) : read_cache(source, environment);
  if (snapshot.files.empty()) throw Error(ErrorKind::not_found, source + " holds no variant with a bundle.json");
  return snapshot;
}

std::string read_snapshot_file(const std::string &path, const SnapshotFile &file) {
  std::string bytes = manifest::read_file(file.file, max_snapshot_file);
  if (manifest::sha256_hex(bytes) != file.sha256) throw Error(ErrorKind::integrity, path + " changed while it was read");
  return bytes;
}

}  // namespace lamina::hub
