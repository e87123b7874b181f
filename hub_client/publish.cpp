#include "hub_client/publish.h"

#include <algorithm>
#include <map>
#include <vector>

#include "hub_client/cache.h"
#include "hub_client/download.h"
#include "hub_client/revocations.h"
#include "hub_client/server_routes.h"
#include "manifest/digest.h"
#include "manifest/error.h"
#include "manifest/json.h"
#include "manifest/verify.h"

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;
using manifest::Json;

constexpr uint64_t max_file = uint64_t{2} << 30, max_document = 16 << 20;
constexpr uint64_t max_inline = 64 << 20;  // in a commit's own text, which hubs keep small
constexpr int max_rounds = 3;
const std::map<std::string, std::string> json_body = {{"Content-Type", "application/json"}};
const std::map<std::string, std::string> lfs_headers = {{"Content-Type", "application/vnd.git-lfs+json"},
                                                        {"Accept", "application/vnd.git-lfs+json"}};

struct Upload {
  std::string path, bytes, sha256, git_sha1;  // path in the repository; the bytes that were hashed are the ones that are sent
  bool lfs = false, unchanged = false;
};

struct Release {
  std::vector<Upload> files;  // below build/
  manifest::Bundle bundle;    // of the first variant; all agree on repo, version and counter
};

Release read_release(const PublishOptions &options) {
  Release release;
  bool first = true;
  for (const fs::directory_entry &entry : fs::directory_iterator(options.bundle / "build")) {
    manifest::VerifyPolicy policy;
    policy.expected_repo = options.repository, policy.expected_variant = entry.path().filename().string();
    // Who may sign is the reader's question; that it is signed, and whole, is the publisher's.
    policy.signatures = manifest::SignaturePolicy::off;
    const manifest::VerifyReport report = manifest::verify_variant_directory(entry.path(), policy);
    report.throw_if_failed();
    if (!fs::exists(entry.path() / manifest::bundle_signature_file))
      throw Error(ErrorKind::signature,
                  entry.path().string() + " is not signed; run lamina sign " + options.bundle.string() + " --key FILE");
    if (first) release.bundle = *report.bundle;
    else if (report.bundle->version != release.bundle.version || report.bundle->counter != release.bundle.counter)
      throw Error(ErrorKind::malformed, options.bundle.string() + " mixes releases: its variants differ in version or counter");
    first = false;
    for (const std::string &file : manifest::list_files(entry.path())) {
      Upload upload;
      upload.path = "build/" + entry.path().filename().string() + "/" + file;
      manifest::check_relative_path(upload.path);
      upload.bytes = manifest::read_file(entry.path() / file, max_file);
      upload.sha256 = manifest::sha256_hex(upload.bytes), upload.git_sha1 = manifest::git_blob_hex(upload.bytes);
      if (const manifest::BundleEntry *listed = report.bundle->file(file); listed && listed->sha256 != upload.sha256)
        throw Error(ErrorKind::integrity, upload.path + " changed while it was read");
      release.files.push_back(std::move(upload));
    }
  }
  if (release.files.empty()) throw Error(ErrorKind::not_found, options.bundle.string() + " holds no variant under build/");
  return release;
}

class Publisher {
 public:
  Publisher(const Http &http, const PublishOptions &options) : http_(http), options_(options), api_("/api/kernels/" + options.repository) {}

  // One commit of these files on a branch, and nothing else.
  std::string put_files(const std::string &branch, const std::string &summary, const std::map<std::string, std::string> &files) const {
    std::vector<std::string> lines;
    for (const auto &[path, bytes] : files) {
      Upload file;
      file.path = path, file.bytes = bytes;
      lines.push_back(file_line(file));
    }
    return post_commit(branch, heads()[branch], summary, lines);
  }

  Published run() {
    Release release = read_release(options_);
    say("verified " + options_.bundle.string() + ": " + options_.repository + " " + release.bundle.version + ", counter " +
        std::to_string(release.bundle.counter));
    if (options_.create) create_repository();
    Published published;
    published.branch = "v" + std::to_string(release.bundle.major());
    std::string head = heads()[published.branch];
    if (head.empty()) {
      post(api_ + "/branch/" + published.branch, Json::object(), "creating branch " + published.branch, {409});
      head = heads()[published.branch];
    }
    const std::map<std::string, std::string> before = listing(head);
    check_counter(release.bundle, head, before);
    ask_modes(release.files, published.branch);
    std::vector<std::string> stale;
    for (const auto &[path, etag] : before)
      if (std::none_of(release.files.begin(), release.files.end(), [&](const Upload &file) { return file.path == path; }))
        stale.push_back(path);
    published.unchanged = stale.empty() && std::all_of(release.files.begin(), release.files.end(), [&](Upload &file) {
                            const auto known = before.find(file.path);
                            return file.unchanged =
                                       known != before.end() && (known->second == file.sha256 || known->second == file.git_sha1);
                          });
    published.commit = head;
    if (published.unchanged) say("the release is there already");
    else {
      upload_objects(release.files, published.branch);
      published.commit = commit_files(release, stale, published.branch, head);
    }
    publish_card();
    return published;
  }

 private:
  void say(const std::string &sentence) const {
    if (options_.log) options_.log(sentence);
  }

  // A POST of JSON; statuses in `fine` are answers too.
  HttpAnswer post(const std::string &url, const Json &body, const std::string &what, const std::vector<int> &fine = {}) const {
    const HttpAnswer answer = http_.send({"POST", url, json_body, body.dump(), 32 << 20, {}, {}, true});
    if (!answer.ok() && std::find(fine.begin(), fine.end(), answer.status) == fine.end()) throw_status(answer, what, http_.environment());
    return answer;
  }

  void create_repository() const {
    const size_t slash = options_.repository.find('/');
    const HttpAnswer answer =
        post("/api/repos/create",
             {{"name", options_.repository.substr(slash + 1)}, {"organization", options_.repository.substr(0, slash)}, {"type", "kernel"}},
             "creating " + options_.repository, {409});
    say((answer.status == 409 ? "repository exists: " : "created repository ") + options_.repository);
  }

  std::map<std::string, std::string> heads() const { return list_branches(http_, options_.repository); }

  // Path -> ETag of everything on a commit.
  std::map<std::string, std::string> listing(const std::string &commit) const {
    std::map<std::string, std::string> found;
    for (const auto &[path, file] : list_files(http_, options_.repository, commit, "")) found[path] = file.etag;
    return found;
  }

  // A counter only grows: an older release must not follow a newer one, nor two different ones share a number.
  void check_counter(const manifest::Bundle &bundle, const std::string &head, const std::map<std::string, std::string> &before) const {
    for (const auto &[path, etag] : before) {
      if (!path.ends_with(std::string("/") + manifest::bundle_file)) continue;
      const HttpAnswer answer = http_.expect(
          {"GET", "/kernels/" + options_.repository + "/resolve/" + head + "/" + path, {}, "", max_document, {}, {}, true}, path);
      const manifest::Bundle old = manifest::parse_bundle(answer.body, path);
      if (old.counter > bundle.counter || (old.counter == bundle.counter && old.variant == bundle.variant &&
                                           manifest::sha256_hex(answer.body) != current_bundle_sha256(path)))
        throw Error(ErrorKind::conflict, options_.repository + " has a release with counter " + std::to_string(old.counter) +
                                             " already; pack with a larger --counter");
    }
  }
  std::string current_bundle_sha256(const std::string &path) const {
    const fs::path file = options_.bundle / path;
    return fs::exists(file) ? manifest::sha256_hex(manifest::read_file(file, max_document)) : "";
  }

  void ask_modes(std::vector<Upload> &files, const std::string &branch) const {
    Json list = Json::array();
    for (const Upload &file : files)
      list.push_back(
          {{"path", file.path}, {"size", file.bytes.size()}, {"sample", manifest::to_base64(std::string_view(file.bytes).substr(0, 512))}});
    const HttpAnswer answer = post(api_ + "/preupload/" + branch, {{"files", list}}, "asking how to upload");
    std::map<std::string, Json> verdicts;
    const Json modes = manifest::parse_json(answer.body, "the hub's answer to preupload", {32 << 20, 16, true});
    for (const Json &verdict : modes.at("files")) verdicts[verdict.at("path").get<std::string>()] = verdict;
    for (Upload &file : files) {
      const auto verdict = verdicts.find(file.path);
      if (verdict == verdicts.end()) throw Error(ErrorKind::network, "the hub does not say how to upload " + file.path);
      if (verdict->second.value("shouldIgnore", false))
        throw Error(ErrorKind::conflict,
                    "the hub would ignore " + file.path + ", which the release needs; check the repository's .gitignore");
      file.lfs = verdict->second.at("uploadMode") == "lfs" && !file.bytes.empty();
      if (!file.lfs && file.bytes.size() > max_inline)
        throw Error(ErrorKind::unsupported,
                    "the hub wants " + file.path + " (" + std::to_string(file.bytes.size()) +
                        " bytes) inside the commit, which would not take it; check the repository's .gitattributes");
    }
  }

  // Objects first: a commit never names one that is missing.  An address that has expired is asked for again; what is stored is not sent
  // twice.
  void upload_objects(const std::vector<Upload> &files, const std::string &branch) const {
    std::map<std::string, const Upload *> missing;
    for (const Upload &file : files)
      if (file.lfs) missing.emplace(file.sha256, &file);
    for (int round = 1; !missing.empty(); ++round) {
      std::map<std::string, const Upload *> failed;
      const Json places = ask_places(missing, branch);
      for (const Json &object : places.at("objects")) {
        const auto found = missing.find(object.at("oid").get<std::string>());
        if (found == missing.end()) throw Error(ErrorKind::network, "the hub speaks of an object that is not ours");
        if (object.contains("error"))
          throw Error(ErrorKind::network, found->second->path + ": the hub refuses the object: " + object["error"].value("message", ""));
        if (!object.contains("actions")) continue;  // stored already
        try {
          upload_object(*found->second, object["actions"]);
        } catch (const Error &error) {
          if (round == max_rounds || (error.kind != ErrorKind::permission && error.kind != ErrorKind::network)) throw;
          say("asking once more where to upload " + found->second->path + ": " + error.what());
          failed.insert(*found);
        }
      }
      missing = std::move(failed);
    }
  }

  Json ask_places(const std::map<std::string, const Upload *> &files, const std::string &branch) const {
    Json objects = Json::array();
    for (const auto &[oid, file] : files) objects.push_back({{"oid", oid}, {"size", file->bytes.size()}});
    const Json body = {
        {"operation", "upload"}, {"transfers", {"basic"}}, {"objects", objects}, {"hash_algo", "sha256"}, {"ref", {{"name", branch}}}};
    const HttpAnswer answer = http_.expect(
        {"POST", "/kernels/" + options_.repository + ".git/info/lfs/objects/batch", lfs_headers, body.dump(), 32 << 20, {}, {}, true},
        "asking where to upload");
    Json places = manifest::parse_json(answer.body, "the hub's LFS answer", {32 << 20, 16, true});
    if (places.value("transfer", "basic") != "basic")
      throw Error(ErrorKind::unsupported, "the hub wants files in a way that was not offered: " + places["transfer"].dump());
    size_t answered = 0;
    for (const Json &object : places.at("objects")) answered += files.contains(object.at("oid").get<std::string>());
    if (answered < files.size()) throw Error(ErrorKind::network, "the hub does not say where to upload every object");
    return places;
  }

  void upload_object(const Upload &file, const Json &actions) const {
    say("uploading " + file.path + " (" + std::to_string(file.bytes.size()) + " bytes)");
    HttpRequest put{"PUT", actions.at("upload").at("href").get<std::string>(), {}, file.bytes, 1 << 20, {}, {}, false};
    const Json headers = actions["upload"].value("header", Json::object());
    if (headers.contains("chunk_size"))
      throw Error(ErrorKind::unsupported, "the hub wants " + file.path + " in parts, which was not offered; ask it for basic uploads");
    for (const auto &[name, value] : headers.items()) put.headers[name] = value.get<std::string>();
    http_.expect(put, "uploading " + file.path);
    if (!actions.contains("verify")) return;
    const std::string body = Json{{"oid", file.sha256}, {"size", file.bytes.size()}}.dump();
    http_.expect({"POST", actions["verify"].at("href").get<std::string>(), lfs_headers, body, 1 << 20, {}, {}, true},
                 "verifying the upload of " + file.path);
  }

  std::string post_commit(const std::string &branch, const std::string &parent, const std::string &summary,
                          const std::vector<std::string> &lines) const {
    std::string body =
        Json{{"key", "header"}, {"value", {{"summary", summary}, {"description", ""}, {"parentCommit", parent}}}}.dump() + "\n";
    for (const std::string &line : lines) body += line + "\n";
    const HttpRequest request{
        "POST", api_ + "/commit/" + branch, {{"Content-Type", "application/x-ndjson"}}, std::move(body), 1 << 20, {}, {}, true};
    try {
      const HttpAnswer answer = http_.expect(request, "committing to " + branch);
      return manifest::parse_json(answer.body, "the hub's answer to the commit", {1 << 20, 16, true}).at("commitOid").get<std::string>();
    } catch (const Error &error) {
      if (error.kind != ErrorKind::network) throw;
      // The answer was lost; the commit may not be.  The branch knows.
      const std::string head = heads()[branch];
      if (head == parent) throw;
      say("the answer to the commit was lost; the branch has moved to " + head);
      return head;
    }
  }

  static std::string file_line(const Upload &file) {
    if (file.lfs)
      return Json{{"key", "lfsFile"},
                  {"value", {{"path", file.path}, {"algo", "sha256"}, {"oid", file.sha256}, {"size", file.bytes.size()}}}}
          .dump();
    return Json{{"key", "file"}, {"value", {{"path", file.path}, {"content", manifest::to_base64(file.bytes)}, {"encoding", "base64"}}}}
        .dump();
  }

  std::string commit_files(const Release &release, const std::vector<std::string> &stale, const std::string &branch,
                           const std::string &parent) const {
    std::vector<std::string> lines;
    for (const Upload &file : release.files)
      if (!file.unchanged) lines.push_back(file_line(file));
    for (const std::string &path : stale) lines.push_back(Json{{"key", "deletedFile"}, {"value", {{"path", path}}}}.dump());
    const std::string commit = post_commit(
        branch, parent, options_.repository + " " + release.bundle.version + ", release " + std::to_string(release.bundle.counter), lines);
    // What is there now must be what was sent, whoever answered.
    const std::map<std::string, std::string> after = listing(commit);
    for (const Upload &file : release.files) {
      const auto found = after.find(file.path);
      if (found == after.end() || (found->second != file.sha256 && found->second != file.git_sha1))
        throw Error(ErrorKind::conflict,
                    "the hub's " + branch + " does not hold our " + file.path + "; somebody else committed meanwhile: publish again");
    }
    say("committed " + std::to_string(release.files.size()) + " files to " + branch + " as " + commit);
    return commit;
  }

  // README.md and the pictures that lie beside it, in one commit on main.
  void publish_card() const {
    if (!fs::exists(options_.bundle / "README.md")) return;
    const std::string head = heads()["main"];
    const std::map<std::string, std::string> before = listing(head);
    std::vector<std::string> lines;
    for (const fs::directory_entry &entry : fs::directory_iterator(options_.bundle)) {
      const std::string name = entry.path().filename().string();
      if (name != "README.md" && !name.ends_with(".svg")) continue;
      Upload file;
      file.path = name, file.bytes = manifest::read_file(entry.path(), max_document);
      file.sha256 = manifest::sha256_hex(file.bytes), file.git_sha1 = manifest::git_blob_hex(file.bytes);
      const auto known = before.find(name);
      if (known == before.end() || (known->second != file.git_sha1 && known->second != file.sha256)) lines.push_back(file_line(file));
    }
    if (lines.empty()) return;
    post_commit("main", head, "card", lines);
    say("committed the card to main");
  }

  const Http &http_;
  const PublishOptions &options_;
  std::string api_;
};

}  // namespace

Published publish(const Http &http, const PublishOptions &options) {
  if (!valid_repository_name(options.repository))
    throw Error(ErrorKind::invalid_argument, "'" + options.repository + "' is no repository; expected ORG/NAME");
  if (!fs::is_directory(options.bundle / "build"))
    throw Error(ErrorKind::not_found, options.bundle.string() + " is no bundle: it has no folder build/");
  try {
    return Publisher(http, options).run();
  } catch (const Json::exception &error) {
    throw Error(ErrorKind::malformed, std::string("the hub's answer is not what a hub answers: ") + error.what());
  }
}

std::string revoke(const Http &http, const std::string &repository, uint64_t counter, const std::string &reason, const fs::path &secret_key,
                   const std::vector<manifest::PublicKey> &keys) {
  const manifest::SecretKey key = manifest::parse_secret_key(manifest::read_file(secret_key, 1 << 16));
  if (std::find(keys.begin(), keys.end(), key.public_key()) == keys.end())
    throw Error(ErrorKind::untrusted, "key " + key.public_key().id_text() + " is not trusted for " + repository +
                                          ", so no client would accept the list; run lamina trust add with its public key first");
  Revocations list = current_revocations(&http, Memory(""), repository, keys);
  list.repository = repository, ++list.counter, list.releases[counter] = reason;
  const Memory::SignedText text = sign_revocations(list, key);
  PublishOptions options;
  options.repository = repository;
  return Publisher(http, options)
      .put_files("main", "release " + std::to_string(counter) + " is taken back",
                 {{revocations_file, text.text}, {revocations_signature_file, text.signature}});
}

}  // namespace lamina::hub
