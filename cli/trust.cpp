// lamina trust: whose bundles this user loads.
#include <cstdio>

#include "hub_client/environment.h"
#include "hub_client/trust.h"
#include "manifest/files.h"
#include "verbs.h"

namespace lamina::cli {
namespace {

struct Options {
  std::string organisation, key, signed_by;
};

manifest::PublicKey key_of(const std::string &text) {
  return manifest::parse_public_key(std::filesystem::exists(text) ? manifest::read_file(text, 1 << 16) : text);
}

hub::TrustStore store() {
  const hub::Environment environment = hub::read_environment();
  return {environment.trust_file, environment.site_trust_file};
}

void list() {
  const hub::TrustStore trust = store();
  const auto print = [](const auto &keys, const char *where) {
    for (const auto &[organisation, list] : keys)
      for (const manifest::PublicKey &key : list)
        std::printf("%-24s %s  %s\n%-24s fingerprint %s\n", organisation.c_str(), key.id_text().c_str(), where, "",
                    key.fingerprint().c_str());
  };
  print(trust.site(), "site");
  print(trust.user(), "user");
  if (trust.site().empty() && trust.user().empty()) std::printf("no key is trusted; lamina trust add ORG KEY.pub adds one\n");
}

}  // namespace

void add_trust(CLI::App &app) {
  auto options = std::make_shared<Options>();
  CLI::App *verb = app.add_subcommand(
      "trust",
      "Whose signatures count.  Keys are pinned for each organisation; an administrator's stand in /etc/lamina/trust.json.\n\n"
      "  lamina trust add org org-2026.pub\n"
      "  lamina trust add org org-2027.pub --signed-by org-2027.pub.minisig");
  verb->require_subcommand(1);
  CLI::App *add = verb->add_subcommand(
      "add",
      "Trust a key for an organisation.  The first is taken on your word: compare its fingerprint.  A further one must be\n"
      "signed by a trusted one: its owner puts the key's line alone into a file, signs it, and you pass the signature.");
  CLI::App *remove = verb->add_subcommand("remove", "No longer trust a key.");
  for (CLI::App *one : {add, remove}) {
    one->add_option("organisation", options->organisation, "ORG of ORG/NAME")->required();
    one->add_option("key", options->key, "the public key: its file or its base64 line")->required();
  }
  add->add_option("--signed-by", options->signed_by, "signature (.minisig) of the new key's line by a trusted key")
      ->check(CLI::ExistingFile);
  add->callback([options] {
    hub::TrustStore trust = store();
    const manifest::PublicKey key = key_of(options->key);
    trust.add(options->organisation, key, options->signed_by.empty() ? "" : manifest::read_file(options->signed_by, 1 << 16));
    std::printf("%s is trusted with key %s\nfingerprint %s\n", options->organisation.c_str(), key.id_text().c_str(),
                key.fingerprint().c_str());
  });
  remove->callback([options] {
    hub::TrustStore trust = store();
    trust.remove(options->organisation, key_of(options->key));
    std::printf("removed\n");
  });
  verb->add_subcommand("list", "Show every trusted key.")->callback([] { list(); });
}

}  // namespace lamina::cli
