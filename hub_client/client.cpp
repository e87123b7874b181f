#include "hub_client/client.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "hub_client/cache.h"
#include "hub_client/inventory.h"
#include "hub_client/revocations.h"
#include "hub_client/server_routes.h"
#include "hub_client/trust.h"
#include "manifest/error.h"
#include "manifest/json.h"

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;
using manifest::Json;

constexpr uint64_t max_document = 16 << 20;
// What a fetch begins with, and how long each may be; nothing else is asked for before these are verified.
const std::map<std::string, uint64_t> documents = {{manifest::bundle_file, 1 << 20},
                                                   {manifest::bundle_signature_file, 16 << 10},
                                                   {manifest::metadata_file, 1 << 20},
                                                   {manifest::manifest_file, max_document}};

void say(const FetchOptions &options, const std::string &sentence) {
  if (options.log) options.log(sentence);
}

// The commit that the specification means: its branch's head, or that of the newest version.
std::string commit_for(const Http &http, Fetched &fetched) {
  if (valid_commit(fetched.revision)) return fetched.revision;
  const std::map<std::string, std::string> branches = list_branches(http, fetched.repository);
  std::map<long, std::string> versions;
  for (const auto &[name, commit] : branches)
    if (version_of_ref(name) >= 0) versions[version_of_ref(name)] = name;
  if (fetched.revision.empty() && !versions.empty()) fetched.revision = versions.rbegin()->second;
  if (const auto found = branches.find(fetched.revision); found != branches.end()) return found->second;
  std::string known;
  for (const auto &[number, name] : versions) known += " " + name;
  throw Error(ErrorKind::not_found, fetched.repository + " has no " +
                                        (fetched.revision.empty() ? "version" : "revision '" + fetched.revision + "'") + "; it has" +
                                        (known.empty() ? " no version" : known));
}

bool is_build(const manifest::Manifest &manifest, const std::string &path) {
  return std::any_of(manifest.builds.begin(), manifest.builds.end(), [&](const manifest::Build &build) { return build.file == path; });
}

// We would not download it, but Python's clients would, and run it.
void refuse_unlisted(const Fetched &fetched, const Listing &listing, const std::string &prefix) {
  static const std::set<std::string> beside = {manifest::bundle_file, manifest::bundle_signature_file, manifest::metadata_file,
                                               "metadata.json.sigstore"};
  for (const auto &[path, file] : listing)
    if (const std::string name = path.starts_with(prefix) ? path.substr(prefix.size()) : "";
        !name.empty() && !fetched.bundle.file(name) && !beside.contains(name))
      throw Error(ErrorKind::integrity, "the hub has " + path + ", which is not listed in bundle.json; tell the bundle's publisher");
}

// What is there was verified; what a bundle lists and the hub lacks is not.
void require_build(const Fetched &fetched) {
  if (!fs::exists(fetched.directory / fetched.build.file))
    throw Error(ErrorKind::integrity, "the bundle lists " + fetched.build.file + ", and the hub does not have it; tell its publisher");
}

// Everything is verified: from now on the version is there offline too, for Python as well.
void note_version(RepositoryCache &cache, const Fetched &fetched, const FetchOptions &options) {
  if (version_of_ref(fetched.revision) < 0) return;
  try {
    cache.write_ref(fetched.revision, fetched.commit);
  } catch (const Error &error) {
    if (error.kind != ErrorKind::permission) throw;
    say(options, "warning: the cache cannot be written, so " + fetched.revision + " will not be found offline: " + error.what());
  }
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

Client::Client(const Environment &environment) : http_(environment), memory_(environment.state), machine_(this_machine()) {}

void Client::choose(Fetched &fetched, const std::vector<std::string> &variants, const FetchOptions &options) const {
  const std::string backend = options.backend.empty() ? backend_of(machine_) : options.backend;
  fetched.candidates = resolve(variants, backend, machine_.cpu, machine_.os, options.framework);
}

void Client::read_documents(Fetched &fetched) const {
  // As they were when they were verified, whatever lies there now.
  fetched.bundle = fetched.report.bundle.value();
  fetched.manifest = fetched.report.manifest.value();
}

void Client::choose_build(Fetched &fetched, const FetchOptions &options) const {
  const manifest::Build *chosen = nullptr;
  std::string reasons;
  fetched.builds.clear();
  for (const manifest::Build &build : fetched.manifest.builds) {
    const bool wanted = options.arch.empty() || options.arch == build.arch;
    fetched.builds.push_back({build, wanted ? why_not(machine_, build.requires_json) : "is not " + options.arch + ", which was asked for"});
    if (fetched.builds.back().reason.empty() && !chosen) chosen = &build;
    if (!fetched.builds.back().reason.empty()) reasons += "; " + build.arch + " " + fetched.builds.back().reason;
  }
  if (!chosen) throw Error(ErrorKind::unsupported, "no build of " + fetched.variant + " runs on this machine" + reasons);
  fetched.build = *chosen;
}

// The counter of the release that this version meant until now, as far as the cache knows: a hub that offers an older one for it is
// refused, however well that one is signed.  Whoever wants the older release names its commit.
uint64_t Client::counter_seen(const Fetched &fetched, const FetchOptions &options) const {
  if (version_of_ref(fetched.revision) < 0 || options.allow_rollback) return 0;
  const uint64_t remembered = memory_.counter(fetched.repository, fetched.revision);
  const Environment &environment = http_.environment();
  const RepositoryCache cache(environment.cache, fetched.repository);
  const std::string before = cache.ref(fetched.revision);
  const fs::path directory = cache.snapshot(before) / "build" / fetched.variant;
  if (before.empty() || before == fetched.commit || !fs::exists(directory / manifest::bundle_file)) return remembered;
  const manifest::VerifyReport report =
      verify_cached(directory, fetched.repository, TrustStore(environment.trust_file, environment.site_trust_file));
  return std::max(remembered, report.signed_by && report.bundle ? report.bundle->counter : 0);
}

// What the next fetch of this version must not fall behind.
void Client::remember(const Fetched &fetched, const FetchOptions &options) const {
  if (version_of_ref(fetched.revision) < 0 || !fetched.report.signed_by) return;
  const uint64_t before = memory_.counter(fetched.repository, fetched.revision);
  if (before > fetched.bundle.counter)
    say(options, "warning: an older release of " + fetched.revision + " is taken, counter " + std::to_string(fetched.bundle.counter) +
                     "; " + std::to_string(before) + " was seen before (--allow-rollback)");
  try {
    memory_.note_counter(fetched.repository, fetched.revision, fetched.bundle.counter, options.allow_rollback);
  } catch (const Error &error) {
    if (error.kind != ErrorKind::permission) throw;
    say(options, std::string("warning: the newest release cannot be remembered: ") + error.what());
  }
}

// The signature is looked at before anything that it covers is.
void Client::verify(Fetched &fetched, const FetchOptions &options, uint64_t minimum_counter,
                    const std::function<bool(const manifest::BundleEntry &)> &hashed) const {
  const Environment &environment = http_.environment();
  const TrustStore trust(environment.trust_file, environment.site_trust_file);
  const std::string organisation = fetched.repository.substr(0, fetched.repository.find('/'));
  manifest::VerifyPolicy policy;
  policy.expected_repo = fetched.repository, policy.expected_variant = fetched.variant, policy.signatures = options.signatures,
  policy.partial = true;
  if (fetched.revision.starts_with("v")) policy.expected_version = fetched.revision.substr(1);
  policy.trusted_keys = trust.keys(organisation);
  policy.minimum_counter = minimum_counter, policy.hashed = hashed;
  const fs::path signature_file = fetched.directory / manifest::bundle_signature_file;
  if (options.signatures == manifest::SignaturePolicy::require && fs::exists(signature_file)) {
    const manifest::Signature signature = manifest::parse_signature(manifest::read_file(signature_file, 1 << 16));
    if (std::none_of(policy.trusted_keys.begin(), policy.trusted_keys.end(),
                     [&](const manifest::PublicKey &key) { return key.id == signature.key_id; }))
      throw_untrusted(organisation, signature, trust);
  }
  Receipt::Facts before;
  policy.receipt = [&](const manifest::Bundle &bundle, const std::string &bundle_sha256) -> manifest::VerifyPolicy::Known {
    fetched.receipt = memory_.receipt(fetched.directory, bundle_sha256);
    before = Memory::facts_of(fetched.directory, bundle);
    if (!fetched.receipt) return {};
    return {[&](const std::string &path) { return fetched.receipt->holds(fetched.directory, path); },
            [&](const std::string &path) { return fetched.receipt->passed(path); }};
  };
  if (options.signatures == manifest::SignaturePolicy::off && fetched.report.steps.empty())
    say(options, "warning: signatures are not looked at (--signatures off)");
  fetched.report = manifest::verify_variant_directory(fetched.directory, policy);
  fetched.report.throw_if_failed();
  check_pins(fetched, options);
  memory_.note_receipt(fetched.directory, fetched.report.bundle_sha256, before);
  fetched.receipt = std::make_shared<const Receipt>(std::move(before));  // for load(), whether or not it could be kept
  for (const manifest::VerifyStep &step : fetched.report.steps)
    if (step.outcome == manifest::VerifyStep::Outcome::warned) say(options, "warning: " + step.name + ": " + step.detail);
}

Fetched Client::fetch_online(Fetched fetched, const FetchOptions &options) const {
  fetched.commit = commit_for(http_, fetched);
  const Listing listing = list_files(http_, fetched.repository, fetched.commit, "build");
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
  Downloader downloader(http_, cache, fetched.repository, fetched.commit, options.log, options.progress);
  bring_documents(fetched, listing, downloader, options);
  check_revoked(fetched, options);
  choose_build(fetched, options);
  if (options.resolve_only) return fetched;
  const std::string prefix = "build/" + fetched.variant + "/";
  Listing wanted;
  for (const manifest::BundleEntry &file : fetched.bundle.files)
    if (const auto entry = listing.find(prefix + file.path); entry != listing.end())
      if (file.path == fetched.build.file || !is_build(fetched.manifest, file.path)) wanted.insert(*entry);
  downloader.get(wanted);
  fetched.downloaded_files = downloader.files(), fetched.downloaded_bytes = downloader.bytes();
  verify(fetched, options, 0, [&](const manifest::BundleEntry &file) { return downloader.hashed(prefix + file.path, file.sha256); });
  require_build(fetched);
  remember(fetched, options);
  note_version(cache, fetched, options);
  return fetched;
}

// The documents of the chosen variant come first, and are verified: who signed it is known before anything else of it is asked for.
void Client::bring_documents(Fetched &fetched, const Listing &listing, Downloader &downloader, const FetchOptions &options) const {
  const std::string prefix = "build/" + fetched.variant + "/";
  Listing wanted, whole;
  for (const auto &[path, file] : listing)
    if (path.starts_with(prefix)) whole.emplace(path, file);
  downloader.drop_wrong(whole);
  for (const auto &[name, limit] : documents) {
    if (const auto entry = listing.find(prefix + name); entry != listing.end()) wanted.insert(*entry);
    if (const auto entry = wanted.find(prefix + name); entry != wanted.end() && entry->second.size > limit)
      throw Error(ErrorKind::integrity, "the hub lists " + entry->first + " with " + std::to_string(entry->second.size) +
                                            " bytes; it may have " + std::to_string(limit));
  }
  if (!listing.contains(prefix + manifest::metadata_file))
    throw Error(ErrorKind::integrity,
                "the hub lacks " + prefix + manifest::metadata_file + ", without which Python cannot load it; tell its publisher");
  downloader.get(wanted);
  verify(fetched, options, counter_seen(fetched, options));
  read_documents(fetched);
  refuse_unlisted(fetched, listing, prefix);
}

// A lock file knows better than any hub.
void Client::check_pins(const Fetched &fetched, const FetchOptions &options) const {
  if (!options.locked) return;
  const auto pinned = options.locked->variants.find(fetched.variant);
  if (pinned == options.locked->variants.end())
    throw Error(ErrorKind::conflict, "the lock file does not pin " + fetched.variant + " of " + fetched.repository + "; lock it again");
  if (pinned->second != fetched.report.bundle_sha256)
    throw Error(ErrorKind::integrity, fetched.variant + " of " + fetched.repository + " has a bundle.json with SHA-256 " +
                                          fetched.report.bundle_sha256 + "; the lock file pins " + pinned->second);
}

void Client::check_revoked(const Fetched &fetched, const FetchOptions &options) const {
  if (options.signatures == manifest::SignaturePolicy::off) return;
  const Environment &environment = http_.environment();
  const TrustStore trust(environment.trust_file, environment.site_trust_file);
  try {
    const Revocations list = current_revocations(environment.offline ? nullptr : &http_, memory_, fetched.repository,
                                                 trust.keys(fetched.repository.substr(0, fetched.repository.find('/'))));
    if (const auto found = list.releases.find(fetched.bundle.counter); found != list.releases.end())
      throw Error(ErrorKind::untrusted, "release " + std::to_string(fetched.bundle.counter) + " of " + fetched.repository +
                                            " was taken back by its publisher: " + found->second);
  } catch (const Error &error) {
    if (options.signatures == manifest::SignaturePolicy::require) throw;
    say(options, std::string("warning: ") + error.what());
  }
}

LockedBundle Client::lock(const std::string &specification, const FetchOptions &options) const {
  Fetched first;
  std::tie(first.repository, first.revision) = parse_specification(specification);
  first.commit = commit_for(http_, first);
  const Listing listing = list_files(http_, first.repository, first.commit, "build");
  RepositoryCache cache(http_.environment().cache, first.repository);
  LockedBundle locked{first.revision, first.commit, "", 0, {}};
  for (const auto &[path, entry] : listing) {
    const size_t slash = path.find('/', 6);
    if (!path.starts_with("build/") || slash == std::string::npos || path.substr(slash + 1) != manifest::bundle_file) continue;
    Fetched one = first;
    one.variant = path.substr(6, slash - 6);
    one.directory = cache.snapshot(one.commit) / "build" / one.variant;
    Downloader downloader(http_, cache, one.repository, one.commit, options.log, options.progress);
    bring_documents(one, listing, downloader, options);
    check_revoked(one, options);
    locked.version = one.bundle.version, locked.counter = one.bundle.counter;
    locked.variants[one.variant] = one.report.bundle_sha256;
  }
  if (locked.variants.empty())
    throw Error(ErrorKind::not_found, first.repository + " is not a Lamina bundle: no variant of it holds a bundle.json");
  return locked;
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
    if (fetched.revision.empty())  // as online: the newest version
      for (const auto &[name, commit] : cache.refs())
        if (version_of_ref(name) > version_of_ref(fetched.revision)) fetched.revision = name;
    if (valid_commit(fetched.revision)) fetched.commit = fetched.revision;
    else if (!fetched.revision.empty()) fetched.commit = cache.ref(fetched.revision);
    if (fetched.commit.empty())
      throw Error(ErrorKind::offline, fetched.repository + (fetched.revision.empty() ? "" : " at " + fetched.revision) +
                                          " is not in the cache " + environment.cache.string() +
                                          ", and the network is switched off (HF_HUB_OFFLINE); fetch it once with the network on");
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
  verify(fetched, rules, local != environment.local_kernels.end() ? 0 : counter_seen(fetched, options));
  read_documents(fetched);
  if (local == environment.local_kernels.end()) check_revoked(fetched, options);
  choose_build(fetched, options);
  if (!options.resolve_only && !fs::exists(fetched.directory / fetched.build.file))
    throw Error(ErrorKind::offline, fetched.build.file + " is not in the cache, and the network is switched off");
  return fetched;
}

// What lies in such a cache is verified like everything else; but whoever can write it can break it at any time.
static void warn_of_writers(const fs::path &cache, const FetchOptions &options) {
  struct stat facts{};
  if (stat(cache.c_str(), &facts) != 0) return;
  if ((facts.st_mode & S_IWOTH) && !(facts.st_mode & S_ISVTX))
    say(options, "warning: anybody may write to the cache " + cache.string() + "; chmod o-w keeps others out");
  else if (facts.st_uid != geteuid() && facts.st_uid != 0 && !(facts.st_mode & S_IWGRP))
    say(options, "warning: the cache " + cache.string() + " belongs to another user");
}

Fetched Client::fetch(const std::string &specification, const FetchOptions &options) const {
  Fetched fetched;
  std::tie(fetched.repository, fetched.revision) = parse_specification(specification);
  if (options.locked) {
    if (!fetched.revision.empty() && fetched.revision != options.locked->revision && fetched.revision != options.locked->commit)
      throw Error(ErrorKind::conflict, "the lock file pins " + fetched.repository + " at " + options.locked->revision + ", and " +
                                           fetched.revision + " was asked for; lock it again");
    fetched.revision = options.locked->commit;
  }
  warn_of_writers(http_.environment().cache, options);
  const bool local = http_.environment().local_kernels.contains(fetched.repository);
  return local || http_.environment().offline ? fetch_offline(std::move(fetched), options) : fetch_online(std::move(fetched), options);
}

}  // namespace lamina::hub
