// lamina verify: is this bundle whole, unaltered and signed by a key you name?
#include <cstdio>

#include "manifest/files.h"
#include "manifest/verify.h"
#include "packager/pack.h"
#include "verbs.h"

namespace lamina::cli {
namespace {

struct Options {
  std::string bundle, repo, version, signatures = "require";
  std::vector<std::string> keys;
};

// The base64 line, or a file that holds it.
manifest::PublicKey key_of(const std::string &text) {
  return manifest::parse_public_key(std::filesystem::exists(text) ? manifest::read_file(text, 1 << 16) : text);
}

void verify(const Options &options) {
  manifest::VerifyPolicy policy;
  policy.expected_repo = options.repo, policy.expected_version = options.version;
  policy.signatures = options.signatures == "require" ? manifest::SignaturePolicy::require
                      : options.signatures == "warn"  ? manifest::SignaturePolicy::warn
                                                      : manifest::SignaturePolicy::off;
  for (const std::string &key : options.keys) policy.trusted_keys.push_back(key_of(key));
  for (const auto &directory : packager::variant_directories(options.bundle)) {
    // Inside a bundle the folder's name is the variant it must say it is.
    policy.expected_variant = directory == std::filesystem::path(options.bundle) ? "" : directory.filename().string();
    const manifest::VerifyReport report = manifest::verify_variant_directory(directory, policy);
    std::printf("%s\n%s", directory.c_str(), report.text().c_str());
    report.throw_if_failed();
  }
  std::printf("verified\n");
}

}  // namespace

void add_verify(CLI::App &app) {
  auto options = std::make_shared<Options>();
  CLI::App *verb =
      app.add_subcommand("verify",
                         "Check a bundle on disk, step by step: signature, schema, repository and variant, every file's size and\n"
                         "SHA-256, nothing unlisted, derived metadata, and an audit of each build's ELF headers.  Nothing is loaded.");
  verb->add_option("bundle", options->bundle, "a bundle, or one variant directory")->required()->check(CLI::ExistingDirectory);
  verb->add_option("--key", options->keys, "a public key you trust: its file or its base64 line. Repeatable");
  verb->add_option("--repo", options->repo, "ORG/NAME that it must be");
  verb->add_option("--version", options->version, "version or major that it must be");
  verb->add_option("--signatures", options->signatures, "require, warn or off")
      ->check(CLI::IsMember({"require", "warn", "off"}))
      ->capture_default_str();
  verb->callback([options] { verify(*options); });
}

}  // namespace lamina::cli
