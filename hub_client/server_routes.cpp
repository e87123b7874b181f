// Routes for reading, and the table that leads to all of them.
#include "hub_client/server_routes.h"

#include <algorithm>
#include <set>

#include "hub_client/server_answers.h"
#include "manifest/error.h"
#include "manifest/json.h"

namespace lamina::hub {

using manifest::Json;

namespace {

int status_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::not_found: return 404;
    case ErrorKind::conflict: return 412;
    case ErrorKind::malformed:
    case ErrorKind::invalid_argument:
    case ErrorKind::integrity: return 400;
    case ErrorKind::no_space: return 507;
    default: return 500;
  }
}

std::string joined(const std::vector<std::string> &words, size_t from) {
  std::string text;
  for (size_t i = from; i < words.size(); ++i) text += (i > from ? "/" : "") + words[i];
  return text;
}

// A header value must not carry a line break out of somebody's file name.
std::string one_line(std::string text) {
  std::replace_if(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  return text.substr(0, 500);
}

bool is_write(const Request &request) {
  return request.method != "GET" && request.method != "HEAD" && !(request.path.size() == 2 && request.path[1] == "validate-yaml");
}

}  // namespace

std::string percent_decoded(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && std::isxdigit(static_cast<unsigned char>(text[i + 1])) &&
        std::isxdigit(static_cast<unsigned char>(text[i + 2]))) {
      decoded += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

std::string percent_encoded(std::string_view text) {
  constexpr char digits[] = "0123456789ABCDEF";
  std::string encoded;
  for (const unsigned char c : text) {
    if (std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~') encoded += static_cast<char>(c);
    else encoded += {'%', digits[c >> 4], digits[c & 15]};
  }
  return encoded;
}

Answer Routes::may_write(const Request &request) const {
  if (!is_write(request)) return {};
  if (options_.read_only) return failed(403, "", "this hub is read-only");
  if (options_.token.empty()) return {};
  // Uploads of LFS objects carry no token by protocol: their address holds a permit that only an authorised batch request gives out.
  if (request.method == "PUT" && request.path.size() == 2 && request.path[0] == "lfs-objects") {
    const auto permit = request.query.find("permit");
    if (permit != request.query.end() && permit->second == permit_for(options_.token, request.path[1])) return {};
  }
  if (has_token(request)) return {};
  return failed(
      401, "",
      request.headers.contains("authorization") ? "Invalid credentials in Authorization header" : "writing to this hub needs a token");
}

// Compared by their hashes: how long that takes tells nothing about the token.
bool Routes::has_token(const Request &request) const {
  const auto given = request.headers.find("authorization");
  return !options_.token.empty() && given != request.headers.end() &&
         manifest::sha256_hex(given->second) == manifest::sha256_hex("Bearer " + options_.token);
}

Answer Routes::may_read(const Request &request) const {
  if (options_.private_names.empty() || has_token(request)) return {};
  // org and name stand behind the type, wherever the path begins.
  for (size_t i = 0; i < request.path.size(); ++i) {
    std::string name = i + 1 < request.path.size() ? request.path[i] + "/" + request.path[i + 1] : "";
    if (name.ends_with(".git")) name.resize(name.size() - 4);
    if (i > 2 || (!options_.private_names.contains(request.path[i]) && !options_.private_names.contains(name))) continue;
    return failed(401, "RepoNotFound", "no repository " + name + " here");
  }
  return {};
}

bool Routes::takes_file(const Request &request) {
  if (request.method == "PUT") return true;
  return request.method == "POST" && request.path.size() >= 2 && request.path[request.path.size() - 2] == "commit";
}

Answer Routes::answer(const Request &request) {
  Answer answer;
  try {
    answer = may_write(request);
    if (answer.status == 200) answer = may_read(request);
    if (answer.status == 200) answer = dispatch(request);
  } catch (const Refused &refused) { answer = refused.answer; } catch (const Error &error) {
    answer = failed(status_of(error.kind), error.kind == ErrorKind::not_found ? "EntryNotFound" : "", error.what());
  } catch (const Json::exception &) {
    answer = failed(400, "", "the body is not the JSON that this route takes");
  } catch (const std::exception &error) { answer = failed(500, "", error.what()); }
  for (auto &[name, value] : answer.headers) value = one_line(value);
  return answer;
}

Answer Routes::dispatch(const Request &request) {
  const std::vector<std::string> &path = request.path;
  static const std::set<std::string> types = {"kernels", "models", "datasets"};
  const bool read = request.method == "GET" || request.method == "HEAD";
  if (path.size() >= 2 && path[0] == "api") {
    if (read && path[1] == "agent-harnesses") return json_answer(Json::object());
    if (read && path[1] == "whoami-v2")
      return options_.token.empty() || request.headers.contains("authorization")
                 ? json_answer({{"name", "user"}, {"type", "user"}, {"orgs", Json::array()}})
                 : failed(401, "", "Invalid credentials in Authorization header");
    if (read && path.size() == 4 && path[1] == "organizations" && path[3] == "overview")
      return json_answer({{"name", path[2]}, {"trustedKernelPublisher", options_.trusted.contains(path[2])}});
    if (request.method == "POST" && path[1] == "validate-yaml")
      return json_answer({{"errors", Json::array()}, {"warnings", Json::array()}});
    if (path.size() == 3 && path[1] == "repos" && request.method == "POST" && path[2] == "create") return create(request);
    if (path.size() == 3 && path[1] == "repos" && request.method == "DELETE" && path[2] == "delete") return remove(request);
    if (path.size() >= 4 && types.contains(path[1]))
      return api(request, path[1] + "/" + path[2] + "/" + path[3], {path.begin() + 4, path.end()});
  }
  if (path.size() == 2 && path[0] == "lfs-objects" && request.method == "PUT") return lfs_object(request, path[1]);
  if (path.size() == 1 && path[0] == "lfs-verify" && request.method == "POST") return lfs_verify(request);
  // Files: [type/]org/name/resolve/revision/path...; the type is left out for models.
  const bool typed = !path.empty() && types.contains(path[0]);
  const size_t at = typed ? 1 : 0;
  const std::string type = typed ? path[0] : "models";
  if (path.size() >= at + 5 && path[at + 2] == "resolve" && read)
    return resolve(request, type + "/" + path[at] + "/" + path[at + 1], path[at + 3], joined(path, at + 4));
  if (path.size() == at + 6 && path[at + 2] == "info" && path[at + 3] == "lfs" && path[at + 4] == "objects" && path[at + 5] == "batch" &&
      path[at + 1].ends_with(".git") && request.method == "POST")
    return lfs_batch(request, type + "/" + path[at] + "/" + path[at + 1].substr(0, path[at + 1].size() - 4));
  return failed(404, "", "no such route");
}

Answer Routes::api(const Request &request, const std::string &repository, const std::vector<std::string> &rest) {
  const bool read = request.method == "GET" || request.method == "HEAD";
  if (!valid_repository_name(std::string_view(repository).substr(repository.find('/') + 1)) || !store_.exists(repository))
    return failed(404, "RepoNotFound", "no repository " + repository + " here");
  const std::string verb = rest.empty() ? "" : rest[0], name = rest.size() > 1 ? rest[1] : "";
  if (read && rest.empty()) return info(repository, "main");
  if (read && verb == "revision" && rest.size() == 2) return info(repository, name);
  if (read && verb == "refs") return refs(repository);
  if (read && verb == "tree" && rest.size() >= 2) return tree(request, repository, rest);
  if (request.method != "POST" || rest.size() != 2) return failed(404, "", "no such route");
  if (verb == "branch") return branch(request, repository, name);
  if (verb == "tag") return tag(request, repository, name);
  if (verb == "preupload") return preupload(request, repository, name);
  if (verb == "commit") return commit(request, repository, name);
  return failed(404, "", "no such route");
}

std::string Routes::commit_of(const std::string &repository, const std::string &revision) const {
  const std::string commit = store_.resolve(repository, revision);
  if (commit.empty()) throw Refused{failed(404, "RevisionNotFound", "no revision '" + revision + "' in " + repository)};
  return commit;
}

Answer Routes::info(const std::string &repository, const std::string &revision) {
  const std::string commit = commit_of(repository, revision), name = repository.substr(repository.find('/') + 1);
  Json siblings = Json::array();
  for (const auto &[path, file] : store_.tree(repository, commit)) siblings.push_back({{"rfilename", path}});
  return json_answer({{"id", name},
                      {"modelId", name},
                      {"sha", commit},
                      {"private", false},
                      {"gated", false},
                      {"disabled", false},
                      {"downloads", 0},
                      {"likes", 0},
                      {"tags", Json::array()},
                      {"siblings", siblings}});
}

Answer Routes::refs(const std::string &repository) {
  Json branches = Json::array(), tags = Json::array();
  for (const auto &[name, commit] : store_.branches(repository))
    branches.push_back({{"name", name}, {"ref", "refs/heads/" + name}, {"targetCommit", commit}});
  for (const auto &[name, commit] : store_.tags(repository))
    tags.push_back({{"name", name}, {"ref", "refs/tags/" + name}, {"targetCommit", commit}});
  return json_answer({{"branches", branches}, {"tags", tags}, {"converts", Json::array()}});
}

// GET tree/REVISION[/FOLDER][?recursive=true][&cursor=PATH]: entries after the cursor, at most a page of them.
Answer Routes::tree(const Request &request, const std::string &repository, const std::vector<std::string> &rest) {
  const std::string commit = commit_of(repository, rest[1]), folder = joined(rest, 2), prefix = folder.empty() ? "" : folder + "/";
  const auto wanted = [&](const char *name) {
    const auto found = request.query.find(name);
    return found == request.query.end() ? std::string() : found->second;
  };
  const bool recursive = wanted("recursive") == "true" || wanted("recursive") == "1" || wanted("recursive") == "True";
  std::map<std::string, Json> entries;
  for (const auto &[path, file] : store_.tree(repository, commit)) {
    if (!path.starts_with(prefix)) continue;
    const size_t slash = path.find('/', prefix.size());
    for (size_t at = slash; at != std::string::npos; at = recursive ? path.find('/', at + 1) : std::string::npos) {
      const std::string directory = path.substr(0, at);
      entries[directory] = {{"type", "directory"}, {"path", directory}, {"oid", commit}, {"size", 0}};
    }
    if (slash != std::string::npos && !recursive) continue;
    Json entry = {{"type", "file"}, {"path", path}, {"oid", file.git_sha1}, {"size", file.size}};
    if (file.lfs) entry["lfs"] = {{"oid", file.sha256}, {"size", file.size}, {"pointerSize", 134}};
    entries[path] = entry;
  }
  if (entries.empty() && !folder.empty()) return failed(404, "EntryNotFound", "no folder '" + folder + "' in " + repository);
  Json page = Json::array();
  std::string last;
  auto entry = wanted("cursor").empty() ? entries.begin() : entries.upper_bound(wanted("cursor"));
  for (; entry != entries.end() && page.size() < options_.page_size; ++entry) page.push_back(entry->second), last = entry->first;
  Answer answer = json_answer(page);
  answer.headers["X-Repo-Commit"] = commit;
  if (entry != entries.end()) {
    std::string next = url_ + "/api/" + repository + "/tree/" + percent_encoded(rest[1]);
    for (size_t i = 2; i < rest.size(); ++i) next += "/" + percent_encoded(rest[i]);
    answer.headers["Link"] =
        "<" + next + "?recursive=" + (recursive ? "true" : "false") + "&cursor=" + percent_encoded(last) + ">; rel=\"next\"";
  }
  return answer;
}

// "bytes=A-B", "bytes=A-" and "bytes=-N"; several ranges are answered with the whole file, as HTTP allows.
static bool parse_range(const std::string &text, uint64_t size, uint64_t &first, uint64_t &last, bool &satisfiable) {
  satisfiable = false;
  if (!text.starts_with("bytes=") || text.find(',') != std::string::npos) return false;
  const std::string range = text.substr(6);
  const size_t dash = range.find('-');
  if (dash == std::string::npos || range.find_first_not_of("0123456789-") != std::string::npos || range.size() > 40) return false;
  const std::string from = range.substr(0, dash), to = range.substr(dash + 1);
  if ((from.empty() && to.empty()) || to.find('-') != std::string::npos || from.size() > 18 || to.size() > 18) return false;
  if (from.empty()) {
    const uint64_t count = std::min<uint64_t>(std::stoull(to), size);
    first = size - count, last = size ? size - 1 : 0, satisfiable = count > 0;
  } else {
    first = std::stoull(from), last = to.empty() ? size - 1 : std::min<uint64_t>(std::stoull(to), size ? size - 1 : 0);
    satisfiable = first < size && first <= last;
  }
  return true;
}

Answer Routes::resolve(const Request &request, const std::string &repository, const std::string &revision, const std::string &path) {
  if (!valid_repository_name(std::string_view(repository).substr(repository.find('/') + 1)) || !store_.exists(repository))
    return failed(404, "RepoNotFound", "no repository " + repository + " here");
  const std::string commit = commit_of(repository, revision);
  const Tree tree = store_.tree(repository, commit);
  const auto found = tree.find(path);
  if (found == tree.end()) {
    Answer answer = failed(404, "EntryNotFound", "no file '" + path + "' in " + repository + " at " + commit);
    answer.headers["X-Repo-Commit"] = commit;
    return answer;
  }
  Answer answer;
  answer.file = store_.object_path(found->second.sha256);
  answer.file_size = found->second.size;
  answer.headers = {{"X-Repo-Commit", commit},
                    {"ETag", "\"" + found->second.etag() + "\""},
                    {"Accept-Ranges", "bytes"},
                    {"Content-Type", "application/octet-stream"},
                    {"X-Linked-Size", std::to_string(found->second.size)}};
  const auto range = request.headers.find("range"), if_range = request.headers.find("if-range");
  const bool bound = if_range == request.headers.end() || if_range->second == answer.headers["ETag"];
  uint64_t first, last;
  bool satisfiable;
  if (range != request.headers.end() && bound && parse_range(range->second, found->second.size, first, last, satisfiable)) {
    const std::string total = "/" + std::to_string(found->second.size);
    if (!satisfiable) {
      Answer refused = failed(416, "", "the range lies outside the file");
      refused.headers["Content-Range"] = "bytes *" + total;
      return refused;
    }
    answer.status = 206;
    answer.file_offset = first, answer.file_size = last - first + 1;
    answer.headers["Content-Range"] = "bytes " + std::to_string(first) + "-" + std::to_string(last) + total;
  }
  return answer;
}

}  // namespace lamina::hub
