// Routes for writing: repositories, branches, uploads, commits.
#include <algorithm>
#include <fstream>
#include <mutex>
#include <sstream>

#include "hub_client/server_answers.h"
#include "manifest/error.h"
#include "manifest/files.h"

namespace lamina::hub {

using manifest::Json;

namespace {

constexpr size_t max_operations = 25000;
constexpr size_t max_line = 96 << 20;  // of a commit: a file of 64 MB in base64, and more

Json parse_body(const Request &request) { return manifest::parse_json(request.body, "the request body", {8 << 20, 32, true}); }

// "kernels/org/name" of a create or delete request.
std::string repository_of(const Json &body) {
  const std::string type = body.value("type", "model"), name = body.at("name").get<std::string>();
  const std::string organisation =
      body.contains("organization") && body["organization"].is_string() ? body["organization"].get<std::string>() : "user";
  const std::string full = name.find('/') == std::string::npos ? organisation + "/" + name : name;
  if ((type != "kernel" && type != "model" && type != "dataset") || !valid_repository_name(full))
    throw Error(ErrorKind::malformed, "'" + full + "' is no repository name, or '" + type + "' no type");
  return type + "s/" + full;
}

// The next line, of a length that memory can hold.  Errors: malformed.
bool read_line(std::istream &lines, std::string &line) {
  line.clear();
  int next = lines.rdbuf()->sbumpc();
  if (next == EOF) return false;
  for (; next != EOF && next != '\n'; next = lines.rdbuf()->sbumpc()) {
    if (line.size() == max_line)
      throw Error(ErrorKind::malformed, "a line of the commit is longer than " + std::to_string(max_line) + " bytes");
    line.push_back(static_cast<char>(next));
  }
  return true;
}

// Small text files go into the commit, the rest by LFS, as the hub decides.
bool wants_lfs(const std::string &path, uint64_t size) { return size > 0 && (path.ends_with(".so") || size > 1 << 20); }

}  // namespace

Answer Routes::create(const Request &request) {
  const std::string repository = repository_of(parse_body(request));
  const bool made = store_.create(repository);
  const std::string shown = repository.starts_with("models/") ? repository.substr(7) : repository;
  return json_answer({{"url", url_ + "/" + shown}, {"name", repository.substr(repository.find('/') + 1)}}, made ? 200 : 409);
}

Answer Routes::remove(const Request &request) {
  const std::string repository = repository_of(parse_body(request));
  if (!store_.remove(repository)) return failed(404, "RepoNotFound", "no repository " + repository + " here");
  return json_answer(Json::object());
}

Answer Routes::branch(const Request &request, const std::string &repository, const std::string &name) {
  const Json body = request.body.empty() ? Json::object() : parse_body(request);
  const std::string start =
      body.contains("startingPoint") && body["startingPoint"].is_string() ? body["startingPoint"].get<std::string>() : "main";
  if (!valid_ref_name(name)) return failed(400, "", "'" + name + "' is no branch name");
  if (!store_.create_branch(repository, name, commit_of(repository, start))) return failed(409, "", "branch '" + name + "' exists");
  return json_answer(Json::object());
}

Answer Routes::tag(const Request &request, const std::string &repository, const std::string &revision) {
  const std::string name = parse_body(request).at("tag").get<std::string>();
  if (!valid_ref_name(name)) return failed(400, "", "'" + name + "' is no tag name");
  if (!store_.create_tag(repository, name, commit_of(repository, revision))) return failed(409, "", "tag '" + name + "' exists");
  return json_answer(Json::object());
}

Answer Routes::preupload(const Request &request, const std::string &repository, const std::string &revision) {
  const Json body = parse_body(request);
  const Tree tree = store_.tree(repository, commit_of(repository, revision));
  Json files = Json::array();
  for (const Json &file : body.at("files")) {
    if (files.size() >= max_operations) return failed(400, "", "too many files in one request");
    const std::string path = file.at("path").get<std::string>();
    manifest::check_relative_path(path, manifest::Bytecode::allowed);
    Json entry = {{"path", path},
                  {"shouldIgnore", false},
                  {"uploadMode", options_.lfs && wants_lfs(path, file.at("size").get<uint64_t>()) ? "lfs" : "regular"}};
    if (const auto known = tree.find(path); known != tree.end()) entry["oid"] = known->second.etag();
    files.push_back(entry);
  }
  return json_answer({{"files", files}});
}

// One JSON text a line: header, then file, lfsFile, deletedFile, deletedFolder.  All of it or nothing.
Answer Routes::commit(const Request &request, const std::string &repository, const std::string &revision) {
  std::string branch = revision.starts_with("refs/heads/") ? revision.substr(11) : revision;
  if (!store_.branches(repository).contains(branch)) return failed(404, "RevisionNotFound", "no branch '" + branch + "' in " + repository);
  std::vector<Change> changes;
  std::string parent, summary;
  std::istringstream short_lines(request.body);
  std::ifstream long_lines;
  if (request.upload) long_lines.open(request.upload->path(), std::ios::binary);
  std::istream &lines = request.upload ? static_cast<std::istream &>(long_lines) : short_lines;
  const std::lock_guard one_at_a_time(commits_);
  for (std::string line; read_line(lines, line);) {
    if (line.empty()) continue;
    if (changes.size() >= max_operations) return failed(400, "", "too many operations in one commit");
    const Json entry = manifest::parse_json(line, "a line of the commit", {max_line, 16, true});
    const std::string key = entry.at("key").get<std::string>();
    const Json &value = entry.at("value");
    if (key == "header") {
      summary = value.value("summary", ""),
      parent = value.contains("parentCommit") && value["parentCommit"].is_string() ? value["parentCommit"].get<std::string>() : "";
      continue;
    }
    Change change;
    change.path = value.at("path").get<std::string>();
    if (key == "deletedFolder") {
      if (change.path.ends_with('/')) change.path.pop_back();
      change.kind = Change::Kind::remove_folder;
    } else if (key == "deletedFile") {
      change.kind = Change::Kind::remove_file;
    } else if (key == "file") {
      manifest::check_relative_path(change.path, manifest::Bytecode::allowed);
      change.file = store_.put(manifest::from_base64(value.at("content").get<std::string>()));
    } else if (key == "lfsFile") {
      const std::string oid = value.at("oid").get<std::string>();
      const auto object = store_.find_object(oid);
      if (!object) return failed(400, "", change.path + ": object " + oid.substr(0, 64) + " was never uploaded");
      if (object->size != value.at("size").get<uint64_t>()) return failed(400, "", change.path + ": the object has another size");
      change.file = *object, change.file.lfs = true;
    } else {
      return failed(400, "", "unknown operation '" + key + "'");
    }
    changes.push_back(std::move(change));
  }
  const std::string id = store_.commit(repository, branch, parent, summary, changes);
  return json_answer({{"success", true}, {"commitOid", id}, {"commitUrl", url_ + "/" + repository + "/commit/" + id}});
}

Answer Routes::lfs_batch(const Request &request, const std::string &repository) {
  if (!store_.exists(repository)) return failed(404, "RepoNotFound", "no repository " + repository + " here");
  const Json body = parse_body(request);
  if (body.at("operation") != "upload") return failed(400, "", "only operation upload is served; files are read by resolve");
  Json objects = Json::array();
  for (const Json &object : body.at("objects")) {
    if (objects.size() >= max_operations) return failed(400, "", "too many objects in one request");
    const std::string oid = object.at("oid").get<std::string>();
    Json entry = {{"oid", oid}, {"size", object.at("size")}};
    if (!store_.find_object(oid))
      entry["actions"] = {
          {"upload", {{"href", url_ + "/lfs-objects/" + oid + "?permit=" + permit_for(options_.token, oid)}, {"header", Json::object()}}},
          {"verify", {{"href", url_ + "/lfs-verify"}, {"header", Json::object()}}}};
    objects.push_back(entry);
  }
  Answer answer = json_answer({{"transfer", "basic"}, {"objects", objects}});
  answer.headers["Content-Type"] = "application/vnd.git-lfs+json";
  return answer;
}

Answer Routes::lfs_object(const Request &request, const std::string &sha256) {
  store_.object_path(sha256);  // refuses a name that is no hash
  if (request.upload) store_.put_file(*request.upload, sha256);
  else store_.put(request.body, sha256);
  return json_answer(Json::object());
}

Answer Routes::lfs_verify(const Request &request) {
  const Json body = parse_body(request);
  const auto object = store_.find_object(body.at("oid").get<std::string>());
  if (!object || object->size != body.at("size").get<uint64_t>()) return failed(404, "EntryNotFound", "the object is not stored");
  return json_answer(Json::object());
}

}  // namespace lamina::hub
