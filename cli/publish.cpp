// lamina publish: a bundle becomes a release of a hub repository.
#include <cstdio>

#include "hub_client/publish.h"
#include "verbs.h"

namespace lamina::cli {

void add_publish(CLI::App &app) {
  auto options = std::make_shared<hub::PublishOptions>();
  auto bundle = std::make_shared<std::string>();
  CLI::App *verb = app.add_subcommand(
      "publish",
      "Publish a signed bundle: verifies it, then makes one commit on branch vN that holds only build/, then puts the\n"
      "card on main.  Until that commit the branch stays as it was, so it is safe to run again after any interruption; a\n"
      "release that is there already is left alone, one with an older counter is refused.  HF_ENDPOINT says where, HF_TOKEN\n"
      "or the token file who.\n\n"
      "  lamina publish build/bundle --repo my-org/triangle-multiplication --create\n\n"
      "To try it without a hub: lamina serve build/hub --port 8080, then HF_ENDPOINT=http://127.0.0.1:8080.");
  verb->add_option("bundle", *bundle, "what lamina pack made and lamina sign signed")->required()->check(CLI::ExistingDirectory);
  verb->add_option("--repo", options->repository, "ORG/NAME; must be what the bundle says")->required();
  verb->add_flag("--create", options->create, "make the repository if it is missing");
  verb->callback([options, bundle] {
    options->bundle = *bundle;
    options->log = [](const std::string &sentence) { std::printf("%s\n", sentence.c_str()), std::fflush(stdout); };
    const hub::Http http(hub::read_environment());
    const hub::Published published = hub::publish(http, *options);
    std::printf("%s@%s is %s\n", options->repository.c_str(), published.branch.c_str(), published.commit.c_str());
  });
}

}  // namespace lamina::cli
