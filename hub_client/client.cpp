#include "hub_client/client.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "hub_client/cache.h"
#include "hub_client/server_routes.h"
#include "hub_client/trust.h"
#include "manifest/error.h"
#include "manifest/json.h"

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;
using manifest::Json;

constexpr int max_pages = 1000;
constexpr size_t max_entries = 100000;
constexpr uint64_t max_file = uint64_t{2} << 30, max_document = 16 << 20;

struct Entry {
  std::string etag;
  uint64_t size = 0;
};
using Listing = std::map<std::string, Entry>;  // path below the repository -> file

void say(const FetchOptions &options, const std::string &sentence) {
  if (options.log) options.log(sentence);
}

// The address of the next page, which must be the hub's own.
std::string next_page(const HttpAnswer &answer, const std::string &endpoint) {
  const std::string link = answer.header("link");
  const size_t open = link.find('<'), close = link.find('>');
  if (open == std::string::npos || close == std::string::npos || close < open || link.find("rel=\"next\"") == std::string::npos) return "";
  const std::string url = link.substr(open + 1, close - open - 1);
  if (origin_of(url) != origin_of(endpoint))
    throw Error(ErrorKind::network, "the hub's listing continues on another host, which is refused");
  return url;
}

Listing list_build(const Http &http, const std::string &repository, const std::string &commit) {
  Listing listing;
  std::string url = "/api/kernels/" + repository + "/tree/" + commit + "/build?recursive=true&expand=false";
  for (int page = 0; !url.empty(); ++page) {
    if (page == max_pages) throw Error(ErrorKind::integrity, "the hub's listing of " + repository + " does not end");
    const HttpAnswer answer = http.expect({"GET", url, {}, "", 32 << 20, {}, {}, true}, "the listing of " + repository);
    for (const Json &item : manifest::parse_json(answer.body, "the listing of " + repository, {32 << 20, 16, true})) {
      if (item.value("type", "") != "file") continue;
      const std::string path = item.at("path").get<std::string>();
      manifest::check_relative_path(path, manifest::Bytecode::allowed);
      Entry entry{item.at("oid").get<std::string>(), item.at("size").get<uint64_t>()};
      if (item.contains("lfs") && item["lfs"].is_object())
        entry = {item["lfs"].at("oid").get<std::string>(), item["lfs"].at("size").get<uint64_t>()};
      if (!valid_etag(entry.etag)) throw Error(ErrorKind::integrity, path + ": the hub names it by something that is no hash");
      if (entry.size > max_file) throw Error(ErrorKind::integrity, path + " is larger than any bundle's file may be");
      if (listing.size() >= max_entries || !listing.emplace(path, entry).second)
        throw Error(ErrorKind::integrity, "the hub's listing of " + repository + " repeats itself or is too long");
    }
    url = next_page(answer, http.environment().endpoint);
  }
  return listing;
}

// Branch -> commit, and the revision that the specification means.
std::string commit_for(const Http &http, Fetched &fetched) {
  if (valid_commit(fetched.revision)) return fetched.revision;
  const HttpAnswer answer =
      http.expect({"GET", "/api/kernels/" + fetched.repository + "/refs", {}, "", 4 << 20, {}, {}, true}, fetched.repository);
  std::map<long, std::string> versions;
  std::string found;
  const Json refs = manifest::parse_json(answer.body, "the refs of " + fetched.repository, {4 << 20, 16, true});
  for (const Json &branch : refs.at("branches")) {
    const std::string name = branch.at("name").get<std::string>(), commit = branch.at("targetCommit").get<std::string>();
    if (name == fetched.revision) found = commit;
    if (name.size() > 1 && name.size() < 8 && name[0] == 'v' && name.find_first_not_of("0123456789", 1) == std::string::npos)
      versions[std::stol(name.substr(1))] = commit;
  }
  if (fetched.revision.empty() && !versions.empty())
    fetched.revision = "v" + std::to_string(versions.rbegin()->first), found = versions.rbegin()->second;
  if (found.empty()) {
    std::string known;
    for (const auto &[number, commit] : versions) known += " v" + std::to_string(number);
    throw Error(ErrorKind::not_found,
                fetched.repository + " has no revision '" + fetched.revision + "'; it has" + (known.empty() ? " no version" : known));
  }
  if (!valid_commit(found)) throw Error(ErrorKind::integrity, "the hub names a commit by something that is no hash");
  return found;
}

class Downloader {
 public:
  Downloader(const Http &http, RepositoryCache &cache, const Fetched &fetched, const FetchOptions &options)
      : http_(http), cache_(cache), fetched_(fetched), options_(options) {}

  void get(const std::string &path, const Entry &entry) {
    if (cache_.blob(entry.etag, entry.size).empty()) {
      say(options_, "downloading " + path + " (" + std::to_string(entry.size) + " bytes)");
      const auto blob = cache_.write_blob(entry.etag, entry.size);
      std::string url = "/kernels/" + fetched_.repository + "/resolve/" + fetched_.commit;
      for (size_t at = 0; at <= path.size();) {
        const size_t slash = std::min(path.find('/', at), path.size());
        url += "/" + percent_encoded(std::string_view(path).substr(at, slash - at));
        at = slash + 1;
      }
      uint64_t done = 0;
      const auto sink = [&](std::string_view bytes) {
        blob->write(bytes);
        done += bytes.size();
        if (options_.progress) options_.progress({path, done, entry.size});
      };
      http_.expect({"GET", url, {}, "", entry.size, sink, [&] { blob->restart(), done = 0; }, true}, path);
      blob->commit();
    }
    cache_.link(fetched_.commit, path, entry.etag);
  }

 private:
  const Http &http_;
  RepositoryCache &cache_;
  const Fetched &fetched_;
  const FetchOptions &options_;
};

bool is_build(const manifest::Manifest &manifest, const std::string &path) {
  return std::any_of(manifest.builds.begin(), manifest.builds.end(), [&](const manifest::Build &build) { return build.file == path; });
}

void read_documents(Fetched &fetched) {
  const auto text = [&](const char *name) { return manifest::read_file(fetched.directory / name, max_document); };
  fetched.bundle = manifest::parse_bundle(text(manifest::bundle_file), manifest::bundle_file);
  fetched.manifest = manifest::parse_manifest(text(manifest::manifest_file), manifest::manifest_file);
}

}  // namespace

std::pair<std::string, std::string> parse_specification(const std::string &text) {
  const size_t at = text.find('@');
  const std::string name = text.substr(0, at), revision = at == std::string::npos ? "" : text.substr(at + 1);
  if (!valid_repository_name(name))
    throw Error(ErrorKind::invalid_argument,
                "'" + name + "' is no repository; expected ORG/NAME, such as my-org/triangle-multiplication@v1");
  if (at != std::string::npos && !valid_commit(revision) && !valid_ref_name(revision))
    throw Error(ErrorKind::invalid_argument, "'" + revision + "' is no revision; expected vN or a commit of 40 hex digits");
  return {name, revision};
}

Client::Client(const Environment &environment) : http_(environment), machine_(this_machine()) {}

void Client::choose(Fetched &fetched, const std::vector<std::string> &variants, const FetchOptions &options) const {
  const std::string backend = options.backend.empty() ? backend_of(machine_) : options.backend;
  fetched.candidates = resolve(variants, backend, machine_.cpu, machine_.os, options.framework);
}

void Client::choose_build(Fetched &fetched) const {
  const manifest::Build *chosen = nullptr;
  std::string reasons;
  fetched.builds.clear();
  for (const manifest::Build &build : fetched.manifest.builds) {
    fetched.builds.push_back({build, why_not(machine_, build.requires_json)});
    if (fetched.builds.back().reason.empty() && !chosen) chosen = &build;
    if (!fetched.builds.back().reason.empty()) reasons += "; " + build.arch + " " + fetched.builds.back().reason;
  }
  if (!chosen) throw Error(ErrorKind::unsupported, "no build of " + fetched.variant + " runs on this machine" + reasons);
  fetched.build = *chosen;
}

// The signature is looked at before anything that it covers is.
void Client::verify(Fetched &fetched, const FetchOptions &options) const {
  const Environment &environment = http_.environment();
  const TrustStore trust(environment.trust_file, environment.site_trust_file);
  const std::string organisation = fetched.repository.substr(0, fetched.repository.find('/'));
  manifest::VerifyPolicy policy;
  policy.expected_repo = fetched.repository, policy.expected_variant = fetched.variant, policy.signatures = options.signatures,
  policy.partial = true;
  if (fetched.revision.starts_with("v")) policy.expected_version = fetched.revision.substr(1);
  policy.trusted_keys = trust.keys(organisation);
  const fs::path signature_file = fetched.directory / manifest::bundle_signature_file;
  if (options.signatures == manifest::SignaturePolicy::require && fs::exists(signature_file)) {
    const manifest::Signature signature = manifest::parse_signature(manifest::read_file(signature_file, 1 << 16));
    if (std::none_of(policy.trusted_keys.begin(), policy.trusted_keys.end(),
                     [&](const manifest::PublicKey &key) { return key.id == signature.key_id; }))
      throw_untrusted(organisation, signature, trust);
  }
  fetched.report = manifest::verify_variant_directory(fetched.directory, policy);
  fetched.report.throw_if_failed();
  for (const manifest::VerifyStep &step : fetched.report.steps)
    if (step.outcome == manifest::VerifyStep::Outcome::warned) say(options, "warning: " + step.name + ": " + step.detail);
}

Fetched Client::fetch_online(Fetched fetched, const FetchOptions &options) const {
  fetched.commit = commit_for(http_, fetched);
  const Listing listing = list_build(http_, fetched.repository, fetched.commit);
  std::set<std::string> variants;
  for (const auto &[path, entry] : listing)
    if (const size_t slash = path.find('/', 6); path.starts_with("build/") && slash != std::string::npos)
      variants.insert(path.substr(6, slash - 6));
  choose(fetched, {variants.begin(), variants.end()}, options);
  bool any_bundle = false;
  for (Candidate &candidate : fetched.candidates) {
    const bool bundle = listing.contains("build/" + candidate.variant + "/" + manifest::bundle_file);
    any_bundle |= bundle;
    if (candidate.reason.empty() && !bundle) candidate.reason = "holds no bundle.json: not a Lamina bundle";
    if (candidate.reason.empty() && fetched.variant.empty()) fetched.variant = candidate.variant;
  }
  if (!any_bundle) throw Error(ErrorKind::not_found, fetched.repository + " is not a Lamina bundle: no variant of it holds a bundle.json");
  if (fetched.variant.empty()) {
    std::string reasons;
    for (const Candidate &candidate : fetched.candidates) reasons += "; " + candidate.variant + ": " + candidate.reason;
    throw Error(ErrorKind::unsupported, "no variant of " + fetched.repository + " fits this machine" + reasons);
  }

  RepositoryCache cache(http_.environment().cache, fetched.repository);
  fetched.directory = cache.snapshot(fetched.commit) / "build" / fetched.variant;
  const std::string prefix = "build/" + fetched.variant + "/";
  Downloader downloader(http_, cache, fetched, options);
  const auto get = [&](const std::string &name) {
    const auto entry = listing.find(prefix + name);
    if (entry != listing.end()) downloader.get(entry->first, entry->second);
  };
  // Who signed it is known before anything else of it is fetched.
  for (const char *name : {manifest::bundle_file, manifest::bundle_signature_file, manifest::metadata_file, manifest::manifest_file})
    get(name);
  verify(fetched, options);
  read_documents(fetched);
  choose_build(fetched);
  for (const manifest::BundleEntry &file : fetched.bundle.files)
    if (file.path == fetched.build.file || !is_build(fetched.manifest, file.path)) get(file.path);
  verify(fetched, options);
  if (fetched.revision.starts_with("v")) cache.write_ref(fetched.revision, fetched.commit);
  return fetched;
}

Fetched Client::fetch_offline(Fetched fetched, const FetchOptions &options) const {
  const Environment &environment = http_.environment();
  const RepositoryCache cache(environment.cache, fetched.repository);
  const auto local = environment.local_kernels.find(fetched.repository);
  fs::path root;
  if (local != environment.local_kernels.end()) {
    root = fs::exists(local->second / "build") ? local->second / "build" : local->second;
    say(options, fetched.repository + " is taken from " + root.string() + " (LOCAL_KERNELS)");
  } else {
    fetched.commit = valid_commit(fetched.revision) ? fetched.revision : cache.ref(fetched.revision.empty() ? "v1" : fetched.revision);
    if (fetched.commit.empty())
      throw Error(ErrorKind::offline, fetched.repository + " at '" + fetched.revision + "' is not in the cache " +
                                          environment.cache.string() + ", and the network is switched off");
    root = cache.snapshot(fetched.commit) / "build";
  }
  std::vector<std::string> variants;
  if (fs::is_directory(root))
    for (const fs::directory_entry &entry : fs::directory_iterator(root))
      if (fs::exists(entry.path() / manifest::bundle_file)) variants.push_back(entry.path().filename().string());
  choose(fetched, variants, options);
  if (fetched.candidates.empty() || !fetched.candidates.front().reason.empty())
    throw Error(local != environment.local_kernels.end() ? ErrorKind::not_found : ErrorKind::offline,
                "no variant for this machine under " + root.string());
  fetched.variant = fetched.candidates.front().variant;
  fetched.directory = root / fetched.variant;
  FetchOptions rules = options;
  if (local != environment.local_kernels.end() && rules.signatures == manifest::SignaturePolicy::require)
    rules.signatures = manifest::SignaturePolicy::warn;
  verify(fetched, rules);
  read_documents(fetched);
  choose_build(fetched);
  if (!fs::exists(fetched.directory / fetched.build.file))
    throw Error(ErrorKind::offline, fetched.build.file + " is not in the cache, and the network is switched off");
  return fetched;
}

Fetched Client::fetch(const std::string &specification, const FetchOptions &options) const {
  Fetched fetched;
  std::tie(fetched.repository, fetched.revision) = parse_specification(specification);
  const bool local = http_.environment().local_kernels.contains(fetched.repository);
  return local || http_.environment().offline ? fetch_offline(std::move(fetched), options) : fetch_online(std::move(fetched), options);
}

}  // namespace lamina::hub
