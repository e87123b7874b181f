#include "hub_client/inventory.h"

#include <algorithm>

#include "hub_client/cache.h"
#include "hub_client/repository_store.h"
#include "manifest/error.h"
#include "manifest/files.h"

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> folders_of(const fs::path &path) {
  std::vector<fs::path> found;
  if (!fs::is_directory(path)) return found;
  for (const fs::directory_entry &entry : fs::directory_iterator(path))
    if (entry.is_directory()) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

void measure(CachedBundle &bundle) {
  for (const fs::directory_entry &entry : fs::recursive_directory_iterator(bundle.directory)) {
    std::error_code dangling;
    const uint64_t size = fs::file_size(entry.path(), dangling);
    if (!dangling && fs::is_regular_file(entry.path())) bundle.bytes += size, ++bundle.files;
  }
}

}  // namespace

std::string CachedBundle::state() const {
  for (const manifest::VerifyStep &step : report.steps) {
    if (step.outcome != manifest::VerifyStep::Outcome::failed) continue;
    if (step.kind == ErrorKind::untrusted) return "untrusted";
    const bool unsigned_bundle = step.name == "signature" && !fs::exists(directory / manifest::bundle_signature_file);
    return unsigned_bundle ? "unsigned" : "damaged";
  }
  return "trusted";
}

std::string CachedBundle::problem() const {
  for (const manifest::VerifyStep &step : report.steps)
    if (step.outcome == manifest::VerifyStep::Outcome::failed) return step.detail;
  return "";
}

std::vector<std::pair<std::string, fs::path>> cached_repositories(const fs::path &cache) {
  std::vector<std::pair<std::string, fs::path>> found;
  for (const fs::path &folder : folders_of(cache)) {
    const std::string name = folder.filename().string();
    if (!name.starts_with("kernels--")) continue;
    const std::string rest = name.substr(9);
    const size_t dashes = rest.find("--");
    if (dashes == std::string::npos) continue;
    const std::string repository = rest.substr(0, dashes) + "/" + rest.substr(dashes + 2);
    if (valid_repository_name(repository)) found.emplace_back(repository, folder);
  }
  return found;
}

manifest::VerifyReport verify_cached(const fs::path &directory, const std::string &repository, const TrustStore &trust) {
  manifest::VerifyPolicy policy;
  policy.expected_repo = repository, policy.expected_variant = directory.filename().string(), policy.partial = true;
  policy.trusted_keys = trust.keys(repository.substr(0, repository.find('/')));
  return manifest::verify_variant_directory(directory, policy);
}

std::vector<CachedBundle> list_cache(const fs::path &cache, const TrustStore &trust) {
  std::vector<CachedBundle> bundles;
  for (const auto &[repository, folder] : cached_repositories(cache)) {
    const std::map<std::string, std::string> refs = RepositoryCache(cache, repository).refs();
    for (const fs::path &snapshot : folders_of(folder / "snapshots"))
      for (const fs::path &variant : folders_of(snapshot / "build")) {
        if (!fs::exists(variant / manifest::bundle_file)) continue;
        CachedBundle bundle;
        bundle.repository = repository, bundle.commit = snapshot.filename().string(), bundle.variant = variant.filename().string();
        bundle.directory = variant;
        for (const auto &[name, commit] : refs)
          if (commit == bundle.commit) bundle.revisions.push_back(name);
        measure(bundle);
        bundle.report = verify_cached(variant, repository, trust);
        bundles.push_back(std::move(bundle));
      }
  }
  return bundles;
}

}  // namespace lamina::hub
