#include "hub_client/revocations.h"

#include <algorithm>

#include "manifest/error.h"
#include "manifest/json.h"

namespace lamina::hub {
namespace {

using manifest::Json;

constexpr const char *schema_name = "lamina/revocations/1";
constexpr uint64_t max_list = 512 << 10, max_signature = 16 << 10;

std::string comment_of(const std::string &repository, uint64_t counter) {
  return "lamina revocations " + repository + " " + std::to_string(counter);
}

// The file on the hub's main branch; "" when there is none.
std::string file_on_main(const Http &http, const std::string &repository, const char *name, uint64_t limit) {
  const HttpAnswer answer = http.send({"GET", "/kernels/" + repository + "/resolve/main/" + name, {}, "", limit, {}, {}, true});
  if (answer.status == 404) return "";
  if (!answer.ok()) throw_status(answer, name, http.environment());
  return answer.body;
}

}  // namespace

Revocations read_revocations(const Memory::SignedText &list, const std::string &repository, const std::vector<manifest::PublicKey> &keys) {
  const std::string what = "the list of revoked releases of " + repository;
  const manifest::Signature signature = manifest::parse_signature(list.signature);
  const auto key = std::find_if(keys.begin(), keys.end(), [&](const manifest::PublicKey &one) { return one.id == signature.key_id; });
  if (key == keys.end()) throw Error(ErrorKind::untrusted, what + " is signed by key " + signature.id_text() + ", which is not trusted");
  const std::string comment = manifest::verify(*key, list.text, list.signature);
  const Json json = manifest::parse_json(list.text, what, {max_list, 8, false});
  Revocations read;
  try {
    if (json.at("schema") != schema_name || json.size() != 4) throw Error(ErrorKind::malformed, what + " is no " + schema_name);
    read.repository = json.at("repository").get<std::string>();
    if (!json.at("counter").is_number_unsigned()) throw Error(ErrorKind::malformed, what + " has no counter");
    read.counter = json["counter"].get<uint64_t>();
    for (const Json &release : json.at("releases")) {
      if (!release.at("counter").is_number_unsigned()) throw Error(ErrorKind::malformed, what + " names a release by no number");
      read.releases[release["counter"].get<uint64_t>()] = release.at("reason").get<std::string>();
    }
  } catch (const Json::exception &error) { throw Error(ErrorKind::malformed, what + " is not what lamina revoke writes: " + error.what()); }
  if (read.repository != repository) throw Error(ErrorKind::integrity, what + " is of " + read.repository);
  if (comment != comment_of(repository, read.counter)) throw Error(ErrorKind::signature, what + " has another list's signature");
  return read;
}

Memory::SignedText sign_revocations(const Revocations &list, const manifest::SecretKey &key) {
  Json releases = Json::array();
  for (const auto &[counter, reason] : list.releases) releases.push_back({{"counter", counter}, {"reason", reason}});
  const std::string text =
      manifest::write_json({{"schema", schema_name}, {"repository", list.repository}, {"counter", list.counter}, {"releases", releases}});
  return {text, manifest::sign(key, text, comment_of(list.repository, list.counter))};
}

Revocations current_revocations(const Http *http, const Memory &memory, const std::string &repository,
                                const std::vector<manifest::PublicKey> &keys) {
  Revocations known;
  const Memory::SignedText remembered = memory.revocations(repository);
  if (!remembered.text.empty()) known = read_revocations(remembered, repository, keys);
  if (!http) return known;
  Memory::SignedText offered;
  offered.text = file_on_main(*http, repository, revocations_file, max_list);
  if (offered.text.empty()) return known;
  offered.signature = file_on_main(*http, repository, revocations_signature_file, max_signature);
  if (offered.signature.empty()) throw Error(ErrorKind::signature, "the list of revoked releases of " + repository + " is not signed");
  const Revocations now = read_revocations(offered, repository, keys);
  if (now.counter < known.counter)
    throw Error(ErrorKind::integrity, "the hub offers list " + std::to_string(now.counter) + " of revoked releases of " + repository +
                                          "; list " + std::to_string(known.counter) + " was seen before");
  if (now.counter > known.counter || known.repository.empty()) {
    try {
      memory.note_revocations(repository, offered);
    } catch (const Error &error) {
      if (error.kind != ErrorKind::permission) throw;
    }
  }
  return now;
}

}  // namespace lamina::hub
