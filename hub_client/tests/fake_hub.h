// A hub that holds one bundle, and can be told to lie about any part of it; and a machine of its own to fetch to.
#pragma once
#include <map>
#include <string>

#include "hub_client/client.h"
#include "hub_client/tests/scripted_server.h"
#include "hub_client/trust.h"
#include "manifest/digest.h"
#include "manifest/tests/bundle_fixture.h"

namespace lamina::hub::test {

using manifest::Json;
using manifest::test::error_of;
using manifest::test::Folder;
using manifest::test::has;

inline const std::string repository = "org/triangle-multiplication";
inline const std::string commit(40, 'c');

class FakeHub {
 public:
  std::map<std::string, std::string> files;                        // path below the repository -> bytes
  std::map<std::string, std::string> branches = {{"v1", commit}};  // and where they point
  std::string head = commit;                                       // the commit that the files are of
  std::string listing;                                             // not empty: the answer to every tree request
  std::string refs;                                                // not empty: the answer to every refs request
  // Handles a request itself and returns true, or leaves it.
  std::function<bool(const Seen &, const Connection &)> before;

  static std::string etag(const std::string &path, const std::string &bytes) {
    return path.ends_with(".so") ? manifest::sha256_hex(bytes) : manifest::git_blob_hex(bytes);
  }
  static Json entry(const std::string &path, const std::string &bytes) {
    Json one = {{"type", "file"}, {"path", path}, {"oid", manifest::git_blob_hex(bytes)}, {"size", bytes.size()}};
    if (path.ends_with(".so")) one["lfs"] = {{"oid", etag(path, bytes)}, {"size", bytes.size()}, {"pointerSize", 134}};
    return one;
  }
  Json tree() const {
    Json list = Json::array();
    list.push_back({{"type", "directory"}, {"path", "build"}, {"oid", commit}, {"size", 0}});
    for (const auto &[path, bytes] : files) list.push_back(entry(path, bytes));
    return list;
  }
  std::string url() const { return server_.url(); }
  const ScriptedServer &server() const { return server_; }

 private:
  void handle(const Seen &one, const Connection &to) {
    if (before && before(one, to)) return;
    const std::string api = "/api/kernels/" + repository, file = "/kernels/" + repository + "/resolve/" + head + "/";
    if (one.target == api + "/refs") {
      Json list = Json::array();
      for (const auto &[name, where] : branches) list.push_back({{"name", name}, {"ref", "refs/heads/" + name}, {"targetCommit", where}});
      to.send(answer(200, refs.empty() ? Json{{"branches", list}, {"tags", Json::array()}}.dump() : refs));
    } else if (one.target.starts_with(api + "/tree/" + head)) {
      to.send(answer(200, listing.empty() ? tree().dump() : listing));
    } else if (one.target.starts_with(file) && files.contains(one.target.substr(file.size()))) {
      const std::string &bytes = files.at(one.target.substr(file.size()));
      const size_t from = one.has("range") ? std::stoul(one.header("range").substr(6)) : 0;
      const std::string range = "Content-Range: bytes " + std::to_string(from) + "-" + std::to_string(bytes.size() - 1) + "/" +
                                std::to_string(bytes.size()) + "\r\n";
      to.send(answer(from ? 206 : 200, bytes.substr(from), from ? range : ""));
    } else {
      to.send(answer(404, "", "X-Error-Code: EntryNotFound\r\n"));
    }
  }
  ScriptedServer server_{[this](const Seen &one, const Connection &to) { handle(one, to); }};
};

struct Site {
  manifest::test::Variant variant;
  Folder folder;
  FakeHub hub;
  Environment environment;
  std::vector<std::string> said;

  Site() {
    for (const char *name : {"http_proxy", "https_proxy", "all_proxy", "ALL_PROXY", "HTTPS_PROXY"}) unsetenv(name);
    environment.endpoint = hub.url();
    environment.cache = folder / "cache";
    environment.trust_file = folder / "trust.json";
    environment.site_trust_file.clear();
    upload();
    trust(variant.key);
  }
  std::string prefix() const { return "build/" + variant.path().filename().string() + "/"; }
  std::string build() const { return prefix() + manifest::test::plugin_name(); }
  void upload() {
    hub.files.clear();
    for (const std::string &name : manifest::list_files(variant.path()))
      hub.files[prefix() + name] = manifest::test::read(variant.at(name));
  }
  void trust(const manifest::SecretKey &key) const { TrustStore(environment.trust_file, "").add("org", key.public_key(), ""); }
  Fetched fetch(const std::string &what = repository + "@v1", FetchOptions options = {}) {
    options.backend = "cpu";
    options.log = [this](const std::string &sentence) { said.push_back(sentence); };
    return Client(environment).fetch(what, options);
  }
  bool was_said(const std::string &part) const {
    for (const std::string &one : said)
      if (has(one, part)) return true;
    return false;
  }
  std::filesystem::path repository_folder() const { return environment.cache / "kernels--org--triangle-multiplication"; }
  std::filesystem::path blob(const std::string &path) const {
    return repository_folder() / "blobs" / FakeHub::etag(path, hub.files.at(path));
  }
  std::filesystem::path pointer(const std::string &path) const { return repository_folder() / "snapshots" / commit / path; }
};

}  // namespace lamina::hub::test
