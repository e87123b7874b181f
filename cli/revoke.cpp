// lamina revoke: a publisher takes a release back.
#include <cstdio>

#include "hub_client/environment.h"
#include "hub_client/publish.h"
#include "hub_client/trust.h"
#include "verbs.h"

namespace lamina::cli {
namespace {

struct Options {
  std::string repository, reason, key;
  uint64_t counter = 0;
};

}  // namespace

void add_revoke(CLI::App &app) {
  auto options = std::make_shared<Options>();
  CLI::App *verb = app.add_subcommand(
      "revoke",
      "Take a release back: adds its counter to the signed list of revoked releases on the repository's main branch.  Clients that see\n"
      "the list refuse the release from then on, offline too.\n\n"
      "  lamina revoke my-org/triangle-multiplication 7 --reason \"wrong for N = 1\" --key my-org.sec");
  verb->add_option("repository", options->repository, "ORG/NAME")->required();
  verb->add_option("counter", options->counter, "the release's counter, as lamina fetch --json shows it")->required();
  verb->add_option("--reason", options->reason, "what users of it are told")->required();
  verb->add_option("--key", options->key, "the secret key's file")->required()->check(CLI::ExistingFile);
  verb->callback([options] {
    const hub::Environment environment = hub::read_environment();
    const hub::TrustStore trust(environment.trust_file, environment.site_trust_file);
    const std::string commit = hub::revoke(hub::Http(environment), options->repository, options->counter, options->reason, options->key,
                                           trust.keys(options->repository.substr(0, options->repository.find('/'))));
    std::printf("release %llu of %s is taken back by %s\n", static_cast<unsigned long long>(options->counter), options->repository.c_str(),
                commit.c_str());
  });
}

}  // namespace lamina::cli
