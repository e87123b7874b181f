#include <algorithm>

#include "manifest/bundle.h"
#include "manifest/error.h"
#include "manifest/files.h"
#include "manifest/minisign.h"
#include "manifest/verify.h"
#include "packager/pack.h"

namespace lamina::packager {

namespace fs = std::filesystem;
constexpr uint64_t max_document = 16 << 20;

namespace {

// A signature vouches for all that lies there: so all of it must be there, as listed, and nothing else.
void check_whole(const fs::path &directory, const std::string &expected_variant) {
  manifest::VerifyPolicy policy;
  policy.expected_variant = expected_variant, policy.signatures = manifest::SignaturePolicy::off;
  const manifest::VerifyReport report = manifest::verify_variant_directory(directory, policy);
  for (const manifest::VerifyStep &step : report.steps)
    // metadata.json is derived again in any case; an interrupted signing leaves none.
    if (step.outcome == manifest::VerifyStep::Outcome::failed && step.name != "metadata")
      throw Error(step.kind, directory.string() + ": " + step.detail);
}

}  // namespace

std::vector<fs::path> variant_directories(const fs::path &bundle) {
  if (fs::exists(bundle / manifest::bundle_file)) return {bundle};
  std::vector<fs::path> found;
  if (fs::is_directory(bundle / "build"))
    for (const fs::directory_entry &entry : fs::directory_iterator(bundle / "build"))
      if (entry.is_directory() && fs::exists(entry.path() / manifest::bundle_file)) found.push_back(entry.path());
  if (found.empty())
    throw Error(ErrorKind::not_found,
                bundle.string() + " is not a Lamina bundle: neither it nor a folder of its build/ holds a bundle.json");
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<fs::path> sign(const fs::path &bundle, const fs::path &secret_key) {
  const std::vector<fs::path> directories = variant_directories(bundle);
  const manifest::SecretKey key = manifest::parse_secret_key(manifest::read_file(secret_key, 1 << 16));
  // All of them before the first signature: a bundle is signed whole or not at all.
  for (const fs::path &directory : directories) check_whole(directory, directory == bundle ? "" : directory.filename().string());
  for (const fs::path &directory : directories) {
    const std::string bytes = manifest::read_file(directory / manifest::bundle_file, max_document);
    const manifest::Bundle parsed = manifest::parse_bundle(bytes, (directory / manifest::bundle_file).string());
    const std::string signature = manifest::sign(key, bytes, manifest::bundle_comment(parsed));
    // metadata.json covers the signature: between the two writes the old metadata is wrong, so it goes first.
    fs::remove(directory / manifest::metadata_file);
    manifest::write_file_atomically(directory / manifest::bundle_signature_file, signature);
    manifest::write_file_atomically(directory / manifest::metadata_file, manifest::derive_metadata(bytes, signature));
  }
  return directories;
}

}  // namespace lamina::packager
