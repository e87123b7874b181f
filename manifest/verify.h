// Is this directory the bundle it claims to be, signed by someone we trust, whole and unaltered?
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "manifest/bundle.h"
#include "manifest/error.h"
#include "manifest/minisign.h"

namespace lamina::manifest {

enum class SignaturePolicy { require, warn, off };

struct VerifyPolicy {
  std::string expected_repo;     // "" accepts any
  std::string expected_variant;  // "" accepts any
  std::string expected_version;  // "1.0.0", or "1" for any 1.x.y; "" accepts any
  uint64_t minimum_counter = 0;  // rollback guard
  std::vector<PublicKey> trusted_keys;
  SignaturePolicy signatures = SignaturePolicy::require;
  bool partial = false;      // a client that downloads only what it needs: listed files may be absent, present ones must be right
  bool audit_builds = true;  // read every .so present with read_elf and audit_plugin
  // Asked once, with the parsed bundle and the SHA-256 of bundle.json: what earlier checks of these very contents found.  May be empty, as
  // may each of what it gives.
  struct Known {
    std::function<bool(const std::string &path)> unchanged = {};  // hashed then, and the same file since: it is not read again
    std::function<bool(const std::string &path)> passed =
        {};  // with the hash that is listed it passed: it need not be parsed or audited again
  };
  std::function<Known(const Bundle &, const std::string &bundle_sha256)> receipt = {};
  // Whether this file was hashed to that value a moment ago, and has not changed since: it is not hashed again, but audited.  May be empty.
  std::function<bool(const BundleEntry &)> hashed = {};
};

struct VerifyStep {
  enum class Outcome { passed, warned, skipped, failed };
  std::string name;  // "signature", "bundle", "binding", "files", "unlisted", "metadata", "manifest", "builds"
  Outcome outcome = Outcome::passed;
  std::string detail;                    // what was checked, or what is wrong and what to do
  ErrorKind kind = ErrorKind::internal;  // of a failed step
};
const char *name_of(VerifyStep::Outcome outcome);  // "passed"

struct VerifyReport {
  std::vector<VerifyStep> steps;       // in the order of the checks; after a failed signature or bundle nothing else runs
  std::optional<Bundle> bundle;        // once it parsed
  std::optional<Manifest> manifest;    // once it parsed
  std::optional<PublicKey> signed_by;  // the trusted key that verified
  std::vector<std::string> absent;     // listed but not there (partial)
  std::string bundle_sha256;           // of bundle.json, 64 hex digits
  bool ok() const;
  std::string text() const;      // one line a step
  void throw_if_failed() const;  // Error of the first failed step's kind
};

// Never throws for what is wrong with the directory: that is what the report says.  Errors: not_found when it is no directory.
// The bytes of bundle.json that were verified are the ones that were parsed.  [thread-safe]
VerifyReport verify_variant_directory(const std::filesystem::path &variant_dir, const VerifyPolicy &policy);

}  // namespace lamina::manifest
