#include "hub_client/download.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "hub_client/blob_writer.h"
#include "hub_client/file_lock.h"
#include "hub_client/memory.h"
#include "hub_client/server_routes.h"
#include "manifest/error.h"
#include "manifest/json.h"

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;
using manifest::Json;

constexpr int max_pages = 1000;
constexpr size_t max_entries = 100000;
constexpr uint64_t max_file = uint64_t{2} << 30, max_page = 4 << 20;
constexpr std::chrono::seconds patience{30};  // with a download of another process that does not grow

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

// The answer as JSON; a member that is missing or of another type is the hub's fault, not ours.
template <class Read>
void read_answer(std::string_view body, const std::string &what, Read read) {
  const size_t first = body.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && body[first] == '<')
    throw Error(ErrorKind::malformed, what + " is a web page: perhaps a login page of this network, or HF_ENDPOINT names no hub");
  const Json json = manifest::parse_json(body, what, {max_page, 16, true});
  try {
    read(json);
  } catch (const Json::exception &error) { throw Error(ErrorKind::malformed, what + " is not what a hub answers: " + error.what()); }
}

uint64_t size_of(const Json &item) {
  const Json &size = item.at("size");
  if (!size.is_number_unsigned() || size.get<uint64_t>() > max_file)
    throw Error(ErrorKind::integrity, "the hub lists a file of size " + size.dump() + ", which no file of a bundle has");
  return size.get<uint64_t>();
}

void add_page(const Json &page, Listing &listing, size_t &entries) {
  if (!page.is_array()) throw Error(ErrorKind::malformed, "the hub's listing is no list");
  for (const Json &item : page) {
    if (++entries > max_entries) throw Error(ErrorKind::integrity, "the hub's listing is longer than any bundle's");
    if (item.at("type").get<std::string>() != "file") continue;
    const std::string path = item.at("path").get<std::string>();
    manifest::check_relative_path(path, manifest::Bytecode::allowed);
    ListedFile file;
    const bool lfs = item.contains("lfs") && item["lfs"].is_object();
    file.etag = (lfs ? item["lfs"] : item).at("oid").get<std::string>();
    file.size = size_of(lfs ? item["lfs"] : item);
    if (!valid_etag(file.etag)) throw Error(ErrorKind::integrity, path + ": the hub names it by something that is no hash");
    if (!listing.emplace(path, file).second) throw Error(ErrorKind::integrity, "the hub lists " + path + " twice");
  }
}

}  // namespace

// A name that another differs from in case alone is another file here and the same one elsewhere; a file cannot be a folder too.
void check_names(const Listing &listing, const std::string &what) {
  std::map<std::string, std::string> folded;  // of files and folders: in lower case -> as it is
  const auto add = [&](const std::string &name) {
    std::string lower = name;
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const auto [found, fresh] = folded.emplace(lower, name);
    if (!fresh && found->second != name)
      throw Error(ErrorKind::malformed, what + ": " + found->second + " and " + name + " differ in case alone");
  };
  for (const auto &[path, file] : listing) {
    for (size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
      add(path.substr(0, slash));
      if (listing.contains(path.substr(0, slash)))
        throw Error(ErrorKind::malformed, what + ": " + path.substr(0, slash) + " is both a file and a folder");
    }
    add(path);
  }
}

void read_listing_page(std::string_view body, const std::string &what, Listing &listing, size_t &entries) {
  read_answer(body, what, [&](const Json &json) { add_page(json, listing, entries); });
}

Listing list_files(const Http &http, const std::string &repository, const std::string &commit, const std::string &folder) {
  Listing listing;
  std::set<std::string> pages;
  size_t entries = 0;
  const std::string what = "the listing of " + repository;
  std::string url =
      "/api/kernels/" + repository + "/tree/" + commit + (folder.empty() ? "" : "/" + folder) + "?recursive=true&expand=false";
  for (int page = 0; !url.empty(); ++page) {
    if (page == max_pages) throw Error(ErrorKind::integrity, what + " does not end");
    if (!pages.insert(url).second) throw Error(ErrorKind::integrity, what + " does not end: a page leads back to an earlier one");
    const HttpAnswer answer = http.expect({"GET", url, {}, "", max_page, {}, {}, true}, what);
    read_listing_page(answer.body, what, listing, entries);
    url = next_page(answer, http.environment().endpoint);
  }
  check_names(listing, what);
  return listing;
}

std::map<std::string, std::string> list_branches(const Http &http, const std::string &repository) {
  std::map<std::string, std::string> branches;
  const HttpAnswer answer = http.expect({"GET", "/api/kernels/" + repository + "/refs", {}, "", 4 << 20, {}, {}, true}, repository);
  read_answer(answer.body, "the list of branches of " + repository, [&](const Json &json) {
    for (const Json &branch : json.at("branches")) {
      const std::string commit = branch.at("targetCommit").get<std::string>();
      if (!valid_commit(commit)) throw Error(ErrorKind::integrity, "the hub names a commit by something that is no hash");
      branches[branch.at("name").get<std::string>()] = commit;
    }
  });
  return branches;
}

bool Downloader::have(const std::string &path, const ListedFile &file) const {
  return !cache_.blob(file.etag, file.size).empty() || cache_.holds_file(commit_, path, file.etag, file.size);
}

void Downloader::drop_wrong(const Listing &files) const {
  for (const auto &[path, file] : files) {
    const fs::path pointer = cache_.snapshot(commit_) / path;
    const fs::file_status status = fs::symlink_status(pointer);
    if (!fs::exists(status)) continue;
    const bool right = fs::is_symlink(status)
                           ? fs::read_symlink(pointer).filename() == file.etag && !cache_.blob(file.etag, file.size).empty()
                           : cache_.holds_file(commit_, path, file.etag, file.size);
    if (right) continue;
    say(path + " in the cache is not what the hub lists; it is fetched again");
    std::error_code failure;
    if (!fs::remove(pointer, failure))
      throw Error(kind_of_errno(failure.value()), pointer.string() + " is damaged and cannot be removed: " + failure.message());
  }
}

void Downloader::check_space(uint64_t needed) const {
  fs::path folder = cache_.folder();
  while (!fs::exists(folder) && folder.has_parent_path() && folder != folder.parent_path()) folder = folder.parent_path();
  std::error_code unknown;
  const fs::space_info space = fs::space(folder, unknown);
  if (unknown || space.available >= needed) return;
  throw Error(ErrorKind::no_space, "the download needs " + std::to_string(needed) + " bytes, and " + folder.string() + " has " +
                                       std::to_string(space.available) +
                                       "; free space there, or let HF_HUB_CACHE name a folder on a larger disk");
}

void Downloader::get(const Listing &files) {
  cache_.refuse_links();
  Listing missing;
  for (const auto &[path, file] : files)
    if (!have(path, file)) missing.emplace(path, file), now_.all_total += file.size;
  uint64_t needed = 0;
  for (const auto &[path, file] : missing) needed += file.size - std::min(file.size, cache_.unfinished_bytes(file.etag));
  if (needed > 0) check_space(needed);
  for (const auto &[path, file] : missing) download(path, file);
  for (const auto &[path, file] : files)
    if (!cache_.holds_file(commit_, path, file.etag, file.size)) cache_.link(commit_, path, file.etag);
}

bool Downloader::hashed(const std::string &path, const std::string &sha256) const {
  const auto found = hashed_.find(path);
  return found != hashed_.end() && found->second.first == sha256 && !found->second.second.empty() &&
         Receipt::line_for(cache_.snapshot(commit_) / path) == found->second.second;
}

void Downloader::download(const std::string &path, const ListedFile &file) {
  uint64_t seen = 0;
  auto since = std::chrono::steady_clock::now();
  bool told = false;
  make_cache_folder(cache_.blobs());
  const FileLock lock(cache_.lock_file(file.etag), [&] {
    const auto clock = std::chrono::steady_clock::now();
    if (!told) say("waiting for another process that downloads " + path), told = true;
    if (const uint64_t bytes = cache_.unfinished_bytes(file.etag); bytes != seen) seen = bytes, since = clock;
    return clock - since < patience;
  });
  if (have(path, file)) {  // another one has brought it meanwhile
    now_.all_done += file.size;
    return;
  }
  transfer(path, file, lock.held());
}

void Downloader::transfer(const std::string &path, const ListedFile &file, bool locked) {
  BlobWriter blob(cache_.blobs(), file.etag, file.size, locked ? BlobWriter::Name::shared : BlobWriter::Name::own);
  const uint64_t before = blob.written();
  say((before ? "going on with " : "downloading ") + path + " (" + std::to_string(file.size) + " bytes" +
      (before ? ", " + std::to_string(before) + " are there)" : ")"));
  std::string url = "/kernels/" + repository_ + "/resolve/" + commit_;
  for (size_t at = 0; at <= path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    url += "/" + percent_encoded(std::string_view(path).substr(at, slash - at));
    at = slash + 1;
  }
  const uint64_t all_before = now_.all_done;
  HttpRequest request{"GET", url, {}, "", file.size, {}, [&] { blob.restart(); }, true, [&] { return blob.written(); }};
  request.sink = [&](std::string_view bytes) {
    blob.write(bytes);
    bytes_ += bytes.size();
    now_.file = path, now_.done = blob.written(), now_.total = file.size, now_.all_done = all_before + now_.done;
    now_.resumed = blob.resumed() ? before : 0;
    if (progress_) progress_(now_);
  };
  for (bool again = true; again;) {
    again = blob.resumed();  // a wrong hash may be the fault of what an earlier process left: then once more, from the start
    try {
      if (blob.written() < file.size || file.size == 0) http_.expect(request, path);
      blob.commit();
      break;
    } catch (const Error &error) {
      if (error.kind == ErrorKind::network) blob.keep();
      if (error.kind != ErrorKind::integrity || !again) throw;
      say("what was there of " + path + " is not the beginning of this file; downloading all of it");
      blob.restart();
    }
  }
  if (file.etag.size() == 64) hashed_[path] = {file.etag, Receipt::line_for(cache_.blobs() / file.etag)};
  ++files_;
  now_.all_done = all_before + file.size;
}

}  // namespace lamina::hub
