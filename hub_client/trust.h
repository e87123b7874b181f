// Whose signatures count: public keys pinned for each organisation, in the user's file and the site's.
#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "manifest/minisign.h"

namespace lamina::hub {

class TrustStore {
 public:
  // Missing files are empty.  Errors: malformed, permission, io.
  TrustStore(std::filesystem::path user_file, std::filesystem::path site_file);

  // Keys of the organisation, the site's first.
  std::vector<manifest::PublicKey> keys(const std::string &organisation) const;
  const std::map<std::string, std::vector<manifest::PublicKey>> &user() const { return user_; }
  const std::map<std::string, std::vector<manifest::PublicKey>> &site() const { return site_; }

  // The organisation's first key is taken on the caller's word.  Any further one only with `endorsement`: a signature over the new
  // key's line (PublicKey::text()) by a key that is trusted already.  Errors: untrusted, signature, invalid_argument.
  void add(const std::string &organisation, const manifest::PublicKey &key, const std::string &endorsement);
  // Errors: not_found; invalid_argument for a key that stands in the site's file.
  void remove(const std::string &organisation, const manifest::PublicKey &key);

 private:
  void save() const;
  std::filesystem::path user_file_;
  std::map<std::string, std::vector<manifest::PublicKey>> user_, site_, removed_;
};

// The error for a signature by a key that nobody here trusts: who signed, and the command that would trust it.
[[noreturn]] void throw_untrusted(const std::string &organisation, const manifest::Signature &signature, const TrustStore &store);

}  // namespace lamina::hub
