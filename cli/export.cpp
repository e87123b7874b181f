// lamina export: a release as one file, or as a folder that nginx serves.
#include <cstdio>

#include "hub_client/archive.h"
#include "hub_client/static_mirror.h"
#include "manifest/error.h"
#include "verbs.h"

namespace lamina::cli {
namespace {

struct Options {
  std::vector<std::string> sources, trusted;
  std::string output, mirror;
  hub::MirrorOptions rules;
};

void describe(const hub::Snapshot &snapshot) {
  uint64_t bytes = 0;
  for (const auto &[path, file] : snapshot.files) bytes += file.size;
  std::printf("%s@%s, commit %s: %zu files, %llu bytes\n", snapshot.repository.c_str(), snapshot.branch.c_str(), snapshot.commit.c_str(),
              snapshot.files.size(), static_cast<unsigned long long>(bytes));
  for (const auto &[variant, counter] : snapshot.variants)
    std::printf("  build/%s, counter %llu\n", variant.c_str(), static_cast<unsigned long long>(counter));
}

void export_(const Options &options) {
  const hub::Environment environment = hub::read_environment();
  if (options.output.empty() == options.mirror.empty())
    throw Error(ErrorKind::invalid_argument, "name one target: -o FILE.tar.zst for an archive, or --static FOLDER for a mirror");
  if (!options.output.empty() && options.sources.size() != 1)
    throw Error(ErrorKind::invalid_argument, "an archive holds one release; export the others to files of their own");
  std::vector<hub::Snapshot> snapshots;
  for (const std::string &source : options.sources) {
    snapshots.push_back(hub::read_snapshot(source, environment));
    describe(snapshots.back());
  }
  if (!options.mirror.empty()) {
    hub::MirrorOptions rules = options.rules;
    rules.directory = options.mirror, rules.trusted = {options.trusted.begin(), options.trusted.end()};
    hub::write_static_mirror(snapshots, rules);
    std::printf("wrote %s\nnext: nginx -p \"$(realpath %s)\" -c nginx.conf, and for clients: export HF_ENDPOINT=http://%s\n",
                options.mirror.c_str(), options.mirror.c_str(), rules.listen.c_str());
    return;
  }
  const hub::Snapshot &snapshot = snapshots.front();
  hub::write_archive(snapshot, options.output);
  for (const std::string &path : snapshot.absent) std::printf("  without %s: never downloaded to this cache\n", path.c_str());
  std::printf("wrote %s\nnext, on the other machine: lamina trust add %s KEY.pub && lamina import %s\n", options.output.c_str(),
              snapshot.repository.substr(0, snapshot.repository.find('/')).c_str(), options.output.c_str());
}

}  // namespace

void add_export(CLI::App &app) {
  auto options = std::make_shared<Options>();
  CLI::App *verb = app.add_subcommand(
      "export",
      "Carry a release to machines without a hub: as one file for lamina import, or as a folder that plain nginx serves.\n"
      "A source is a folder that lamina pack and lamina sign made, or ORG/NAME[@vN|@COMMIT] in the cache, with what was\n"
      "fetched of it.  Only what a signature covers is exported.  The same release gives the same bytes.\n\n"
      "  lamina export build/bundle -o layer.tar.zst                   one file, for a USB stick or an object store\n"
      "  lamina export my-org/triangle-multiplication@v1 -o layer.tar.zst\n"
      "                                                                what this machine runs, for one of its kind\n"
      "  lamina export build/bundle --static mirror                    then: nginx -p \"$PWD/mirror\" -c nginx.conf\n\n"
      "The receiver decides whom to trust: import and fetch verify every signature again.");
  verb->add_option("source", options->sources, "a bundle's folder, or ORG/NAME[@REVISION]; several with --static")->required();
  CLI::Option *output = verb->add_option("-o,--output", options->output, "the archive's file, FILE.tar.zst");
  verb->add_option("--static", options->mirror, "the mirror's folder; an earlier mirror there is replaced")->excludes(output);
  verb->add_option("--listen", options->rules.listen, "ADDRESS:PORT in the mirror's nginx.conf")->capture_default_str();
  verb->add_option("--trusted-org", options->trusted,
                   "organisation that the mirror calls a trusted publisher: without it the Python library wants\n"
                   "trust_remote_code=True. Lamina's own clients ask their trust file instead. Repeatable");
  verb->callback([options] { export_(*options); });
}

}  // namespace lamina::cli
