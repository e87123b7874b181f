// lamina sign: signs every variant of a bundle.
#include <cstdio>

#include "packager/pack.h"
#include "verbs.h"

namespace lamina::cli {

void add_sign(CLI::App &app) {
  auto bundle = std::make_shared<std::string>(), key = std::make_shared<std::string>();
  CLI::App *verb =
      app.add_subcommand("sign",
                         "Sign a bundle: checks that every variant is whole and holds nothing unlisted, writes bundle.json.minisig into\n"
                         "each (minisign verifies it too) and derives metadata.json again.  Signing again gives the same bytes; signing\n"
                         "with another key replaces the signature.\n\n"
                         "  lamina keygen --out my-org                       once: my-org.sec to keep, my-org.pub to give away\n"
                         "  lamina sign build/bundle --key my-org.sec\n"
                         "  lamina verify build/bundle --key my-org.pub      what every client will do");
  verb->add_option("bundle", *bundle, "what lamina pack made, or one variant directory")->required()->check(CLI::ExistingDirectory);
  verb->add_option("--key", *key, "the secret key's file")->required()->check(CLI::ExistingFile);
  verb->callback([bundle, key] {
    for (const auto &directory : packager::sign(*bundle, *key)) std::printf("signed %s\n", directory.c_str());
  });
}

}  // namespace lamina::cli
