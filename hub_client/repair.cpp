#include "hub_client/repair.h"

#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <set>
#include <tuple>

#include "hub_client/cache.h"
#include "hub_client/file_lock.h"
#include "hub_client/inventory.h"
#include "manifest/error.h"
#include "manifest/files.h"
#include "manifest/json.h"
#include "manifest/python_metadata.h"

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;
using manifest::Json;

constexpr uint64_t max_tree = 64 << 20, max_manifest = 16 << 20;
constexpr time_t abandoned_seconds = 24 * 60 * 60;

// Entries are collected before anything is removed: a folder must not change under its iterator.
template <class Iterator>
std::vector<fs::path> entries_of(const fs::path &path) {
  std::vector<fs::path> found;
  if (fs::is_directory(path))
    for (const fs::directory_entry &entry : Iterator(path)) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

bool is_link(const fs::path &path) { return fs::is_symlink(fs::symlink_status(path)); }

// Nobody has written to it for a day.  Of a link its own age counts.
bool is_abandoned(const fs::path &path) {
  struct stat facts{};
  return lstat(path.c_str(), &facts) == 0 && time(nullptr) - facts.st_mtime >= abandoned_seconds;
}

class Repair {
 public:
  Repair(const fs::path &cache, std::string repository, const TrustStore &trust, bool dry_run, std::vector<Mending> &mended)
      : cache_(cache, repository), repository_(std::move(repository)), trust_(trust), dry_run_(dry_run), mended_(mended) {}

  void run() {
    for (const fs::path &blob : entries_of<fs::directory_iterator>(cache_.folder() / "blobs")) check_blob(blob);
    for (const fs::path &path : entries_of<fs::recursive_directory_iterator>(cache_.folder() / "snapshots"))
      if (is_link(path)) check_link(path);
    remove_empty_folders();
    for (const fs::path &ref : entries_of<fs::directory_iterator>(cache_.folder() / "refs")) check_ref(ref);
    note_versions();
    for (const fs::path &tree : entries_of<fs::directory_iterator>(cache_.folder() / "trees")) check_tree(tree);
  }

 private:
  void remove(const fs::path &path, const std::string &problem) {
    mended_.push_back({path, problem, dry_run_ ? "would be removed" : "removed"});
    gone_.insert(path.string());
    if (dry_run_) return;
    std::error_code failure;
    fs::remove(path, failure);
    if (failure) throw Error(kind_of_errno(failure.value()), "cannot remove " + path.string() + ": " + failure.message());
  }
  void write(const fs::path &path, const std::string &text, const std::string &problem) {
    mended_.push_back({path, problem, dry_run_ ? "would be written" : "written"});
    if (dry_run_) return;
    make_cache_folder(path.parent_path());
    manifest::write_file_atomically(path, text);
  }
  // As it will be after the removals that a dry run only announces.
  bool exists(const fs::path &path) const {
    std::error_code ignored;
    if (gone_.contains(path.string())) return false;
    const fs::path target = is_link(path) ? fs::weakly_canonical(path, ignored) : path;
    return !gone_.contains(target.string()) && fs::exists(target, ignored);
  }

  void check_blob(const fs::path &path) {
    const std::string name = path.filename().string();
    if (name.ends_with(".incomplete")) return check_unfinished(path, name.substr(0, name.find('.')));
    if (!valid_etag(name) || !fs::is_regular_file(fs::symlink_status(path))) return;
    if (!file_matches(path, name, fs::file_size(path))) remove(path, "its bytes do not hash to its name");
  }

  void check_unfinished(const fs::path &path, const std::string &etag) {
    struct stat facts{};  // of the link itself, where it is one
    if (lstat(path.c_str(), &facts) != 0 || time(nullptr) - facts.st_mtime < abandoned_seconds || !valid_etag(etag)) return;
    const FileLock lock(cache_.lock_file(etag), [] { return false; });
    if (lock.held()) remove(path, "an unfinished download that nobody has worked on for a day");
  }

  void check_link(const fs::path &path) {
    std::error_code ignored;
    const fs::path target = fs::weakly_canonical(path.parent_path() / fs::read_symlink(path), ignored);
    const fs::path blobs = fs::weakly_canonical(cache_.blobs(), ignored);
    if (target.parent_path() != blobs) remove(path, "it leads out of the repository's folder");
    else if (gone_.contains((cache_.blobs() / target.filename()).string()) || !fs::exists(target, ignored))
      remove(path, "the blob it leads to is not there");
  }

  // What is left of a snapshot of which nothing is left.
  void remove_empty_folders() {
    std::vector<fs::path> paths = entries_of<fs::recursive_directory_iterator>(cache_.folder() / "snapshots");
    for (auto path = paths.rbegin(); path != paths.rend(); ++path) {
      if (is_link(*path) || !fs::is_directory(*path)) continue;
      const std::vector<fs::path> inside = entries_of<fs::directory_iterator>(*path);
      if (std::all_of(inside.begin(), inside.end(), [&](const fs::path &one) { return gone_.contains(one.string()); }))
        remove(*path, "an empty folder");
    }
  }

  void check_ref(const fs::path &path) {
    const std::string name = path.filename().string();
    if (!fs::is_regular_file(path)) return;
    if (name.starts_with(".") || name.ends_with(".tmp")) {  // being written, by Lamina or by Python
      if (is_abandoned(path)) remove(path, "a killed process left it");
      return;
    }
    const std::string text = manifest::read_file(path, 4096), commit = cache_.ref(name);
    if (commit.empty()) remove(path, "it holds no commit");
    else if (!exists(cache_.snapshot(commit))) remove(path, "it names a commit that is not in the cache");
    else if (text != commit) write(path, commit, "there is white space around its commit, which Python takes for part of it");
  }

  struct Release {
    std::string commit;
    uint64_t counter = 0;  // of a Lamina bundle
    fs::file_time_type time{};
  };

  // Clients fetch the builds that they need: one is enough.
  bool holds_build(const fs::path &variant) const {
    const std::string text = manifest::read_file(variant / manifest::manifest_file, max_manifest);
    const manifest::Manifest manifest = manifest::parse_manifest(text, manifest::manifest_file);
    return std::any_of(manifest.builds.begin(), manifest.builds.end(),
                       [&](const manifest::Build &build) { return exists(variant / build.file); });
  }

  // The version that a whole variant says it is: by its verified bundle.json, or for other kernels by metadata.json.  -1: none.
  long version_of(const fs::path &variant, Release &release) const {
    if (exists(variant / manifest::bundle_file)) {
      const manifest::VerifyReport report = verify_cached(variant, repository_, trust_);
      if (!report.ok() || !exists(variant / "__init__.py") || !holds_build(variant)) return -1;
      release.counter = report.bundle->counter;
      return report.bundle->major();
    }
    if (!exists(variant / manifest::metadata_file) || !exists(variant / "__init__.py")) return -1;
    try {
      const fs::path file = variant / manifest::metadata_file;
      const uint64_t version = manifest::parse_python_metadata(manifest::read_file(file, 1 << 20), file.string()).version;
      return version <= INT32_MAX ? static_cast<long>(version) : -1;
    } catch (const Error &) {
      return -1;  // no kernel's metadata: Python would not load it either
    }
  }

  void note_versions() {
    std::map<long, Release> releases;
    for (const fs::path &snapshot : entries_of<fs::directory_iterator>(cache_.folder() / "snapshots")) {
      if (!valid_commit(snapshot.filename().string()) || !exists(snapshot)) continue;
      for (const fs::path &variant : entries_of<fs::directory_iterator>(snapshot / "build")) {
        Release release{snapshot.filename().string(), 0, fs::last_write_time(snapshot)};
        const long version = fs::is_directory(variant) ? version_of(variant, release) : -1;
        if (version < 0) continue;
        Release &best = releases[version];
        if (best.commit.empty() || std::tie(release.counter, release.time) > std::tie(best.counter, best.time)) best = release;
      }
    }
    for (const auto &[version, release] : releases) {
      const fs::path ref = cache_.folder() / "refs" / ("v" + std::to_string(version));
      if (!exists(ref)) write(ref, release.commit, "the version is in the cache, and no ref says so");
    }
  }

  void check_tree(const fs::path &path) {
    if (path.extension() != ".json") return;
    std::string missing;
    try {
      const Json tree = manifest::read_json(path, {max_tree, 16, true});
      for (const auto &[name, facts] : tree.at("files").items()) {
        if (name.ends_with(".pyc") || name.find("__pycache__") != std::string::npos) continue;  // never downloaded
        if (!exists(cache_.snapshot(path.stem().string()) / name)) missing = name;
        if (!missing.empty()) break;
      }
    } catch (const std::exception &) { return remove(path, "it is no listing"); }
    if (!missing.empty()) remove(path, "it names " + missing + ", which is not there, so Python takes the commit for incomplete");
  }

  RepositoryCache cache_;
  std::string repository_;
  const TrustStore &trust_;
  bool dry_run_;
  std::vector<Mending> &mended_;
  std::set<std::string> gone_;
};

}  // namespace

std::vector<Mending> repair_cache(const fs::path &cache, const TrustStore &trust, const RepairOptions &options) {
  std::vector<Mending> mended;
  bool found = options.repository.empty();
  // Links lead to real paths: the cache's own is needed to recognise them.
  std::error_code missing;
  const fs::path real = fs::canonical(cache, missing);
  if (!missing)
    for (const auto &[repository, folder] : cached_repositories(real)) {
      if (!options.repository.empty() && repository != options.repository) continue;
      found = true;
      Repair(real, repository, trust, options.dry_run, mended).run();
    }
  if (!found) throw Error(ErrorKind::not_found, options.repository + " is not in the cache " + cache.string());
  return mended;
}

}  // namespace lamina::hub
