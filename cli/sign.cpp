// lamina sign: signs every variant of a bundle.
#include <cstdio>

#include "packager/pack.h"
#include "verbs.h"

namespace lamina::cli {

void add_sign(CLI::App &app) {
  auto bundle = std::make_shared<std::string>(), key = std::make_shared<std::string>();
  CLI::App *verb =
      app.add_subcommand("sign", "Sign a bundle: writes bundle.json.minisig into each variant and derives metadata.json again.");
  verb->add_option("bundle", *bundle, "what lamina pack made, or one variant directory")->required()->check(CLI::ExistingDirectory);
  verb->add_option("--key", *key, "the secret key's file")->required()->check(CLI::ExistingFile);
  verb->callback([bundle, key] {
    for (const auto &directory : packager::sign(*bundle, *key)) std::printf("signed %s\n", directory.c_str());
  });
}

}  // namespace lamina::cli
