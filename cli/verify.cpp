// lamina verify: is this bundle whole, unaltered and signed by a key you name?
#include <cstdio>

#include "hub_client/client.h"
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

manifest::SignaturePolicy policy_of(const std::string &word) {
  return word == "require" ? manifest::SignaturePolicy::require
         : word == "warn"  ? manifest::SignaturePolicy::warn
                           : manifest::SignaturePolicy::off;
}

// What the cache has of ORG/NAME: with the keys that this user trusts, as a fetch without network checks it.
void verify_cached(const Options &options) {
  hub::Environment environment = hub::read_environment();
  environment.offline = true, environment.state.clear();  // no receipt: every byte is read
  hub::FetchOptions rules;
  rules.signatures = policy_of(options.signatures);
  rules.log = [](const std::string &sentence) { std::printf("%s\n", sentence.c_str()); };
  const hub::Fetched fetched = hub::Client(environment).fetch(options.bundle, rules);
  std::printf("%s\n%sverified\n", fetched.directory.c_str(), fetched.report.text().c_str());
}

void verify(const Options &options) {
  if (!std::filesystem::is_directory(options.bundle)) return verify_cached(options);
  manifest::VerifyPolicy policy;
  policy.expected_repo = options.repo, policy.expected_version = options.version;
  policy.signatures = policy_of(options.signatures);
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
                         "SHA-256, nothing unlisted, derived metadata, and an audit of each build's ELF headers.  Nothing is loaded.\n\n"
                         "  lamina verify org/triangle-multiplication@v1");
  verb->add_option("bundle", options->bundle,
                   "a bundle's folder, one variant's, or ORG/NAME[@vN] in the cache, by the keys that are trusted")
      ->required();
  verb->add_option("--key", options->keys, "a public key you trust: its file or its base64 line. Repeatable");
  verb->add_option("--repo", options->repo, "ORG/NAME that it must be");
  verb->add_option("--version", options->version, "version or major that it must be");
  verb->add_option("--signatures", options->signatures, "require, warn or off")
      ->check(CLI::IsMember({"require", "warn", "off"}))
      ->capture_default_str();
  verb->callback([options] { verify(*options); });
}

}  // namespace lamina::cli
