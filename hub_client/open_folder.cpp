// A bundle that lies on this disk: a mirror's folder, a packed release, a USB stick.
#include "hub_client/client.h"
#include "manifest/error.h"
#include "manifest/files.h"

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t max_document = 16 << 20;

std::string no_variant(const fs::path &root, const std::vector<Candidate> &candidates) {
  std::string sentence = "no variant of a bundle for this machine under " + root.string();
  for (const Candidate &candidate : candidates) sentence += "; " + candidate.variant + ": " + candidate.reason;
  return sentence;
}

}  // namespace

Fetched Client::open_folder(const fs::path &folder, const FetchOptions &options) const {
  if (!fs::is_directory(folder)) throw Error(ErrorKind::not_found, folder.string() + " is no folder");
  Fetched fetched;
  if (fs::exists(folder / manifest::bundle_file)) {
    fetched.directory = fs::absolute(folder).lexically_normal();
    if (!fetched.directory.has_filename()) fetched.directory = fetched.directory.parent_path();
  } else {
    const fs::path root = fs::exists(folder / "build") ? folder / "build" : folder;
    std::vector<std::string> variants;
    for (const fs::directory_entry &entry : fs::directory_iterator(root))
      if (fs::exists(entry.path() / manifest::bundle_file)) variants.push_back(entry.path().filename().string());
    choose(fetched, variants, options);
    if (variants.empty()) throw Error(ErrorKind::not_found, folder.string() + " holds no bundle: no bundle.json, and none in build/*/");
    if (!fetched.candidates.front().reason.empty()) throw Error(ErrorKind::unsupported, no_variant(root, fetched.candidates));
    fetched.variant = fetched.candidates.front().variant;
    fetched.directory = fs::absolute(root / fetched.variant).lexically_normal();
  }
  // The name that it bears decides whose key must have signed it; verify() then holds the document to that name.
  const fs::path document = fetched.directory / manifest::bundle_file;
  const manifest::Bundle claimed = manifest::parse_bundle(manifest::read_file(document, max_document), document.string());
  fetched.repository = claimed.repo;
  if (fetched.variant.empty()) {
    fetched.variant = claimed.variant;
    fetched.candidates = {{claimed.variant, "", {}}};
  }
  verify(fetched, options);
  read_documents(fetched);
  choose_build(fetched, options);
  if (!options.resolve_only && !fs::exists(fetched.directory / fetched.build.file))
    throw Error(ErrorKind::not_found, (fetched.directory / fetched.build.file).string() + " is listed and not there");
  return fetched;
}

}  // namespace lamina::hub
