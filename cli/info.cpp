// lamina info: what a plug-in or a bundle says about itself.
#include <algorithm>
#include <cstdio>

#include "manifest/bundle.h"
#include "manifest/contract.h"
#include "manifest/error.h"
#include "manifest/files.h"
#include "manifest/json.h"
#include "packager/card.h"
#include "packager/elf_section.h"
#include "packager/pack.h"
#include "verbs.h"

namespace lamina::cli {
namespace {

constexpr uint64_t max_file = uint64_t{512} << 20;

void print_contract(const manifest::Contract &contract) {
  std::printf("%s %s: %s\n", contract.layer.c_str(), contract.version.c_str(), contract.title.c_str());
  std::printf("\n  dims\n");
  for (const auto &[letter, meaning] : contract.dims) std::printf("    %s  %s\n", letter.c_str(), meaning.c_str());
  std::printf("\n  attributes\n");
  for (const auto &attribute : contract.attributes) {
    std::string values;
    for (const std::string &value : attribute.values) values += (values.empty() ? " (" : ", ") + value;
    std::printf("    %-14s default %s%s\n", attribute.name.c_str(), manifest::text_of(attribute.default_value).c_str(),
                values.empty() ? "" : (values + ")").c_str());
  }
  for (const auto &op : contract.ops) {
    std::printf("\n  op %s: %s\n", op.name.c_str(), op.doc.c_str());
    for (const std::string &name : op.arguments) {
      const manifest::ContractArgument &argument = *contract.argument(name);
      std::printf("    %-22s %-7s %-9s %-22s %s\n", name.c_str(), manifest::name_of(argument.role), argument.shape.c_str(),
                  argument.dtype.c_str(), argument.optional ? "optional" : "");
    }
  }
}

void print_build(const std::string &path) {
  const std::string bytes = manifest::read_file(path, max_file);
  print_contract(manifest::parse_contract(packager::embedded_contract(bytes, path), path));
  std::printf("\n  build id %s\n", packager::embedded_build_id(bytes, path).c_str());
}

void print_bundle(const std::string &path) {
  for (const auto &directory : packager::variant_directories(path)) {
    const std::string file = (directory / manifest::bundle_file).string(), described = (directory / manifest::manifest_file).string();
    const manifest::Bundle bundle = manifest::parse_bundle(manifest::read_file(file, max_file), file);
    const manifest::Manifest manifest = manifest::parse_manifest(manifest::read_file(described, max_file), described);
    std::printf("%s %s, counter %llu, %s\n", bundle.repo.c_str(), bundle.version.c_str(), static_cast<unsigned long long>(bundle.counter),
                bundle.variant.c_str());
    std::printf("  builds, best first\n");
    for (const manifest::Build &build : manifest.builds)
      std::printf("    %-14s %s  needs %s\n", build.arch.c_str(), build.build_id.c_str(), build.requires_json.c_str());
    if (std::any_of(manifest.builds.begin(), manifest.builds.end(),
                    [](const manifest::Build &build) { return manifest::parse_json(build.requires_json, "requires").contains("rocm"); }))
      std::printf("    those for AMD GPUs are %s\n", packager::how_amd_builds_are_tested);
    std::printf("  hosts\n   ");
    for (const auto &[host, json] : manifest.hosts) std::printf(" %s", host.c_str());
    std::printf("\n  files\n");
    for (const manifest::BundleEntry &entry : bundle.files)
      std::printf("    %9llu  %.16s  %s\n", static_cast<unsigned long long>(entry.size), entry.sha256.c_str(), entry.path.c_str());
    print_contract(manifest::parse_contract(manifest.contract_json, described));
  }
}

}  // namespace

void add_info(CLI::App &app) {
  auto path = std::make_shared<std::string>();
  CLI::App *verb =
      app.add_subcommand("info",
                         "Print what a plug-in (.so), a contract (.json) or a bundle says about itself.  Nothing is loaded.\n\n"
                         "  lamina info build/plugins/transition-1.0.0-cpu_avx2.so");
  verb->add_option("path", *path, "FILE.so, contract.json, a bundle or a variant directory")->required()->check(CLI::ExistingPath);
  verb->callback([path] {
    if (std::filesystem::is_directory(*path)) print_bundle(*path);
    else if (std::filesystem::path(*path).extension() == ".json")
      print_contract(manifest::parse_contract(manifest::read_file(*path, max_file), *path));
    else print_build(*path);
  });
}

}  // namespace lamina::cli
