// lamina list: the bundles in the cache.
#include <cstdio>

#include "fetch/progress.h"
#include "hub_client/inventory.h"
#include "manifest/json.h"
#include "verbs.h"

namespace lamina::cli {
namespace {

using manifest::Json;

struct Options {
  bool json = false;
};

std::string joined(const std::vector<std::string> &words, const std::string &otherwise) {
  std::string text;
  for (const std::string &word : words) text += (text.empty() ? "" : ",") + word;
  return text.empty() ? otherwise : text;
}

std::string signer(const hub::CachedBundle &bundle) { return bundle.report.signed_by ? bundle.report.signed_by->id_text() : ""; }

Json as_json(const std::vector<hub::CachedBundle> &bundles, const std::string &cache) {
  Json list = Json::array();
  for (const hub::CachedBundle &bundle : bundles)
    list.push_back({{"repository", bundle.repository},
                    {"commit", bundle.commit},
                    {"revisions", bundle.revisions},
                    {"variant", bundle.variant},
                    {"version", bundle.version()},
                    {"directory", bundle.directory.string()},
                    {"files", bundle.files},
                    {"bytes", bundle.bytes},
                    {"state", bundle.state()},
                    {"signed_by", signer(bundle)},
                    {"problem", bundle.problem()}});
  return {{"schema", "lamina/list/1"}, {"cache", cache}, {"bundles", list}};
}

void list(const Options &options) {
  const hub::Environment environment = hub::read_environment();
  const hub::TrustStore trust(environment.trust_file, environment.site_trust_file);
  const std::vector<hub::CachedBundle> bundles = hub::list_cache(environment.cache, trust);
  if (options.json) {
    std::fputs(manifest::write_json(as_json(bundles, environment.cache.string())).c_str(), stdout);
    return;
  }
  if (bundles.empty()) {
    std::printf("no bundle in %s; lamina fetch ORG/NAME brings one\n", environment.cache.c_str());
    return;
  }
  size_t repository = 10, variant = 7;
  for (const hub::CachedBundle &bundle : bundles)
    repository = std::max(repository, bundle.repository.size()), variant = std::max(variant, bundle.variant.size());
  const auto row = [&](const std::string &name, const char *revision, const char *commit, const std::string &build, const char *version,
                       const std::string &size, const std::string &state) {
    std::printf("%-*s  %-8s  %-8s  %-*s  %-8s  %9s  %s\n", static_cast<int>(repository), name.c_str(), revision, commit,
                static_cast<int>(variant), build.c_str(), version, size.c_str(), state.c_str());
  };
  row("repository", "revision", "commit", "variant", "version", "size", "signature");
  for (const hub::CachedBundle &bundle : bundles) {
    const std::string state = bundle.state() + (signer(bundle).empty() ? "" : " " + signer(bundle));
    row(bundle.repository, joined(bundle.revisions, "-").c_str(), bundle.commit.substr(0, 8).c_str(), bundle.variant,
        bundle.version().c_str(), bytes_text(bundle.bytes), state);
    if (!bundle.problem().empty()) std::printf("    %s\n", bundle.problem().c_str());
  }
}

}  // namespace

void add_list(CLI::App &app) {
  auto options = std::make_shared<Options>();
  CLI::App *verb = app.add_subcommand(
      "list",
      "The bundles in the cache.  Each is verified as fetch would: every file that is there is hashed, and the signature is\n"
      "checked against the keys that are trusted here.\n\n"
      "  revision    the version that leads to it, such as v1; - when only its commit does\n"
      "  signature   trusted KEY, untrusted (nobody here knows the key), unsigned, or damaged\n\n"
      "A damaged one: lamina repair removes what is wrong, lamina fetch brings it again.\n\n"
      "  lamina list --json");
  verb->add_flag("--json", options->json, "one JSON object, with whole commits, folders and bytes");
  verb->callback([options] { list(*options); });
}

}  // namespace lamina::cli
