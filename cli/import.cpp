// lamina import: a release out of one file into the cache.
#include <cstdio>

#include "hub_client/archive.h"
#include "verbs.h"

namespace lamina::cli {

void add_import(CLI::App &app) {
  auto file = std::make_shared<std::string>();
  CLI::App *verb = app.add_subcommand(
      "import",
      "Put a release that lamina export wrote into the cache, as if it had been fetched: for machines without network.\n"
      "Nothing gets a name in the cache before every file's hash and every variant's signature are right, and the signing\n"
      "key is one that lamina trust add pinned.  An older release never takes the place of a newer one.\n\n"
      "  lamina trust add my-org my-org.pub                            once; compare the fingerprint it prints\n"
      "  lamina import layer.tar.zst\n"
      "  HF_HUB_OFFLINE=1 lamina fetch my-org/triangle-multiplication@v1");
  verb->add_option("file", *file, "FILE.tar.zst")->required();
  verb->callback([file] {
    const hub::Imported imported = hub::import_archive(*file, hub::read_environment());
    std::printf("imported %s@%s, commit %s: %zu files, %llu bytes\n", imported.repository.c_str(), imported.branch.c_str(),
                imported.commit.c_str(), imported.files, static_cast<unsigned long long>(imported.bytes));
    for (const auto &directory : imported.directories) std::printf("  %s\n", directory.c_str());
    std::printf("next: HF_HUB_OFFLINE=1 lamina fetch %s@%s\n", imported.repository.c_str(), imported.branch.c_str());
  });
}

}  // namespace lamina::cli
