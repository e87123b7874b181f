// lamina repair: makes a cache usable again.
#include <cstdio>

#include "hub_client/environment.h"
#include "hub_client/repair.h"
#include "manifest/error.h"
#include "verbs.h"

namespace lamina::cli {

void add_repair(CLI::App &app) {
  auto options = std::make_shared<hub::RepairOptions>();
  CLI::App *verb = app.add_subcommand(
      "repair",
      "Mend what keeps the cache from being used, above all offline; whatever is right stays as it is.  Safe while other\n"
      "programs use the cache.\n\n"
      "  a file whose bytes do not hash to its name is removed: a power cut or a bad disk, and every client would trust it\n"
      "  a link in a snapshot that leads nowhere, or out of the repository, is removed\n"
      "  an unfinished download that nobody has worked on for a day is removed\n"
      "  a version (v1) that is there is noted: Python's `kernels` downloads versions without noting them, and then\n"
      "  does not find them offline; a Lamina bundle must verify first\n"
      "  a listing of a commit that names files which are not there is removed: huggingface_hub takes the commit for\n"
      "  incomplete because of it, although the variant in use is whole\n\n"
      "  lamina repair --dry-run      what would be done; exit code 14 if there is anything\n"
      "  lamina repair ORG/NAME       that repository alone");
  verb->add_option("repository", options->repository, "ORG/NAME; all kernel repositories when left out");
  verb->add_flag("--dry-run", options->dry_run, "change nothing");
  verb->callback([options] {
    const hub::Environment environment = hub::read_environment();
    const hub::TrustStore trust(environment.trust_file, environment.site_trust_file);
    const std::vector<hub::Mending> mended = hub::repair_cache(environment.cache, trust, *options);
    for (const hub::Mending &one : mended) std::printf("%s: %s: %s\n", one.path.c_str(), one.action.c_str(), one.problem.c_str());
    if (mended.empty()) std::printf("%s: nothing to mend\n", environment.cache.c_str());
    else if (options->dry_run)
      throw Error(ErrorKind::failed, std::to_string(mended.size()) + " things to mend; lamina repair without --dry-run does it");
    else std::printf("%zu things mended; lamina fetch brings again what was removed\n", mended.size());
  });
}

}  // namespace lamina::cli
