// lamina fetch: resolve, download what is missing, verify.
#include <unistd.h>

#include <cstdio>

#include "fetch/progress.h"
#include "hub_client/client.h"
#include "hub_client/explanation.h"
#include "manifest/error.h"
#include "manifest/json.h"
#include "verbs.h"

namespace lamina::cli {
namespace {

using manifest::Json;

struct Options {
  std::string specification, signatures = "require", torch, tvm_ffi, lock_file;
  hub::FetchOptions fetch;
  bool explain = false, quiet = false, json = false;
};

std::pair<int, int> version_of(const std::string &text) {
  int major = 0, minor = 0, end = 0;
  if (std::sscanf(text.c_str(), "%d.%d%n", &major, &minor, &end) != 2 || end == 0 ||
      (text[static_cast<size_t>(end)] && text[static_cast<size_t>(end)] != '.'))
    throw Error(ErrorKind::invalid_argument, "'" + text + "' is no version; expected X.Y, such as 2.9");
  return {major, minor};
}

Json as_json(const hub::Fetched &fetched) {
  Json variants = Json::array(), builds = Json::array(), checks = Json::array();
  for (const hub::Candidate &candidate : fetched.candidates)
    variants.push_back({{"variant", candidate.variant}, {"taken", candidate.variant == fetched.variant}, {"reason", candidate.reason}});
  for (const hub::BuildVerdict &build : fetched.builds)
    builds.push_back({{"arch", build.build.arch},
                      {"file", build.build.file},
                      {"taken", build.build.arch == fetched.build.arch},
                      {"reason", build.reason}});
  for (const manifest::VerifyStep &step : fetched.report.steps)
    checks.push_back({{"name", step.name}, {"outcome", manifest::name_of(step.outcome)}, {"detail", step.detail}});
  return {{"schema", "lamina/fetch/1"},
          {"repository", fetched.repository},
          {"revision", fetched.revision},
          {"commit", fetched.commit},
          {"version", fetched.bundle.version},
          {"counter", fetched.bundle.counter},
          {"variant", fetched.variant},
          {"directory", fetched.directory.string()},
          {"build", (fetched.directory / fetched.build.file).string()},
          {"build_id", fetched.build.build_id},
          {"signed_by", fetched.report.signed_by ? Json(fetched.report.signed_by->id_text()) : Json()},
          {"downloaded", {{"files", fetched.downloaded_files}, {"bytes", fetched.downloaded_bytes}}},
          {"variants", variants},
          {"builds", builds},
          {"checks", checks}};
}

void fetch(const Options &options) {
  hub::FetchOptions rules = options.fetch;
  rules.signatures = options.signatures == "require" ? manifest::SignaturePolicy::require
                     : options.signatures == "warn"  ? manifest::SignaturePolicy::warn
                                                     : manifest::SignaturePolicy::off;
  if (!options.torch.empty()) rules.framework.torch = version_of(options.torch);
  if (!options.tvm_ffi.empty()) rules.framework.tvm_ffi = version_of(options.tvm_ffi);
  if (!options.lock_file.empty()) {
    const hub::Lock pins = hub::read_lock(options.lock_file);
    const std::string repository = hub::parse_specification(options.specification).first;
    const auto found = pins.find(repository);
    if (found == pins.end())
      throw Error(ErrorKind::conflict, options.lock_file + " does not pin " + repository + "; run lamina lock " + options.specification);
    rules.locked = found->second;
  }
  const hub::Environment environment = hub::read_environment();
  ProgressLine line(stderr, isatty(STDERR_FILENO));
  if (!options.quiet) {
    rules.log = [&line](const std::string &sentence) { line.clear(), std::fprintf(stderr, "%s\n", sentence.c_str()); };
    if (!environment.no_progress) rules.progress = [&line](const hub::Progress &now) { line.show(now); };
  }
  const hub::Client client(environment);
  const hub::Fetched fetched = client.fetch(options.specification, rules);
  line.clear();
  if (options.json) {
    std::fputs(manifest::write_json(as_json(fetched)).c_str(), stdout);
    return;
  }
  if (options.explain) std::fputs(hub::explanation(fetched, "LOCAL_KERNELS").c_str(), stdout);
  std::printf("%s\n", (fetched.directory / fetched.build.file).c_str());
}

}  // namespace

void add_fetch(CLI::App &app) {
  auto options = std::make_shared<Options>();
  CLI::App *verb = app.add_subcommand(
      "fetch",
      "Download and verify the build of a bundle that fits this machine; print where it lies.  Files go into the shared\n"
      "Hugging Face cache; what is there already is checked, not fetched; an interrupted download goes on where it stopped.\n"
      "Nothing is loaded.  A version never goes back: an older release offered for it is refused, and had by its commit.\n\n"
      "  lamina fetch my-org/triangle-multiplication                 the newest version\n"
      "  lamina fetch my-org/triangle-multiplication@v1 --explain    why this variant and this build\n"
      "  lamina fetch my-org/triangle-multiplication@COMMIT --json   the same commit every time, for a script\n\n"
      "Environment: HF_ENDPOINT (which hub), HF_TOKEN (for private ones), HF_HUB_CACHE (which cache), HF_HUB_OFFLINE=1 (no\n"
      "network at all), LOCAL_KERNELS=ORG/NAME=FOLDER (a folder instead of the hub), https_proxy.  lamina doctor shows what\n"
      "they amount to.");
  verb->add_option("bundle", options->specification, "ORG/NAME, ORG/NAME@vN or ORG/NAME@COMMIT")->required();
  verb->add_option("--signatures", options->signatures, "require: a trusted key must have signed; warn; off")
      ->check(CLI::IsMember({"require", "warn", "off"}))
      ->capture_default_str();
  verb->add_option("--backend", options->fetch.backend, "cpu, cu130, ... instead of this machine's");
  verb->add_option("--torch", options->torch, "X.Y: choose exactly as the Python library would beside that torch");
  verb->add_option("--tvm-ffi", options->tvm_ffi, "X.Y: and beside that tvm-ffi");
  verb->add_option("--locked", options->lock_file, "a file of lamina lock: exactly what it pins, or an error")->check(CLI::ExistingFile);
  verb->add_flag("--allow-rollback", options->fetch.allow_rollback, "take an older release of a version than was seen before");
  verb->add_flag("--explain", options->explain, "show every candidate and why it was taken or passed over, and every check");
  verb->add_flag("--json", options->json, "all of that as one JSON object on standard output");
  verb->add_flag("--quiet", options->quiet, "no word but the result");
  verb->callback([options] { fetch(*options); });
}

}  // namespace lamina::cli
