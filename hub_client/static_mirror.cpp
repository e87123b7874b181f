#include "hub_client/static_mirror.h"

#include <algorithm>
#include <map>

#include "hub_client/cache.h"
#include "manifest/error.h"
#include "manifest/files.h"
#include "manifest/json.h"

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;
using manifest::Json;

constexpr const char *first_line = "# Lamina static mirror.";

// Everything that is written, relative to the mirror: small enough to hold, except the objects.
class Mirror {
 public:
  Mirror(const std::vector<Snapshot> &snapshots, const MirrorOptions &options) : options_(options) {
    for (const Snapshot &snapshot : snapshots) {
      if (!snapshot.absent.empty())
        throw Error(ErrorKind::unsupported, snapshot.repository + "@" + snapshot.branch + " is not whole in this cache: " +
                                                snapshot.absent.front() + " and " + std::to_string(snapshot.absent.size() - 1) +
                                                " more were never downloaded. A mirror must have them all: export the bundle's folder");
      if (!repositories_[snapshot.repository].emplace(snapshot.branch, &snapshot).second)
        throw Error(ErrorKind::conflict, "two sources claim to be " + snapshot.repository + "@" + snapshot.branch);
    }
  }

  void write(const fs::path &root) {
    answer(root, "api/agent-harnesses", Json::object());
    for (const auto &[repository, branches] : repositories_) {
      const std::string organisation = repository.substr(0, repository.find('/')), api = "api/kernels/" + repository;
      answer(root, "api/organizations/" + organisation + "/overview",
             {{"name", organisation}, {"trustedKernelPublisher", options_.trusted.contains(organisation)}});
      Json heads = Json::array();
      const Snapshot *newest = nullptr;
      for (const auto &[branch, snapshot] : branches) {
        heads.push_back({{"name", branch}, {"ref", "refs/heads/" + branch}, {"targetCommit", snapshot->commit}});
        if (!newest || version_of_ref(branch) > version_of_ref(newest->branch)) newest = snapshot;
        for (const std::string &revision : {snapshot->commit, branch, "refs/heads/" + branch}) {
          answer(root, api + "/revision/" + revision, info(*snapshot));
          write_trees(root, api + "/tree/" + revision, *snapshot);
          const std::string address = "/kernels/" + repository + "/resolve/" + revision + "/";
          commits_ += "    \"~^" + escaped(address) + "\" " + snapshot->commit + ";\n";
          errors_ += "    \"~^" + escaped(address) + "\" EntryNotFound;\n    \"~^" + escaped("/" + api + "/tree/" + revision + "/") +
                     "\" EntryNotFound;\n";
          for (const auto &[path, file] : snapshot->files) objects_ += "    \"" + address + path + "\" " + file.etag + ";\n";
        }
        for (const auto &[path, file] : snapshot->files) {
          const fs::path object = root / "objects" / file.etag;
          fs::create_directories(object.parent_path());
          if (!fs::exists(object)) manifest::write_file_atomically(object, read_snapshot_file(path, file));
        }
      }
      repository_errors_ += "    \"~^(/api)?" + escaped("/kernels/" + repository + "/") + "\" RevisionNotFound;\n";
      answer(root, api, info(*newest));
      answer(root, api + "/refs", {{"branches", heads}, {"tags", Json::array()}, {"converts", Json::array()}});
    }
    manifest::write_file_atomically(root / "nginx.conf", configuration());
  }

 private:
  static void answer(const fs::path &root, const std::string &path, const Json &value) {
    const fs::path file = root / (path + ".json");
    fs::create_directories(file.parent_path());
    manifest::write_file_atomically(file, value.dump());
  }

  static Json info(const Snapshot &snapshot) {
    Json siblings = Json::array();
    for (const auto &[path, file] : snapshot.files) siblings.push_back({{"rfilename", path}});
    return {{"id", snapshot.repository},
            {"modelId", snapshot.repository},
            {"sha", snapshot.commit},
            {"private", false},
            {"gated", false},
            {"disabled", false},
            {"downloads", 0},
            {"likes", 0},
            {"tags", Json::array()},
            {"siblings", siblings}};
  }

  // The root and every folder, each as a flat and a recursive listing.
  static void write_trees(const fs::path &root, const std::string &base, const Snapshot &snapshot) {
    std::map<std::string, Json> entries;
    for (const auto &[path, file] : snapshot.files) {
      for (size_t at = path.find('/'); at != std::string::npos; at = path.find('/', at + 1))
        entries[path.substr(0, at)] = {{"type", "directory"}, {"path", path.substr(0, at)}, {"oid", snapshot.commit}, {"size", 0}};
      // Files that a hub keeps by LFS have both names; the git one is that of a pointer nobody asks for.
      Json entry = {{"type", "file"}, {"path", path}, {"oid", file.etag.substr(0, 40)}, {"size", file.size}};
      if (file.etag.size() == 64) entry["lfs"] = {{"oid", file.etag}, {"size", file.size}, {"pointerSize", 134}};
      entries[path] = entry;
    }
    std::vector<std::string> folders = {""};
    for (const auto &[path, entry] : entries)
      if (entry["type"] == "directory") folders.push_back(path);
    for (const std::string &folder : folders) {
      const std::string prefix = folder.empty() ? "" : folder + "/";
      Json flat = Json::array(), recursive = Json::array();
      for (const auto &[path, entry] : entries) {
        if (!path.starts_with(prefix)) continue;
        recursive.push_back(entry);
        if (path.find('/', prefix.size()) == std::string::npos) flat.push_back(entry);
      }
      answer(root, base + (folder.empty() ? "" : "/" + folder), flat);
      answer(root, base + (folder.empty() ? "" : "/" + folder) + ".recursive", recursive);
    }
  }

  static std::string escaped(const std::string &text) {  // for a regular expression
    std::string out;
    for (const char c : text) out += c == '.' ? "\\." : std::string(1, c);
    return out;
  }

  std::string configuration() const {
    return std::string(first_line) + R"(  In this folder:  nginx -p "$PWD" -c nginx.conf
# It stays in the foreground, writes only tmp/ and nginx.pid here, and clients use it by HF_ENDPOINT=http://)" +
           options_.listen + R"(
# Over a network put TLS in front.  To serve it by an nginx that runs already, include the maps and the server block in its http block
# and make `root` absolute.
daemon off;
pid nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path tmp/body;
  proxy_temp_path tmp/proxy;
  fastcgi_temp_path tmp/fastcgi;
  uwsgi_temp_path tmp/uwsgi;
  scgi_temp_path tmp/scgi;
  types {}
  default_type application/octet-stream;
  sendfile on;
  gzip off;      # clients hash what they receive
  etag off;      # a file's ETag is its hash, not its date
  if_modified_since off;
  server_tokens off;
  map_hash_bucket_size 1024;
  map_hash_max_size 65536;

  # Which listing of a folder is asked for.
  map $arg_recursive $lamina_recursive { default ""; "~*^(true|1)$" ".recursive"; }
  # The commit behind a revision, and the object behind a file's address.
  map $uri $lamina_commit {
    default "";
)" + commits_ +
           R"(  }
  map $uri $lamina_etag {
    default none;
)" + objects_ +
           R"(  }

  server {
    listen )" +
           options_.listen + R"(;
    root .;
    location / { return 404; }
    location /api/ {
      limit_except GET { deny all; }
      default_type "application/json; charset=utf-8";
      try_files $uri$lamina_recursive.json $uri.json @missing;
    }
    location /kernels/ {
      limit_except GET { deny all; }
      add_header ETag "\"$lamina_etag\"";
      set $lamina_commit_here $lamina_commit;  # try_files changes $uri, on which the map looks
      add_header X-Repo-Commit $lamina_commit_here;
      try_files /objects/$lamina_etag @missing;
    }
    location @missing {
      add_header X-Error-Code $lamina_error always;
      add_header X-Repo-Commit $lamina_commit always;
      return 404;
    }
  }
  # What of it is missing.
  map $uri $lamina_error {
    default RepoNotFound;
)" + errors_ +
           repository_errors_ + R"(  }
}
)";
  }

  const MirrorOptions &options_;
  std::map<std::string, std::map<std::string, const Snapshot *>> repositories_;  // repository -> branch -> snapshot
  std::string commits_, objects_, errors_, repository_errors_;                   // lines of the configuration's maps
};

bool is_mirror(const fs::path &directory) {
  const fs::path file = directory / "nginx.conf";
  return fs::is_regular_file(file) && manifest::read_file(file, 64 << 20).starts_with(first_line);
}

}  // namespace

void write_static_mirror(const std::vector<Snapshot> &snapshots, const MirrorOptions &options) {
  if (options.listen.empty() || options.listen.find_first_not_of("0123456789.:[]abcdefABCDEF") != std::string::npos)
    throw Error(ErrorKind::invalid_argument, "'" + options.listen + "' is no address to listen on; expected ADDRESS:PORT");
  fs::path directory = options.directory.lexically_normal();
  if (!directory.has_filename()) directory = directory.parent_path();
  if (fs::exists(directory) && !(fs::is_directory(directory) && (fs::is_empty(directory) || is_mirror(directory))))
    throw Error(ErrorKind::conflict, directory.string() + " exists and is no mirror that lamina export made; name another folder");
  Mirror mirror(snapshots, options);
  const fs::path staging = directory.string() + ".exporting-" + random_suffix();
  try {
    fs::create_directories(staging);
    mirror.write(staging);
    fs::create_directories(staging / "tmp");
    fs::remove_all(directory);
    fs::rename(staging, directory);
  } catch (const fs::filesystem_error &error) {
    std::error_code ignored;
    fs::remove_all(staging, ignored);
    throw Error(kind_of_errno(error.code().value()), "cannot write " + directory.string() + ": " + error.code().message());
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(staging, ignored);
    throw;
  }
}

}  // namespace lamina::hub
