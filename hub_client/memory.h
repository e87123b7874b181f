// What this user has seen and checked before, in $XDG_STATE_HOME/lamina: the newest release of each version, lists of revoked releases,
// receipts of verified folders.  Losing it costs time and the protection against older releases, nothing else.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "manifest/bundle.h"

namespace lamina::hub {

// That the files of a folder were hashed, parsed and audited for one bundle.json, and what they looked like then.  Immutable.
class Receipt {
 public:
  using Facts = std::map<std::string, std::string>;  // path -> device, inode, size and times; "-" where those could not tell of a change
  explicit Receipt(Facts facts) : facts_(std::move(facts)) {}
  // Whether the file is, by all of these, still that one.  One that somebody else could be writing never is: hash it.
  bool holds(const std::filesystem::path &folder, const std::string &path) const;
  // Whether a file of this path passed all checks with the hash that this bundle.json lists for it; what lies there now must be hashed.
  bool passed(const std::string &path) const { return facts_.contains(path); }
  // The line for a file as it is now; "" where there is to be none.
  static std::string line_for(const std::filesystem::path &file);
  bool holds(const std::string &path, int descriptor) const;  // of an open file: nobody can put another in its place

 private:
  Facts facts_;
};

class Memory {
 public:
  // An empty path remembers nothing.  The folder is made when something is written, with mode 0700.
  explicit Memory(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // The highest counter of a signed release that was fetched as `version` ("v1") of "org/name"; 0 when none was.
  // Errors: malformed when the file is damaged: fail closed.
  uint64_t counter(const std::string &repository, const std::string &version) const;
  // Notes a counter; a lower one only with `lower`.  Of several processes the highest stays.  Errors: permission, no_space, io, malformed.
  void note_counter(const std::string &repository, const std::string &version, uint64_t counter, bool lower) const;

  // The last list of revoked releases of "org/name" that was accepted, with its signature; empty texts when there is none.
  struct SignedText {
    std::string text, signature;
  };
  SignedText revocations(const std::string &repository) const;
  void note_revocations(const std::string &repository, const SignedText &list) const;

  // What note_receipt() kept of this folder for the bundle.json with this SHA-256; nullptr when nothing.  Never throws.
  std::shared_ptr<const Receipt> receipt(const std::filesystem::path &folder, const std::string &bundle_sha256) const;
  // Notes that every file of `bundle` that is there passed.  `before` is facts_of() from before the hashing; a file that changed since gets
  // no line, and one that changed so shortly before that its times could not tell, or that others may write, one without facts.  Never
  // throws: a receipt saves time alone.
  static Receipt::Facts facts_of(const std::filesystem::path &folder, const manifest::Bundle &bundle);
  void note_receipt(const std::filesystem::path &folder, const std::string &bundle_sha256, const Receipt::Facts &before) const;

 private:
  std::filesystem::path file(const char *kind, const std::string &name) const;
  void write(const std::filesystem::path &file, const std::string &text) const;
  std::filesystem::path folder_;
};

}  // namespace lamina::hub
