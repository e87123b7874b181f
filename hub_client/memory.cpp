#include "hub_client/memory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <ctime>
#include <sstream>

#include "hub_client/cache.h"
#include "hub_client/file_lock.h"
#include "manifest/digest.h"
#include "manifest/error.h"
#include "manifest/files.h"

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t max_list = 1 << 20, max_receipt = 4 << 20;
constexpr const char *receipt_title = "lamina receipt 2";  // another number when the checks change that a receipt stands for
constexpr int64_t settled_nanoseconds = 50'000'000;        // times of files move in ticks; two changes within one look alike

std::string flat(const std::string &repository) {
  const size_t slash = repository.find('/');
  return repository.substr(0, slash) + "--" + repository.substr(slash + 1);
}

int64_t nanoseconds(const timespec &time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

// Device, inode, size and both times on one line.  "" for what is no file, or a file that another user may write: a page of it that is
// mapped already can change and leave its times as they are.
std::string line_of(const struct stat &facts) {
  if (!S_ISREG(facts.st_mode) || (facts.st_uid != geteuid() && facts.st_uid != 0) || (facts.st_mode & (S_IWGRP | S_IWOTH))) return "";
  std::ostringstream line;
  line << facts.st_dev << ' ' << facts.st_ino << ' ' << facts.st_size << ' ' << nanoseconds(facts.st_mtim) << ' '
       << nanoseconds(facts.st_ctim);
  return line.str();
}

std::string read_if_there(const fs::path &path, uint64_t limit) { return fs::exists(path) ? manifest::read_file(path, limit) : ""; }

}  // namespace

fs::path Memory::file(const char *kind, const std::string &name) const { return folder_ / kind / name; }

void Memory::write(const fs::path &path, const std::string &text) const {
  const bool missing = !fs::exists(folder_);
  make_cache_folder(path.parent_path());
  if (missing) chmod(folder_.c_str(), 0700);
  manifest::write_file_atomically(path, text, 0600);
}

uint64_t Memory::counter(const std::string &repository, const std::string &version) const {
  const fs::path path = file("counters", flat(repository) + "--" + version);
  if (folder_.empty() || !fs::exists(path)) return 0;
  std::string text = manifest::read_file(path, 64);
  if (text.ends_with('\n')) text.pop_back();
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != std::string::npos)
    throw Error(ErrorKind::malformed, path.string() + " is damaged; it remembers the newest release of " + repository + " " + version +
                                          ".  Remove it if you know that nobody rolls you back");
  return std::stoull(text);
}

void Memory::note_counter(const std::string &repository, const std::string &version, uint64_t counter, bool lower) const {
  if (folder_.empty() || this->counter(repository, version) == counter) return;
  const fs::path path = file("counters", flat(repository) + "--" + version);
  const bool missing = !fs::exists(folder_);
  make_cache_folder(path.parent_path());
  if (missing) chmod(folder_.c_str(), 0700);
  const auto until = std::time(nullptr) + 10;
  const FileLock lock(path.string() + ".lock", [&] { return std::time(nullptr) < until; });
  if (lower || this->counter(repository, version) < counter) write(path, std::to_string(counter) + "\n");
}

Memory::SignedText Memory::revocations(const std::string &repository) const {
  if (folder_.empty()) return {};
  // One file, so that list and signature always belong together: the signature's lines, an empty line, the list.
  const std::string both = read_if_there(file("revocations", flat(repository)), max_list);
  const size_t end = both.find("\n\n");
  if (end == std::string::npos) return {};
  return {both.substr(end + 2), both.substr(0, end + 1)};
}

void Memory::note_revocations(const std::string &repository, const SignedText &list) const {
  if (folder_.empty()) return;
  std::string signature = list.signature;
  while (signature.ends_with('\n')) signature.pop_back();
  write(file("revocations", flat(repository)), signature + "\n\n" + list.text);
}

std::string Receipt::line_for(const fs::path &file) {
  struct stat facts{};
  return stat(file.c_str(), &facts) == 0 ? line_of(facts) : "";
}

bool Receipt::holds(const fs::path &folder, const std::string &path) const {
  struct stat facts{};
  const auto found = facts_.find(path);
  return found != facts_.end() && stat((folder / path).c_str(), &facts) == 0 && found->second == line_of(facts);
}

bool Receipt::holds(const std::string &path, int descriptor) const {
  struct stat facts{};
  const auto found = facts_.find(path);
  return found != facts_.end() && fstat(descriptor, &facts) == 0 && found->second == line_of(facts);
}

std::shared_ptr<const Receipt> Memory::receipt(const fs::path &folder, const std::string &bundle_sha256) const {
  if (folder_.empty()) return nullptr;
  try {
    std::istringstream lines(read_if_there(file("receipts", manifest::sha256_hex(folder.string())), max_receipt));
    std::string title;
    if (!std::getline(lines, title) || title != receipt_title + (" " + bundle_sha256)) return nullptr;
    Receipt::Facts known;
    for (std::string line; std::getline(lines, line);)
      if (const size_t tab = line.find('\t'); tab != std::string::npos && tab > 0) known[line.substr(tab + 1)] = line.substr(0, tab);
    return std::make_shared<const Receipt>(std::move(known));
  } catch (const std::exception &) { return nullptr; }  // without a receipt everything is hashed
}

Receipt::Facts Memory::facts_of(const fs::path &folder, const manifest::Bundle &bundle) {
  Receipt::Facts found;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  for (const manifest::BundleEntry &entry : bundle.files) {
    struct stat facts{};
    if (stat((folder / entry.path).c_str(), &facts) != 0) continue;
    const std::string line = line_of(facts);
    const bool settled = nanoseconds(now) - nanoseconds(facts.st_ctim) > settled_nanoseconds;
    found[entry.path] = settled && !line.empty() ? line : "-";
  }
  return found;
}

void Memory::note_receipt(const fs::path &folder, const std::string &bundle_sha256, const Receipt::Facts &before) const {
  if (folder_.empty() || before.empty()) return;
  try {
    const Receipt now(before);
    std::string text = receipt_title + (" " + bundle_sha256) + "\n";
    for (const auto &[path, facts] : before)
      if (facts == "-" || now.holds(folder, path)) text += facts + "\t" + path + "\n";
    const fs::path path = file("receipts", manifest::sha256_hex(folder.string()));
    if (read_if_there(path, max_receipt) != text) write(path, text);
  } catch (const std::exception &) {}  // the next check only takes longer
}

}  // namespace lamina::hub
