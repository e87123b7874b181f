// lamina pack: builds in, bundle out.
#include <cstdio>

#include "manifest/error.h"
#include "manifest/json.h"
#include "packager/pack.h"
#include "verbs.h"

namespace lamina::cli {
namespace {

struct Options {
  std::string layer, layers = "layers", plugins = "build/plugins", archs_json = "build/gen/archs.json", only_backend;
  std::vector<std::string> archs;
  packager::PackOptions pack;
  std::string organisation, output;
};

// Every packed arch of the list whose plug-in is there, unless the command line names them.
std::vector<std::string> archs_of(const Options &options) {
  if (!options.archs.empty()) return options.archs;
  const std::filesystem::path folder = options.layers + "/" + options.layer;
  const std::string version = manifest::read_json(folder / "contract.json").at("version").get<std::string>();
  const manifest::Json archs = manifest::read_json(options.archs_json);
  std::vector<std::string> found;
  for (const auto &[arch, facts] : archs.items()) {
    const std::string backend = facts.at("backend").get<std::string>();
    if (backend.empty() ||
        (!options.only_backend.empty() && (" " + backend + " ").find(" " + options.only_backend + " ") == std::string::npos))
      continue;
    if (std::filesystem::exists(std::filesystem::path(options.plugins) / (options.layer + "-" + version + "-" + arch + ".so")))
      found.push_back(arch);
  }
  if (found.empty())
    throw Error(ErrorKind::not_found, "no build of " + options.layer + " " + version + " in " + options.plugins + "; run make");
  return found;
}

void pack(const Options &options) {
  packager::PackOptions pack = options.pack;
  pack.layer = options.layers + "/" + options.layer, pack.plugins = options.plugins, pack.archs_json = options.archs_json;
  pack.output = options.output, pack.organisation = options.organisation, pack.archs = archs_of(options);
  const packager::Packed packed = packager::pack(pack);
  std::printf("packed %s into %s, counter %llu, not signed yet\n", packed.repository.c_str(), options.output.c_str(),
              static_cast<unsigned long long>(pack.counter));
  for (const std::string &variant : packed.variants) std::printf("  build/%s\n", variant.c_str());
  std::printf("next: lamina sign %s --key FILE\n", options.output.c_str());
}

}  // namespace

void add_pack(CLI::App &app) {
  auto options = std::make_shared<Options>();
  CLI::App *verb =
      app.add_subcommand("pack",
                         "Put a layer's builds into a bundle: the layout of a kernel repository, with manifest, digests, C header and\n"
                         "Python shim.  The same inputs give the same bytes.\n\n"
                         "  lamina pack triangle_multiplication --org my-org --counter 1 --out build/bundle");
  verb->add_option("layer", options->layer, "which layer")->required();
  verb->add_option("--org", options->organisation, "whose repository it becomes: ORG/<layer>")->required();
  verb->add_option("--counter", options->pack.counter, "release number: larger than that of any earlier release")->required();
  verb->add_option("--out", options->output, "folder to make; an earlier pack of the same repository is replaced")->required();
  verb->add_option("--arch", options->archs, "pack these only; every build that is there otherwise. Repeatable");
  verb->add_option("--only-backend", options->only_backend, "pack one backend's builds only: cpu, cu130, ...");
  verb->add_option("--layers", options->layers, "folder of the layers")->capture_default_str();
  verb->add_option("--plugins", options->plugins, "folder of the builds")->capture_default_str();
  verb->add_option("--archs", options->archs_json, "what each arch requires of a machine")->capture_default_str();
  verb->add_option("--torch-floor", options->pack.torch_floor, "oldest torch the variant's name claims, as 29 for 2.9")
      ->capture_default_str();
  verb->add_flag("--tvm-ffi", options->pack.tvm_ffi, "also a variant for tvm-ffi 0.1, without torch, from the builds in PLUGINS/tvm_ffi");
  verb->callback([options] { pack(*options); });
}

}  // namespace lamina::cli
