#include "hub_client/repository_store.h"

#include <algorithm>
#include <cctype>
#include <fstream>

#include "manifest/digest.h"
#include "manifest/error.h"
#include "manifest/json.h"

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;
using manifest::Json;
constexpr uint64_t max_commit = 64 << 20;

bool is_hex(std::string_view text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool valid_word(std::string_view word) {
  if (word.empty() || word.size() > 96 || word.front() == '-' || word.front() == '.' || word.find("..") != std::string_view::npos)
    return false;
  return std::all_of(word.begin(), word.end(), [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; });
}

}  // namespace

bool valid_repository_name(std::string_view name) {
  const size_t slash = name.find('/');
  if (slash == std::string_view::npos || name.size() > 96 || name.ends_with(".git") || name.find("--") != std::string_view::npos)
    return false;
  return valid_word(name.substr(0, slash)) && valid_word(name.substr(slash + 1));
}

bool valid_ref_name(std::string_view name) { return valid_word(name); }

RepositoryStore::RepositoryStore(fs::path root) : root_(std::move(root)) {
  std::error_code failure;
  fs::create_directories(root_ / "objects", failure);
  if (!failure) fs::create_directories(root_ / "repositories", failure);
  fs::remove_all(incoming(), failure);  // what a server that was killed left
  if (failure) throw Error(ErrorKind::io, "cannot make " + root_.string() + ": " + failure.message());
}

fs::path RepositoryStore::folder(const std::string &repository) const {
  const size_t slash = repository.find('/');
  const std::string type = repository.substr(0, slash);
  if ((type != "kernels" && type != "models" && type != "datasets") || slash == std::string::npos ||
      !valid_repository_name(repository.substr(slash + 1)))
    throw Error(ErrorKind::malformed, "'" + repository + "' is no repository name");
  return root_ / "repositories" / repository;
}

bool RepositoryStore::exists(const std::string &repository) const { return fs::is_directory(folder(repository) / "heads"); }

bool RepositoryStore::create(const std::string &repository) {
  const std::lock_guard lock(commits_);
  const fs::path path = folder(repository);
  if (fs::is_directory(path / "heads")) return false;
  fs::create_directories(path / "commits");
  fs::create_directories(path / "tags");
  fs::create_directories(path / "heads");
  // Every repository has a main branch; its first commit is empty.
  const std::string bytes = manifest::write_json(Json{{"parent", ""}, {"summary", "initial commit"}, {"files", Json::object()}});
  const std::string id = manifest::sha256_hex(bytes).substr(0, 40);
  manifest::write_file_atomically(path / "commits" / (id + ".json"), bytes);
  write_ref(repository, "heads", "main", id);
  return true;
}

bool RepositoryStore::remove(const std::string &repository) {
  const std::lock_guard lock(commits_);
  return fs::remove_all(folder(repository)) > 0;
}

std::map<std::string, std::string> RepositoryStore::refs(const std::string &repository, const char *kind) const {
  std::map<std::string, std::string> found;
  const fs::path path = folder(repository) / kind;
  if (!fs::is_directory(path)) return found;
  for (const fs::directory_entry &entry : fs::directory_iterator(path)) {
    const std::string name = entry.path().filename().string();
    if (!valid_ref_name(name)) continue;  // a temporary file of a write under way
    const std::string id = manifest::read_file(entry.path(), 64);
    if (is_hex(id, 40)) found[name] = id;
  }
  return found;
}

std::map<std::string, std::string> RepositoryStore::branches(const std::string &repository) const { return refs(repository, "heads"); }
std::map<std::string, std::string> RepositoryStore::tags(const std::string &repository) const { return refs(repository, "tags"); }

std::string RepositoryStore::resolve(const std::string &repository, const std::string &revision) const {
  if (is_hex(revision, 40) && fs::exists(folder(repository) / "commits" / (revision + ".json"))) return revision;
  std::string name = revision;
  for (const char *prefix : {"refs/heads/", "refs/tags/"})
    if (name.starts_with(prefix)) name = name.substr(std::string_view(prefix).size());
  if (!valid_ref_name(name)) return "";
  for (const auto &[kind, prefix] : {std::pair{"heads", "refs/heads/"}, std::pair{"tags", "refs/tags/"}}) {
    if (revision != name && !revision.starts_with(prefix)) continue;
    const std::map<std::string, std::string> known = refs(repository, kind);
    if (const auto found = known.find(name); found != known.end()) return found->second;
  }
  return "";
}

void RepositoryStore::write_ref(const std::string &repository, const char *kind, const std::string &name, const std::string &commit) {
  if (!valid_ref_name(name)) throw Error(ErrorKind::malformed, "'" + name + "' is no name for a branch or tag");
  manifest::write_file_atomically(folder(repository) / kind / name, commit);
}

bool RepositoryStore::create_branch(const std::string &repository, const std::string &branch, const std::string &start) {
  const std::lock_guard lock(commits_);
  if (branches(repository).contains(branch)) return false;
  write_ref(repository, "heads", branch, start);
  return true;
}

bool RepositoryStore::create_tag(const std::string &repository, const std::string &tag, const std::string &commit) {
  const std::lock_guard lock(commits_);
  if (tags(repository).contains(tag)) return false;
  write_ref(repository, "tags", tag, commit);
  return true;
}

Tree RepositoryStore::tree(const std::string &repository, const std::string &commit) const {
  if (!is_hex(commit, 40)) throw Error(ErrorKind::not_found, "'" + commit + "' is no commit");
  const Json json = manifest::read_json(folder(repository) / "commits" / (commit + ".json"), {max_commit, 8, false});
  Tree tree;
  for (const auto &[path, file] : json.at("files").items())
    tree[path] = {file.at("sha256"), file.at("git_sha1"), file.at("size"), file.at("lfs")};
  return tree;
}

std::string RepositoryStore::commit(const std::string &repository, const std::string &branch, const std::string &parent,
                                    const std::string &summary, const std::vector<Change> &changes) {
  const std::lock_guard lock(commits_);
  const std::map<std::string, std::string> heads = branches(repository);
  const auto head = heads.find(branch);
  if (head == heads.end()) throw Error(ErrorKind::not_found, "no branch '" + branch + "' in " + repository);
  if (!parent.empty() && parent != head->second) throw Error(ErrorKind::conflict, "the branch has moved to " + head->second);
  Tree tree = this->tree(repository, head->second);
  for (const Change &change : changes) {
    manifest::check_relative_path(change.path, manifest::Bytecode::allowed);
    if (change.kind == Change::Kind::put) {
      if (!find_object(change.file.sha256))
        throw Error(ErrorKind::not_found, change.path + ": object " + change.file.sha256 + " was never uploaded");
      tree[change.path] = change.file;
    } else if (change.kind == Change::Kind::remove_file) {
      tree.erase(change.path);
    } else {
      std::erase_if(tree, [&](const auto &entry) { return entry.first.starts_with(change.path + "/"); });
    }
  }
  Json files = Json::object();
  for (const auto &[path, file] : tree)
    files[path] = {{"sha256", file.sha256}, {"git_sha1", file.git_sha1}, {"size", file.size}, {"lfs", file.lfs}};
  const std::string bytes = manifest::write_json(Json{{"parent", head->second}, {"summary", summary}, {"files", files}});
  const std::string id = manifest::sha256_hex(bytes).substr(0, 40);
  manifest::write_file_atomically(folder(repository) / "commits" / (id + ".json"), bytes);
  write_ref(repository, "heads", branch, id);
  return id;
}

fs::path RepositoryStore::object_path(const std::string &sha256) const {
  if (!is_hex(sha256, 64)) throw Error(ErrorKind::malformed, "'" + sha256 + "' is no SHA-256");
  return root_ / "objects" / sha256;
}

StoredFile RepositoryStore::put(std::string_view bytes, const std::string &expected_sha256) {
  StoredFile file{manifest::sha256_hex(bytes), manifest::git_blob_hex(bytes), bytes.size(), false};
  if (!expected_sha256.empty() && expected_sha256 != file.sha256)
    throw Error(ErrorKind::integrity, "the bytes hash to " + file.sha256 + ", not to " + expected_sha256);
  const fs::path path = object_path(file.sha256);
  if (!fs::exists(path)) manifest::write_file_atomically(path, bytes, 0444);
  const fs::path git = root_ / "objects" / (file.sha256 + ".git");
  if (!fs::exists(git)) manifest::write_file_atomically(git, file.git_sha1, 0444);
  return file;
}

StoredFile RepositoryStore::put_file(UploadFile &upload, const std::string &expected_sha256) {
  manifest::Sha256 sha256;
  manifest::GitBlobSha1 sha1(upload.size());
  std::ifstream in(upload.path(), std::ios::binary);
  std::vector<char> piece(1 << 20);
  while (in.read(piece.data(), static_cast<std::streamsize>(piece.size())), in.gcount() > 0) {
    sha256.add(piece.data(), static_cast<size_t>(in.gcount()));
    sha1.add(piece.data(), static_cast<size_t>(in.gcount()));
  }
  StoredFile file{manifest::to_hex(sha256.finish()), manifest::to_hex(sha1.finish()), upload.size(), false};
  if (expected_sha256 != file.sha256) throw Error(ErrorKind::integrity, "the bytes hash to " + file.sha256 + ", not to " + expected_sha256);
  const fs::path path = object_path(file.sha256), git = path.string() + ".git";
  if (!fs::exists(git)) manifest::write_file_atomically(git, file.git_sha1, 0444);
  upload.sync();
  fs::rename(upload.path(), path);
  return file;
}

std::optional<StoredFile> RepositoryStore::find_object(const std::string &sha256) const {
  const fs::path path = object_path(sha256);
  std::error_code missing;
  const uint64_t size = fs::file_size(path, missing);
  if (missing) return std::nullopt;
  return StoredFile{sha256, manifest::read_file(path.string() + ".git", 64), size, false};
}

}  // namespace lamina::hub
