// lamina lock: pin bundles to the bytes that they are today.
#include <cstdio>

#include "hub_client/client.h"
#include "hub_client/lock.h"
#include "verbs.h"

namespace lamina::cli {
namespace {

struct Options {
  std::vector<std::string> bundles;
  std::string file = "lamina.lock";
};

void lock(const Options &options) {
  const hub::Client client(hub::read_environment());
  hub::Lock pins;
  if (std::filesystem::exists(options.file)) pins = hub::read_lock(options.file);
  for (const std::string &specification : options.bundles) {
    const std::string repository = hub::parse_specification(specification).first;
    pins[repository] = client.lock(specification, {});
    std::printf("%s %s is %s, release %llu, %zu variants\n", repository.c_str(), pins[repository].revision.c_str(),
                pins[repository].commit.c_str(), static_cast<unsigned long long>(pins[repository].counter),
                pins[repository].variants.size());
  }
  hub::write_lock(options.file, pins);
}

}  // namespace

void add_lock(CLI::App &app) {
  auto options = std::make_shared<Options>();
  CLI::App *verb =
      app.add_subcommand("lock",
                         "Pin bundles: writes the commit of each and the hash of every variant's bundle.json, which lists the\n"
                         "hash of every file, into a lock file.  lamina fetch --locked FILE then takes these bytes or none.\n"
                         "Other bundles that the file pins stay as they are.\n\n"
                         "  lamina lock my-org/triangle-multiplication@v1\n"
                         "  lamina fetch my-org/triangle-multiplication --locked lamina.lock");
  verb->add_option("bundles", options->bundles, "ORG/NAME or ORG/NAME@vN")->required();
  verb->add_option("--file,-o", options->file, "the lock file; it is made, or its entries are replaced")->capture_default_str();
  verb->callback([options] { lock(*options); });
}

}  // namespace lamina::cli
