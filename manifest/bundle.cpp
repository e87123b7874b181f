#include "manifest/bundle.h"

#include <algorithm>
#include <set>

#include "manifest/digest.h"
#include "manifest/error.h"
#include "manifest/files.h"
#include "manifest/json.h"
#include "manifest/schema.h"

namespace lamina::manifest {

namespace {

constexpr const char *sigstore_file = "metadata.json.sigstore";  // of the hub's own signing, over metadata.json, so never listed

// What is made after the list of files, and so cannot be on it.
bool is_reserved(std::string_view path) {
  return path == bundle_file || path == bundle_signature_file || path == metadata_file || path == sigstore_file;
}

void check_entries(const std::vector<BundleEntry> &files, const std::string &what) {
  const auto refuse = [&](const std::string &why) { return Error(ErrorKind::malformed, what + ": " + why); };
  std::set<std::string_view> paths;
  for (size_t i = 0; i < files.size(); ++i) {
    const std::string &path = files[i].path;
    check_relative_path(path);
    if (is_reserved(path)) throw refuse(path + " is made after the bundle and cannot be listed in it");
    if (i && files[i - 1].path >= path) throw refuse("files are not sorted by path, or one appears twice, at " + path);
    for (size_t slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1))
      if (paths.contains(std::string_view(path).substr(0, slash))) throw refuse(path.substr(0, slash) + " is both a file and a folder");
    paths.insert(path);
  }
  if (!paths.contains(manifest_file)) throw refuse("it does not list manifest.json");
}

void check_variant(const Bundle &bundle, const std::string &what) {
  const VariantName variant = parse_variant_name(bundle.variant);
  if (variant.backend_type() != bundle.backend || variant.cpu != bundle.cpu || variant.os != bundle.os)
    throw Error(ErrorKind::malformed,
                what + ": variant " + bundle.variant + " is not for " + bundle.backend + ", " + bundle.cpu + ", " + bundle.os);
}

Json json_of(const Bundle &bundle) {
  Json files = Json::array();
  for (const BundleEntry &file : bundle.files) files.push_back({{"path", file.path}, {"size", file.size}, {"sha256", file.sha256}});
  Json backend = {{"type", bundle.backend}};
  if (!bundle.backend_archs.empty()) backend["archs"] = bundle.backend_archs;
  return {{"schema", "lamina/bundle/1"},
          {"repo", bundle.repo},
          {"version", bundle.version},
          {"variant", bundle.variant},
          {"counter", bundle.counter},
          {"abi", {{"major", bundle.abi_major}, {"minor", bundle.abi_minor}}},
          {"license", bundle.license},
          {"backend", backend},
          {"requirements", {{"os", bundle.os}, {"cpu", bundle.cpu}, {"glibc", bundle.glibc}}},
          {"files", files}};
}

bool all_digits(std::string_view text) { return !text.empty() && text.find_first_not_of("0123456789") == text.npos; }

std::string base64_of_hex(const std::string &digits) { return to_base64(from_hex(digits)); }

std::string base64_sha256(std::string_view bytes) {
  const Sha256Value value = sha256(bytes);
  return to_base64({reinterpret_cast<const char *>(value.data()), value.size()});
}

}  // namespace

std::string Bundle::name() const { return repo.substr(repo.find('/') + 1); }
std::string Bundle::python_name() const {
  std::string text = name();
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}
int64_t Bundle::major() const { return std::stoll(version); }
const BundleEntry *Bundle::file(std::string_view path) const {
  const auto found =
      std::lower_bound(files.begin(), files.end(), path, [](const BundleEntry &one, std::string_view wanted) { return one.path < wanted; });
  return found == files.end() || found->path != path ? nullptr : &*found;
}

Bundle parse_bundle(std::string_view text, const std::string &what) {
  const Json json = parse_json(text, what);
  validate(json, "bundle", what);
  Bundle bundle;
  bundle.repo = json.at("repo");
  bundle.version = json.at("version");
  bundle.variant = json.at("variant");
  bundle.counter = json.at("counter");
  bundle.abi_major = json.at("abi").at("major");
  bundle.abi_minor = json.at("abi").at("minor");
  bundle.license = json.at("license");
  bundle.backend = json.at("backend").at("type");
  bundle.backend_archs = json.at("backend").value("archs", std::vector<std::string>());
  bundle.os = json.at("requirements").at("os");
  bundle.cpu = json.at("requirements").at("cpu");
  bundle.glibc = json.at("requirements").at("glibc");
  for (const Json &file : json.at("files")) bundle.files.push_back({file.at("path"), file.at("size"), file.at("sha256")});
  check_entries(bundle.files, what);
  check_variant(bundle, what);
  return bundle;
}

std::string write_bundle(const Bundle &bundle) {
  std::string text = write_json(json_of(bundle));
  parse_bundle(text, bundle_file);
  return text;
}

std::vector<BundleEntry> list_bundle_files(const std::filesystem::path &variant_dir) {
  std::vector<BundleEntry> entries;
  for (const std::string &path : list_files(variant_dir)) {
    if (is_reserved(path)) continue;
    check_relative_path(path);
    const FileDigest digest = digest_file(variant_dir / path);
    entries.push_back({path, digest.size, to_hex(digest.sha256)});
  }
  return entries;
}

std::string bundle_id(const Bundle &bundle, std::string_view bundle_bytes) {
  return "_" + bundle.python_name() + "_" + bundle.backend + "_" + sha256_hex(bundle_bytes).substr(0, 7);
}

std::string derive_metadata(std::string_view bundle_bytes, std::string_view signature_bytes) {
  const std::string text = derive_metadata(parse_bundle(bundle_bytes, bundle_file), bundle_bytes, signature_bytes);
  validate(parse_json(text, metadata_file), "metadata", metadata_file);
  return text;
}

std::string derive_metadata(const Bundle &bundle, std::string_view bundle_bytes, std::string_view signature_bytes) {
  Json digests = Json::object();
  for (const BundleEntry &file : bundle.files) digests[file.path] = base64_of_hex(file.sha256);
  digests[bundle_file] = base64_sha256(bundle_bytes);
  if (!signature_bytes.empty()) digests[bundle_signature_file] = base64_sha256(signature_bytes);
  Json backend = {{"type", bundle.backend}};
  if (!bundle.backend_archs.empty()) backend["archs"] = bundle.backend_archs;
  const Json metadata = {{"name", bundle.name()},
                         {"id", bundle_id(bundle, bundle_bytes)},
                         {"version", bundle.major()},
                         {"license", bundle.license},
                         {"python-depends", Json::array()},
                         {"backend", backend},
                         {"digest", {{"algorithm", "sha256"}, {"files", digests}}}};
  return write_json(metadata);
}

std::string bundle_comment(const Bundle &bundle) {
  return "lamina bundle " + bundle.repo + " " + bundle.variant + " " + bundle.version + " " + std::to_string(bundle.counter);
}

std::string VariantName::backend_type() const {
  if (backend == "cpu") return "cpu";
  if (backend.starts_with("cu") && all_digits(std::string_view(backend).substr(2))) return "cuda";
  if (backend.starts_with("rocm") && all_digits(std::string_view(backend).substr(4))) return "rocm";
  throw Error(ErrorKind::malformed, "backend '" + backend + "' of a variant name is none of cpu, cu<digits>, rocm<digits>");
}

VariantName parse_variant_name(std::string_view name) {
  const auto refuse = [&] {
    return Error(ErrorKind::malformed,
                 "'" + std::string(name.substr(0, 128)) + "' is no variant name such as torch-stable-abi29-cpu-x86_64-linux");
  };
  std::vector<std::string> words;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('-', begin), name.size());
    words.emplace_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  for (const std::string &word : words)
    if (word.empty()) throw refuse();
  VariantName variant;
  size_t used = 0;
  const auto numbered = [&](const std::string &word, std::string_view start) {
    return word.starts_with(start) && all_digits(std::string_view(word).substr(start.size()));
  };
  if (words.size() == 6 && words[0] == "torch" && words[1] == "stable" && numbered(words[2], "abi")) used = 3;
  else if (words.size() == 5 && words[0] == "tvm" && numbered(words[1], "ffi")) used = 2;
  else if (words.size() == 5 && numbered(words[0], "torch") && (words[1] == "cxx11" || words[1] == "cxx98")) used = 2;
  else if (words.size() == 4 && numbered(words[0], "torch")) used = 1;
  else throw refuse();
  for (size_t i = 0; i < used; ++i) variant.framework += (i ? "-" : "") + words[i];
  variant.backend = words[used];
  variant.cpu = words[used + 1];
  variant.os = words[used + 2];
  variant.backend_type();
  return variant;
}

}  // namespace lamina::manifest
