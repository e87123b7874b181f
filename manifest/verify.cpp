#include "manifest/verify.h"

#include <algorithm>

#include "abi/lamina_abi.h"
#include "manifest/digest.h"
#include "manifest/elf_facts.h"
#include "manifest/files.h"

namespace lamina::manifest {

namespace {

constexpr uint64_t max_json = 16 << 20, max_signature = 16 << 10, max_build = uint64_t{4} << 30;

std::string some_of(const std::vector<std::string> &names) {
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(names.size(), 5); ++i) text += (i ? ", " : "") + names[i];
  return names.size() > 5 ? text + " and " + std::to_string(names.size() - 5) + " more" : text;
}

class Verification {
 public:
  Verification(const std::filesystem::path &folder, const VerifyPolicy &policy) : folder_(folder), policy_(policy) {}

  VerifyReport run() {
    if (!std::filesystem::is_directory(folder_)) throw Error(ErrorKind::not_found, folder_.string() + " is not a folder");
    // Nothing of a stranger's is looked at any further than it must be: signature, then what it signs, then the rest.
    if (step("signature", &Verification::signature) && step("bundle", &Verification::bundle) && step("binding", &Verification::binding)) {
      step("files", &Verification::files);
      step("unlisted", &Verification::unlisted);
      step("metadata", &Verification::metadata);
      if (step("manifest", &Verification::manifest) && policy_.audit_builds) step("builds", &Verification::builds);
    }
    return std::move(report_);
  }

 private:
  using Outcome = VerifyStep::Outcome;

  bool step(const char *name, void (Verification::*check)()) {
    report_.steps.push_back({name, Outcome::passed, "", ErrorKind::internal});
    VerifyStep &now = report_.steps.back();
    try {
      (this->*check)();
    } catch (const Error &error) {
      now.outcome = Outcome::failed;
      now.detail = error.what();
      now.kind = error.kind;
    }
    return now.outcome != Outcome::failed;
  }
  void say(const std::string &detail, Outcome outcome = Outcome::passed) {
    report_.steps.back().detail = detail;
    report_.steps.back().outcome = outcome;
  }
  bool exists(const std::string &path) const { return std::filesystem::exists(folder_ / path); }

  void signature() {
    if (!exists(bundle_file)) throw Error(ErrorKind::not_found, folder_.string() + " is not a Lamina bundle: it has no bundle.json");
    bundle_bytes_ = read_file(folder_ / bundle_file, max_json);
    if (exists(bundle_signature_file)) signature_bytes_ = read_file(folder_ / bundle_signature_file, max_signature);
    if (policy_.signatures == SignaturePolicy::off) return say("not looked at, by policy", Outcome::skipped);
    try {
      check_signature();
    } catch (const Error &error) {
      if (policy_.signatures == SignaturePolicy::require) throw;
      say(error.what(), Outcome::warned);
    }
  }

  void check_signature() {
    if (signature_bytes_.empty()) throw Error(ErrorKind::signature, "bundle.json is not signed: bundle.json.minisig is missing");
    const Signature signature = parse_signature(signature_bytes_);
    const auto key = std::find_if(policy_.trusted_keys.begin(), policy_.trusted_keys.end(),
                                  [&](const PublicKey &one) { return one.id == signature.key_id; });
    if (key == policy_.trusted_keys.end())
      throw Error(ErrorKind::untrusted,
                  "bundle.json is signed by key " + signature.id_text() +
                      ", which is not trusted here; once you have its public key from the publisher: lamina trust add ORG KEY");
    comment_ = verify(*key, bundle_bytes_, signature_bytes_);
    report_.signed_by = *key;
    say("by trusted key " + key->id_text());
  }

  void bundle() {
    report_.bundle = parse_bundle(bundle_bytes_, bundle_file);
    report_.bundle_sha256 = sha256_hex(bundle_bytes_);
    if (policy_.receipt) known_ = policy_.receipt(*report_.bundle, report_.bundle_sha256);
    say(report_.bundle->repo + " " + report_.bundle->version + ", " + std::to_string(report_.bundle->files.size()) + " files");
  }

  // A signature alone would let an old or another bundle of the same publisher be passed off for this one.
  void binding() {
    const Bundle &bundle = *report_.bundle;
    const auto expect = [](const char *what, const std::string &found, const std::string &wanted) {
      if (!wanted.empty() && found != wanted)
        throw Error(ErrorKind::integrity, std::string("bundle.json is of ") + what + " " + found + "; expected " + wanted);
    };
    expect("repository", bundle.repo, policy_.expected_repo);
    expect("variant", bundle.variant, policy_.expected_variant);
    if (policy_.expected_version.find('.') == std::string::npos)
      expect("major version", std::to_string(bundle.major()), policy_.expected_version);
    else expect("version", bundle.version, policy_.expected_version);
    if (bundle.counter < policy_.minimum_counter)
      throw Error(
          ErrorKind::integrity,
          "bundle.json has counter " + std::to_string(bundle.counter) + ", but " + std::to_string(policy_.minimum_counter) +
              " was seen before: an older release is offered for a newer.  If it is wanted: fetch its commit, or pass --allow-rollback");
    if (report_.signed_by && comment_ != bundle_comment(bundle))
      throw Error(ErrorKind::signature, "the signature's trusted comment is '" + comment_ + "'; expected '" + bundle_comment(bundle) + "'");
    if (bundle.abi_major != LAMINA_ABI_MAJOR)
      throw Error(ErrorKind::unsupported, "the bundle speaks ABI " + std::to_string(bundle.abi_major) + "; this program speaks " +
                                              std::to_string(LAMINA_ABI_MAJOR));
    say(bundle.variant + ", counter " + std::to_string(bundle.counter));
  }

  void files() {
    std::vector<std::string> absent, wrong;
    uint64_t bytes = 0;
    size_t known = 0;
    for (const BundleEntry &entry : report_.bundle->files) {
      if (unchanged(entry.path)) {
        bytes += entry.size, ++known;
        continue;
      }
      if (!exists(entry.path)) {
        absent.push_back(entry.path);
        continue;
      }
      if (policy_.hashed && policy_.hashed(entry)) {
        bytes += entry.size;
        continue;
      }
      const FileDigest digest = entry.path == manifest_file ? digest_manifest(entry) : digest_file(folder_ / entry.path);
      bytes += digest.size;
      if (digest.size != entry.size)
        wrong.push_back(entry.path + " (" + std::to_string(digest.size) + " bytes; expected " + std::to_string(entry.size) + ")");
      else if (to_hex(digest.sha256) != entry.sha256) wrong.push_back(entry.path + " (SHA-256 differs)");
    }
    report_.absent = absent;
    if (!wrong.empty()) throw Error(ErrorKind::integrity, "not what bundle.json lists: " + some_of(wrong));
    if (!absent.empty() && !policy_.partial) throw Error(ErrorKind::integrity, "listed in bundle.json but missing: " + some_of(absent));
    say(std::to_string(report_.bundle->files.size() - absent.size()) + " files, " + std::to_string(bytes) + " bytes" +
        (known ? "; " + std::to_string(known) + " by their receipt" : "") +
        (absent.empty() ? "" : "; " + std::to_string(absent.size()) + " not downloaded"));
  }

  // What was hashed, and is right, is the text that is parsed.
  FileDigest digest_manifest(const BundleEntry &entry) {
    std::string text = read_file(folder_ / manifest_file, max_json);
    const FileDigest digest{text.size(), sha256(text)};
    if (to_hex(digest.sha256) == entry.sha256) manifest_text_ = std::move(text);
    return digest;
  }

  void unlisted() {
    std::vector<std::string> extra;
    for (const std::string &path : list_files(folder_))
      if (!report_.bundle->file(path) && path != bundle_file && path != bundle_signature_file && path != metadata_file &&
          path != "metadata.json.sigstore")
        extra.push_back(path);
    if (!extra.empty())
      throw Error(ErrorKind::integrity, "not listed in bundle.json: " + some_of(extra) + "; nothing unlisted may lie here");
  }

  void metadata() {
    if (!exists(metadata_file)) {
      if (!policy_.partial) throw Error(ErrorKind::integrity, "metadata.json is missing");
      return say("metadata.json was not downloaded", Outcome::skipped);
    }
    if (read_file(folder_ / metadata_file, max_json) != derive_metadata(*report_.bundle, bundle_bytes_, signature_bytes_))
      throw Error(ErrorKind::integrity, "metadata.json is not what bundle.json and its signature give; `lamina sign` writes it again");
    say("as derived from bundle.json");
  }

  void manifest() {
    const Bundle &bundle = *report_.bundle;
    if (!exists(manifest_file)) throw Error(ErrorKind::integrity, "manifest.json is missing");
    const bool before = unchanged(manifest_file);
    const std::string text = manifest_text_ ? std::move(*manifest_text_) : read_file(folder_ / manifest_file, max_json);
    const BundleEntry *entry = bundle.file(manifest_file);
    if (!entry) throw Error(ErrorKind::integrity, "bundle.json does not list manifest.json");
    // Where it was hashed by its name, a moment ago or when the receipt was written, this text need not be that one.
    if (!manifest_text_ && !(before && unchanged(manifest_file)) && sha256_hex(text) != entry->sha256)
      throw Error(ErrorKind::integrity, "manifest.json changed while it was verified");
    const bool passed = known_.passed && known_.passed(manifest_file);
    report_.manifest = passed ? read_checked_manifest(text, manifest_file) : parse_manifest(text, manifest_file);
    const Manifest &manifest = *report_.manifest;
    if (manifest.layer != bundle.python_name() || manifest.version != bundle.version)
      throw Error(ErrorKind::integrity, "manifest.json is of " + manifest.layer + " " + manifest.version + "; bundle.json is of " +
                                            bundle.python_name() + " " + bundle.version);
    for (const Build &build : manifest.builds) {
      if (!bundle.file(build.file))
        throw Error(ErrorKind::integrity, "manifest.json names the build " + build.file + ", which bundle.json does not list");
      builds_.push_back(build.file);
    }
    for (const BundleEntry &entry : bundle.files)
      if ((entry.path.ends_with(".so") || entry.path.find(".so.") != std::string::npos) &&
          std::find(builds_.begin(), builds_.end(), entry.path) == builds_.end())
        throw Error(ErrorKind::integrity, entry.path + " is machine code that manifest.json does not name as a build");
    say(manifest.layer + " " + manifest.version + ": " + std::to_string(manifest.builds.size()) + " builds, " +
        std::to_string(manifest.hosts.size()) + " hosts");
  }

  void builds() {
    size_t audited = 0, known = 0;
    for (const std::string &file : builds_) {
      if (!exists(file)) continue;
      if (known_.passed && known_.passed(file)) {
        ++known;
        continue;
      }
      const ElfFacts facts = read_elf(read_file(folder_ / file, max_build), file);
      std::vector<std::string> violations = audit_plugin(facts, report_.bundle->glibc);
      if (facts.machine != report_.bundle->cpu) violations.push_back("it is for " + facts.machine);
      if (!violations.empty()) throw Error(ErrorKind::failed, file + " breaks the rules of a plug-in: " + some_of(violations));
      ++audited;
    }
    say(std::to_string(audited) + " builds audited" + (known ? ", " + std::to_string(known) + " by their receipt" : ""));
  }

  bool unchanged(const std::string &path) const { return known_.unchanged && known_.unchanged(path); }

  const std::filesystem::path &folder_;
  const VerifyPolicy &policy_;
  VerifyReport report_;
  std::string bundle_bytes_, signature_bytes_, comment_;
  std::vector<std::string> builds_;
  std::optional<std::string> manifest_text_;  // whose hash is the one that is listed
  VerifyPolicy::Known known_;
};

}  // namespace

const char *name_of(VerifyStep::Outcome outcome) {
  static constexpr const char *names[] = {"passed", "warned", "skipped", "failed"};
  return names[static_cast<int>(outcome)];
}

bool VerifyReport::ok() const {
  return std::none_of(steps.begin(), steps.end(), [](const VerifyStep &step) { return step.outcome == VerifyStep::Outcome::failed; });
}

std::string VerifyReport::text() const {
  std::string text;
  for (const VerifyStep &step : steps) {
    std::string outcome = name_of(step.outcome), name = step.name;
    outcome.resize(8, ' ');
    name.resize(10, ' ');
    text += outcome + name + step.detail + "\n";
  }
  return text;
}

void VerifyReport::throw_if_failed() const {
  for (const VerifyStep &step : steps)
    if (step.outcome == VerifyStep::Outcome::failed) throw Error(step.kind, step.detail);
}

VerifyReport verify_variant_directory(const std::filesystem::path &variant_dir, const VerifyPolicy &policy) {
  return Verification(variant_dir, policy).run();
}

}  // namespace lamina::manifest
