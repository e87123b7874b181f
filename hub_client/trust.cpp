#include "hub_client/trust.h"

#include <algorithm>

#include "manifest/error.h"
#include "manifest/json.h"
#include "manifest/schema.h"

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;
using manifest::Json;
using manifest::PublicKey;

std::map<std::string, std::vector<PublicKey>> read(const fs::path &file, std::map<std::string, std::vector<PublicKey>> *removed = nullptr) {
  std::map<std::string, std::vector<PublicKey>> found;
  if (file.empty() || !fs::exists(file)) return found;
  const Json json = manifest::read_json(file);
  manifest::validate(json, "trust", file.string());
  for (const auto &[organisation, entry] : json.at("organizations").items()) {
    for (const auto &key : entry.at("keys")) found[organisation].push_back(manifest::parse_public_key(key.get<std::string>()));
    if (removed && entry.contains("removed"))
      for (const auto &key : entry["removed"]) (*removed)[organisation].push_back(manifest::parse_public_key(key.get<std::string>()));
  }
  return found;
}

bool holds(const std::map<std::string, std::vector<PublicKey>> &store, const std::string &organisation, const PublicKey &key) {
  const auto found = store.find(organisation);
  return found != store.end() && std::find(found->second.begin(), found->second.end(), key) != found->second.end();
}

}  // namespace

TrustStore::TrustStore(fs::path user_file, fs::path site_file) : user_file_(std::move(user_file)) {
  user_ = read(user_file_, &removed_);
  site_ = read(site_file);
}

std::vector<PublicKey> TrustStore::keys(const std::string &organisation) const {
  std::vector<PublicKey> all;
  for (const auto *store : {&site_, &user_})
    if (const auto found = store->find(organisation); found != store->end())
      all.insert(all.end(), found->second.begin(), found->second.end());
  return all;
}

void TrustStore::add(const std::string &organisation, const PublicKey &key, const std::string &endorsement) {
  if (organisation.empty() || organisation.find('/') != std::string::npos)
    throw Error(ErrorKind::invalid_argument, "'" + organisation + "' is no organisation; keys are pinned for ORG, not for ORG/NAME");
  const std::vector<PublicKey> known = keys(organisation);
  if (std::find(known.begin(), known.end(), key) != known.end()) return;
  const bool first = known.empty() && !holds(removed_, organisation, key);
  if (!first) {
    if (endorsement.empty())
      throw Error(
          ErrorKind::untrusted,
          organisation + " is known by another key already" + (known.empty() ? " (this one was removed)" : ", " + known.front().id_text()) +
              ". A new key counts when the old one signed it: have its owner sign the new key's line, and pass --signed-by FILE.minisig");
    const manifest::Signature signature = manifest::parse_signature(endorsement);
    const auto endorser = std::find_if(known.begin(), known.end(), [&](const PublicKey &old) { return old.id == signature.key_id; });
    if (endorser == known.end())
      throw Error(ErrorKind::untrusted, "the new key is signed by " + signature.id_text() + ", which is no trusted key of " + organisation);
    manifest::verify(*endorser, key.text(), endorsement);
  }
  user_[organisation].push_back(key);
  std::erase(removed_[organisation], key);
  save();
}

void TrustStore::remove(const std::string &organisation, const PublicKey &key) {
  if (holds(site_, organisation, key))
    throw Error(ErrorKind::invalid_argument, "this key stands in the site's file; ask who administers this machine");
  if (!holds(user_, organisation, key)) throw Error(ErrorKind::not_found, organisation + " has no key " + key.id_text());
  std::erase(user_[organisation], key);
  removed_[organisation].push_back(key);
  save();
}

void TrustStore::save() const {
  Json organisations = Json::object();
  for (const auto *store : {&user_, &removed_})
    for (const auto &[organisation, keys] : *store) {
      Json &entry = organisations[organisation];
      if (!entry.contains("keys")) entry["keys"] = Json::array();
      for (const PublicKey &key : keys) entry[store == &user_ ? "keys" : "removed"].push_back(key.text());
    }
  fs::create_directories(user_file_.parent_path());
  manifest::write_file_atomically(user_file_, manifest::write_json({{"schema", "lamina/trust/1"}, {"organizations", organisations}}));
}

void throw_untrusted(const std::string &organisation, const manifest::Signature &signature, const TrustStore &store) {
  std::string known;
  for (const PublicKey &key : store.keys(organisation)) known += (known.empty() ? "" : ", ") + key.id_text();
  throw Error(ErrorKind::untrusted,
              "the bundle is signed by key " + signature.id_text() + ", which is not trusted for " + organisation +
                  (known.empty() ? " (no key is)" : " (trusted: " + known + ")") +
                  ". Get the organisation's public key from a place you trust, compare its fingerprint, then run: lamina trust add " +
                  organisation + " KEY.pub");
}

}  // namespace lamina::hub
