// Signs a variant directory as it lies there, whatever it holds: the tool of a publisher who means harm.  For tests.
//   forge FOLDER KEY.sec [repo=R] [variant=V] [version=X.Y.Z] [counter=N] [comment=TEXT]   lists the files again, with these changes
//   forge FOLDER KEY.sec unsigned                                                          removes the signature, and derives metadata.json so
//   forge FOLDER KEY.sec kept                                                              lists the files again, and leaves the signature that is there
//   forge FOLDER KEY.sec raw [comment=TEXT]                                                signs bundle.json byte for byte
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>

#include "manifest/bundle.h"
#include "manifest/error.h"
#include "manifest/files.h"
#include "manifest/minisign.h"

using namespace lamina;
namespace fs = std::filesystem;

namespace {

void forge(const fs::path &folder, const std::string &key_file, const std::map<std::string, std::string> &changes) {
  const auto change = [&](const char *name, std::string &value) {
    if (const auto found = changes.find(name); found != changes.end()) value = found->second;
  };
  const manifest::SecretKey key = manifest::parse_secret_key(manifest::read_file(key_file, 1 << 16));
  std::string bytes = manifest::read_file(folder / manifest::bundle_file, 64 << 20), comment = "lamina";
  const bool raw = changes.contains("raw");
  if (!raw) {
    manifest::Bundle bundle = manifest::parse_bundle(bytes, manifest::bundle_file);
    change("repo", bundle.repo), change("variant", bundle.variant), change("version", bundle.version);
    std::string counter = std::to_string(bundle.counter);
    change("counter", counter);
    bundle.counter = std::stoull(counter);
    bundle.files = manifest::list_bundle_files(folder);
    bytes = manifest::write_bundle(bundle), comment = manifest::bundle_comment(bundle);
  }
  change("comment", comment);
  const bool plain = changes.contains("unsigned");
  const fs::path signature_file = folder / manifest::bundle_signature_file;
  const std::string signature = plain                      ? ""
                                : changes.contains("kept") ? manifest::read_file(signature_file, 1 << 16)
                                                           : manifest::sign(key, bytes, comment);
  manifest::write_file_atomically(folder / manifest::bundle_file, bytes);
  if (plain) fs::remove(signature_file);
  else manifest::write_file_atomically(signature_file, signature);
  if (!raw) manifest::write_file_atomically(folder / manifest::metadata_file, manifest::derive_metadata(bytes, signature));
}

}  // namespace

int main(int count, char **words) {
  if (count < 3) return std::fputs("usage: forge FOLDER KEY.sec [raw] [NAME=VALUE ...]\n", stderr), 2;
  std::map<std::string, std::string> changes;
  for (int i = 3; i < count; ++i) {
    const std::string word = words[i];
    const size_t equals = word.find('=');
    changes[word.substr(0, equals)] = equals == std::string::npos ? "" : word.substr(equals + 1);
  }
  try {
    forge(words[1], words[2], changes);
  } catch (const Error &error) { return std::fprintf(stderr, "%s\n", error.what()), exit_code(error.kind); }
  return 0;
}
