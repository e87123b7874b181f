#include "hub_client/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <set>

#include "hub_client/blob_writer.h"
#include "hub_client/cache.h"
#include "hub_client/inventory.h"
#include "hub_client/memory.h"
#include "hub_client/repository_store.h"
#include "manifest/digest.h"
#include "manifest/error.h"
#include "manifest/json.h"

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;
using manifest::Json;

constexpr const char *index_file = "lamina-archive.json", *index_schema = "lamina/archive/1";
constexpr uint64_t max_index = 16 << 20, max_total = uint64_t{16} << 30;
constexpr size_t max_files = 10000;

struct ArchiveFree {
  void operator()(archive *one) const { archive_free(one); }
};
struct EntryFree {
  void operator()(archive_entry *one) const { archive_entry_free(one); }
};
using Archive = std::unique_ptr<archive, ArchiveFree>;

[[noreturn]] void refuse(const fs::path &file, const std::string &why) { throw Error(ErrorKind::malformed, file.string() + ": " + why); }

std::string what_of(archive *one) { return archive_error_string(one) ? archive_error_string(one) : "the archive library gives no reason"; }

void written(int status, archive *one, const fs::path &file) {
  if (status != ARCHIVE_OK) throw Error(kind_of_errno(archive_errno(one)), "cannot write " + file.string() + ": " + what_of(one));
}

void put(archive *out, const std::string &path, std::string_view bytes, const fs::path &file) {
  const std::unique_ptr<archive_entry, EntryFree> entry(archive_entry_new());
  archive_entry_set_pathname(entry.get(), path.c_str());
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  archive_entry_set_perm(entry.get(), 0644);
  archive_entry_set_mtime(entry.get(), 0, 0);
  archive_entry_set_size(entry.get(), static_cast<int64_t>(bytes.size()));
  written(archive_write_header(out, entry.get()), out, file);
  if (archive_write_data(out, bytes.data(), bytes.size()) != static_cast<la_ssize_t>(bytes.size()))
    throw Error(kind_of_errno(archive_errno(out)), "cannot write " + file.string() + ": " + what_of(out));
}

// A file or folder that goes away unless it is given its final name.
class Temporary {
 public:
  explicit Temporary(fs::path path) : path_(std::move(path)) {}
  ~Temporary() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Temporary(const Temporary &) = delete;
  Temporary &operator=(const Temporary &) = delete;
  const fs::path &path() const { return path_; }

 private:
  fs::path path_;
};

struct Index {
  std::string repository, commit;
  struct Listed {
    std::string etag;
    uint64_t size = 0;
    bool seen = false;
  };
  std::map<std::string, Listed> files;
  std::set<std::string> variants;
};

// What a stranger says is in the archive; nothing is unpacked that is not said here.
Index parse_index(const std::string &text, const fs::path &file) {
  const Json json = manifest::parse_json(text, file.string() + ": " + index_file, {max_index, 8, false});
  Index index;
  uint64_t total = 0;
  try {
    if (json.at("schema") != index_schema) refuse(file, "is no archive of this version of Lamina: schema " + json.at("schema").dump());
    index.repository = json.at("repository").get<std::string>(), index.commit = json.at("commit").get<std::string>();
    if (!valid_repository_name(index.repository)) refuse(file, "names no repository");
    if (!valid_commit(index.commit)) refuse(file, "names no commit");
    for (const auto &[path, facts] : json.at("files").items()) {
      manifest::check_relative_path(path);
      const size_t slash = path.find('/', 6);
      if (!path.starts_with("build/") || slash == std::string::npos) refuse(file, path + " lies outside build/VARIANT/");
      index.variants.insert(path.substr(6, slash - 6));
      Index::Listed listed{facts.at("etag").get<std::string>(), facts.at("size").get<uint64_t>(), false};
      if (!valid_etag(listed.etag)) refuse(file, path + " has no valid ETag");
      if (!facts.at("size").is_number_unsigned() || listed.size > max_snapshot_file || (total += listed.size) > max_total)
        refuse(file, path + " is larger than any file of a bundle, or all files together are");
      index.files[path] = listed;
    }
  } catch (const Json::exception &error) { refuse(file, std::string(index_file) + " is not as it should be: " + error.what()); }
  if (index.files.empty() || index.files.size() > max_files) refuse(file, "lists no file, or too many");
  return index;
}

// One plain file's bytes into `sink`, and not one more than `size`.
template <class Sink>
void read_entry(archive *in, uint64_t size, const std::string &path, const fs::path &file, Sink sink) {
  std::vector<char> piece(1 << 20);
  uint64_t done = 0;
  for (;;) {
    const la_ssize_t count = archive_read_data(in, piece.data(), piece.size());
    if (count < 0) refuse(file, "cannot be unpacked at " + path + ": " + what_of(in));
    if (count == 0) break;
    done += static_cast<uint64_t>(count);
    if (done > size) refuse(file, path + " is longer than the index says");
    sink(std::string_view(piece.data(), static_cast<size_t>(count)));
  }
  if (done != size) refuse(file, path + " is shorter than the index says");
}

// The next entry's path; "" at the end.  Only plain files pass: a link, device or hole could make more of the archive than it is.
std::string next_entry(archive *in, archive_entry *&entry, const fs::path &file) {
  const int status = archive_read_next_header(in, &entry);
  if (status == ARCHIVE_EOF) return "";
  if (status != ARCHIVE_OK) refuse(file, "is no archive that lamina export made, or is damaged: " + what_of(in));
  const char *name = archive_entry_pathname(entry);
  const std::string path = name ? name : "";
  if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) || archive_entry_symlink(entry))
    refuse(file, "holds a link, folder or device; only plain files are unpacked");
  manifest::check_relative_path(path);
  if (archive_entry_sparse_reset(entry) > 0) refuse(file, path + " is stored with holes, which lamina export never does");
  if (!archive_entry_size_is_set(entry)) refuse(file, path + " does not say its size");
  return path;
}

class Import {
 public:
  Import(const fs::path &file, const Environment &environment)
      : file_(file),
        environment_(environment),
        trust_(environment.trust_file, environment.site_trust_file),
        staging_(environment.cache / (".lamina-import-" + random_suffix())),
        input_(archive_read_new()) {}

  Imported run() {
    archive *in = input_.get();
    if (!fs::exists(file_)) throw Error(ErrorKind::not_found, "no file " + file_.string());
    archive_read_support_filter_zstd(in), archive_read_support_format_tar(in);
    if (archive_read_open_filename(in, file_.c_str(), 1 << 20) != ARCHIVE_OK)
      refuse(file_, "is no archive that lamina export made: " + what_of(in));
    read_index();
    check_space();
    unpack_files();
    for (const std::string &variant : index_.variants) verify(variant);
    for (const auto &[path, listed] : index_.files)
      if (!file_matches(staging_.path() / path, listed.etag, listed.size))
        throw Error(ErrorKind::integrity, file_.string() + ": the index calls " + path + " " + listed.etag + ", which is not its hash");
    const RepositoryCache cache(environment_.cache, index_.repository);
    check_cache(cache);
    return adopt(cache);
  }

 private:
  void read_index() {
    archive_entry *entry = nullptr;
    if (next_entry(input_.get(), entry, file_) != index_file)
      refuse(file_, std::string("does not begin with ") + index_file + ", so lamina export did not make it");
    const auto size = static_cast<uint64_t>(archive_entry_size(entry));
    if (size > max_index) refuse(file_, "has an index that is too large");
    std::string text;
    read_entry(input_.get(), size, index_file, file_, [&](std::string_view bytes) { text += bytes; });
    index_ = parse_index(text, file_);
  }

  void check_space() const {
    make_cache_folder(environment_.cache);
    uint64_t needed = 0;
    for (const auto &[path, listed] : index_.files) needed += 2 * listed.size;  // unpacked, then copied under its name
    std::error_code unknown;
    const fs::space_info space = fs::space(environment_.cache, unknown);
    if (!unknown && space.available < needed)
      throw Error(ErrorKind::no_space, "unpacking needs " + std::to_string(needed) + " bytes, and " + environment_.cache.string() +
                                           " has " + std::to_string(space.available));
  }

  void unpack_files() {
    archive_entry *entry = nullptr;
    for (std::string path; !(path = next_entry(input_.get(), entry, file_)).empty();) {
      const auto listed = index_.files.find(path);
      if (listed == index_.files.end()) refuse(file_, path + " is not in its index");
      if (listed->second.seen) refuse(file_, path + " is in it twice");
      listed->second.seen = true;
      if (static_cast<uint64_t>(archive_entry_size(entry)) != listed->second.size)
        refuse(file_, path + " has another size than the index says");
      const fs::path target = staging_.path() / path;
      fs::create_directories(target.parent_path());
      const int descriptor = open(target.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
      if (descriptor < 0) throw Error(kind_of_errno(errno), "cannot write " + target.string());
      const std::unique_ptr<const int, void (*)(const int *)> closer(&descriptor, [](const int *one) { close(*one); });
      read_entry(input_.get(), listed->second.size, path, file_, [&](std::string_view bytes) {
        while (!bytes.empty()) {
          const ssize_t count = write(descriptor, bytes.data(), bytes.size());
          if (count < 0 && errno == EINTR) continue;
          if (count < 0) throw Error(kind_of_errno(errno), "cannot write " + target.string());
          bytes.remove_prefix(static_cast<size_t>(count));
        }
      });
    }
    for (const auto &[path, listed] : index_.files)
      if (!listed.seen) refuse(file_, "ends before " + path + ", which its index lists");
  }

  void verify(const std::string &variant) {
    const fs::path directory = staging_.path() / "build" / variant;
    const fs::path signature = directory / manifest::bundle_signature_file;
    if (fs::exists(signature)) {
      const manifest::Signature by = manifest::parse_signature(manifest::read_file(signature, 1 << 16));
      const std::string organisation = index_.repository.substr(0, index_.repository.find('/'));
      const std::vector<manifest::PublicKey> keys = trust_.keys(organisation);
      if (std::none_of(keys.begin(), keys.end(), [&](const manifest::PublicKey &key) { return key.id == by.key_id; }))
        throw_untrusted(organisation, by, trust_);
    }
    const manifest::VerifyReport report = verify_cached(directory, index_.repository, trust_);
    report.throw_if_failed();
    const manifest::Bundle &bundle = *report.bundle;
    for (const auto &[path, listed] : index_.files) {
      const std::string prefix = "build/" + variant + "/";
      if (!path.starts_with(prefix)) continue;
      const std::string name = path.substr(prefix.size());
      // verify() lets metadata.json.sigstore lie there; nothing of ours covers it.
      if (!bundle.file(name) && name != manifest::bundle_file && name != manifest::bundle_signature_file && name != manifest::metadata_file)
        throw Error(ErrorKind::integrity, path + " is not covered by the signature");
    }
    const std::string branch = "v" + std::to_string(bundle.major());
    if (!imported_.branch.empty() && imported_.branch != branch) refuse(file_, "holds variants of " + branch + " and " + imported_.branch);
    imported_.branch = branch, counters_[variant] = bundle.counter;
  }

  // An older release must not take the place of a newer one, nor other bytes that of a commit's.
  void check_cache(const RepositoryCache &cache) const {
    const std::string known = cache.ref(imported_.branch);
    const uint64_t remembered = Memory(environment_.state).counter(index_.repository, imported_.branch);
    for (const auto &[variant, counter] : counters_) {
      if (counter < remembered)
        throw Error(ErrorKind::conflict, "release " + std::to_string(remembered) + " of " + index_.repository + "@" + imported_.branch +
                                             " was seen on this machine; the archive holds an older one, " + std::to_string(counter));
      const fs::path there = cache.snapshot(known) / "build" / variant / manifest::bundle_file;
      if (known.empty() || !fs::exists(there)) continue;
      const manifest::VerifyReport report = verify_cached(there.parent_path(), index_.repository, trust_);
      if (report.signed_by && report.bundle && report.bundle->counter > counter)
        throw Error(ErrorKind::conflict, "the cache has " + index_.repository + "@" + imported_.branch + " with counter " +
                                             std::to_string(report.bundle->counter) + ", the archive an older one, " +
                                             std::to_string(counter));
    }
    for (const auto &[path, listed] : index_.files) {
      const fs::path there = cache.snapshot(index_.commit) / path;
      std::error_code no_link;
      if (fs::read_symlink(there, no_link).filename() == listed.etag) continue;  // a damaged blob of that name is written again
      if (fs::exists(there) && !file_matches(there, listed.etag, listed.size))
        throw Error(ErrorKind::conflict,
                    there.string() + " has other bytes than the archive has for the same commit; remove it if the archive is right");
    }
  }

  Imported adopt(RepositoryCache cache) {
    for (const auto &[path, listed] : index_.files) {
      if (cache.blob(listed.etag, listed.size).empty()) {
        BlobWriter blob(cache.blobs(), listed.etag, listed.size, BlobWriter::Name::own);
        blob.write(manifest::read_file(staging_.path() / path, max_snapshot_file));
        blob.commit();
      }
      ++imported_.files, imported_.bytes += listed.size;
    }
    // Links only now: a wrong ETag anywhere leaves no name in the snapshot.
    for (const auto &[path, listed] : index_.files) cache.link(index_.commit, path, listed.etag);
    cache.write_ref(imported_.branch, index_.commit);
    imported_.repository = index_.repository, imported_.commit = index_.commit;
    for (const std::string &variant : index_.variants) {
      imported_.variants.push_back(variant);
      imported_.directories.push_back(cache.snapshot(index_.commit) / "build" / variant);
    }
    return std::move(imported_);
  }

  const fs::path &file_;
  const Environment &environment_;
  const TrustStore trust_;
  Temporary staging_;
  Archive input_;
  Index index_;
  Imported imported_;
  std::map<std::string, uint64_t> counters_;
};

}  // namespace

void write_archive(const Snapshot &snapshot, const fs::path &file) {
  Json files = Json::object();
  for (const auto &[path, one] : snapshot.files) files[path] = {{"etag", one.etag}, {"size", one.size}};
  const Json index = {{"schema", index_schema}, {"repository", snapshot.repository}, {"commit", snapshot.commit}, {"files", files}};
  if (fs::is_directory(file)) throw Error(ErrorKind::conflict, file.string() + " is a folder; -o names the archive's file");
  const Temporary temporary(file.string() + ".exporting-" + random_suffix());
  {
    const Archive out(archive_write_new());
    written(archive_write_set_format_pax_restricted(out.get()), out.get(), file);
    written(archive_write_add_filter_zstd(out.get()), out.get(), file);
    written(archive_write_set_options(out.get(), "zstd:compression-level=12"), out.get(), file);
    written(archive_write_set_bytes_in_last_block(out.get(), 1), out.get(), file);
    written(archive_write_open_filename(out.get(), temporary.path().c_str()), out.get(), file);
    put(out.get(), index_file, manifest::write_json(index), file);
    for (const auto &[path, one] : snapshot.files) put(out.get(), path, read_snapshot_file(path, one), file);
    written(archive_write_close(out.get()), out.get(), file);
  }
  std::error_code failure;
  fs::permissions(temporary.path(), fs::perms(0644), failure);
  if (!failure) fs::rename(temporary.path(), file, failure);
  if (failure) throw Error(kind_of_errno(failure.value()), "cannot write " + file.string() + ": " + failure.message());
}

Imported import_archive(const fs::path &file, const Environment &environment) { return Import(file, environment).run(); }

}  // namespace lamina::hub
