#include "hub_client/lock.h"

#include "hub_client/cache.h"
#include "hub_client/repository_store.h"
#include "manifest/error.h"
#include "manifest/json.h"

namespace lamina::hub {
namespace {

using manifest::Json;

constexpr const char *schema_name = "lamina/lock/1";
constexpr uint64_t max_lock = 4 << 20;

bool is_sha256(const std::string &text) { return text.size() == 64 && valid_etag(text); }

LockedBundle read_entry(const std::string &repository, const Json &entry, const std::string &what) {
  const auto refuse = [&](const std::string &why) { return Error(ErrorKind::malformed, what + ": " + repository + ": " + why); };
  LockedBundle locked{entry.at("revision"), entry.at("commit"), entry.at("version"), entry.at("counter"), {}};
  if (!valid_repository_name(repository)) throw refuse("is no ORG/NAME");
  if (!valid_commit(locked.commit)) throw refuse("its commit is no hash");
  if (!entry.at("counter").is_number_unsigned()) throw refuse("its counter is no number");
  for (const auto &[variant, sha256] : entry.at("variants").items()) {
    locked.variants[variant] = sha256.get<std::string>();
    if (!is_sha256(locked.variants[variant])) throw refuse("the hash of " + variant + " is none");
  }
  if (locked.variants.empty()) throw refuse("it pins no variant");
  if (entry.size() != 5) throw refuse("it has members that this version does not know");
  return locked;
}

}  // namespace

Lock parse_lock(std::string_view text, const std::string &what) {
  const Json json = manifest::parse_json(text, what, {max_lock, 8, false});
  Lock lock;
  try {
    if (json.at("schema") != schema_name || json.size() != 2) throw Error(ErrorKind::malformed, what + " is no " + schema_name);
    for (const auto &[repository, entry] : json.at("bundles").items()) lock[repository] = read_entry(repository, entry, what);
  } catch (const Json::exception &error) { throw Error(ErrorKind::malformed, what + " is not what lamina lock writes: " + error.what()); }
  return lock;
}

Lock read_lock(const std::filesystem::path &file) { return parse_lock(manifest::read_file(file, max_lock), file.string()); }

void write_lock(const std::filesystem::path &file, const Lock &lock) {
  Json bundles = Json::object();
  for (const auto &[repository, locked] : lock)
    bundles[repository] = {{"revision", locked.revision},
                           {"commit", locked.commit},
                           {"version", locked.version},
                           {"counter", locked.counter},
                           {"variants", locked.variants}};
  manifest::write_file_atomically(file, manifest::write_json({{"schema", schema_name}, {"bundles", bundles}}));
}

}  // namespace lamina::hub
