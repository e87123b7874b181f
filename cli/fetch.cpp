// lamina fetch: resolve, download what is missing, verify.
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "hub_client/client.h"
#include "manifest/error.h"
#include "verbs.h"

namespace lamina::cli {
namespace {

struct Options {
  std::string specification, signatures = "require", torch;
  hub::FetchOptions fetch;
  bool explain = false, quiet = false;
};

std::pair<int, int> version_of(const std::string &text) {
  int major = 0, minor = 0;
  if (std::sscanf(text.c_str(), "%d.%d", &major, &minor) != 2)
    throw Error(ErrorKind::invalid_argument, "'" + text + "' is no version; expected X.Y");
  return {major, minor};
}

// One line that moves on a terminal, nothing elsewhere: a log wants sentences, not percentages.
class Bar {
 public:
  void show(const hub::Progress &now) {
    if (!isatty(STDERR_FILENO)) return;
    const auto clock = std::chrono::steady_clock::now();
    if (now.file != file_) file_ = now.file, start_ = clock;
    const double seconds = std::chrono::duration<double>(clock - start_).count(),
                 rate = seconds > 0 ? static_cast<double>(now.done) / seconds : 0;
    const double left = rate > 0 ? static_cast<double>(now.total - now.done) / rate : 0;
    std::fprintf(stderr, "\r%3d %%  %7.1f MB/s  %4.0f s left  %s\033[K%s", now.total ? static_cast<int>(100 * now.done / now.total) : 100,
                 rate * 1e-6, left, now.file.c_str(), now.done == now.total ? "\n" : "");
  }

 private:
  std::string file_;
  std::chrono::steady_clock::time_point start_;
};

void explain(const hub::Fetched &fetched) {
  std::printf("variants of %s at %s\n", fetched.repository.c_str(), fetched.commit.c_str());
  for (const hub::Candidate &candidate : fetched.candidates)
    std::printf("  %s %-44s %s\n", candidate.variant == fetched.variant ? ">" : " ", candidate.variant.c_str(),
                candidate.variant == fetched.variant ? "taken"
                : candidate.reason.empty()           ? "fits, but comes later"
                                                     : candidate.reason.c_str());
  std::printf("builds of it, best first\n");
  for (const hub::BuildVerdict &verdict : fetched.builds)
    std::printf("  %s %-44s %s\n", verdict.build.arch == fetched.build.arch ? ">" : " ", verdict.build.arch.c_str(),
                verdict.build.arch == fetched.build.arch ? "taken"
                : verdict.reason.empty()                 ? "runs here, but comes later"
                                                         : verdict.reason.c_str());
  std::printf("checks\n%s", fetched.report.text().c_str());
}

void fetch(const Options &options) {
  hub::FetchOptions rules = options.fetch;
  rules.signatures = options.signatures == "require" ? manifest::SignaturePolicy::require
                     : options.signatures == "warn"  ? manifest::SignaturePolicy::warn
                                                     : manifest::SignaturePolicy::off;
  if (!options.torch.empty()) rules.framework.torch = version_of(options.torch);
  Bar bar;
  if (!options.quiet) {
    rules.log = [](const std::string &sentence) { std::fprintf(stderr, "%s\n", sentence.c_str()); };
    rules.progress = [&bar](const hub::Progress &now) { bar.show(now); };
  }
  const hub::Client client(hub::read_environment());
  const hub::Fetched fetched = client.fetch(options.specification, rules);
  if (options.explain) explain(fetched);
  std::printf("%s\n", (fetched.directory / fetched.build.file).c_str());
}

}  // namespace

void add_fetch(CLI::App &app) {
  auto options = std::make_shared<Options>();
  CLI::App *verb =
      app.add_subcommand("fetch",
                         "Download and verify the build of a bundle that fits this machine; print where it lies.  Files go into the\n"
                         "shared Hugging Face cache; what is there already is checked, not fetched.  Nothing is loaded.\n\n"
                         "  lamina fetch my-org/triangle-multiplication@v1 --explain");
  verb->add_option("bundle", options->specification, "ORG/NAME, ORG/NAME@vN or ORG/NAME@COMMIT")->required();
  verb->add_option("--signatures", options->signatures, "require: a trusted key must have signed; warn; off")
      ->check(CLI::IsMember({"require", "warn", "off"}))
      ->capture_default_str();
  verb->add_option("--backend", options->fetch.backend, "cpu, cu130, ... instead of this machine's");
  verb->add_option("--torch", options->torch, "X.Y: choose exactly as the Python library would beside that torch");
  verb->add_flag("--explain", options->explain, "show every candidate and why it was taken or passed over, and every check");
  verb->add_flag("--quiet", options->quiet, "print the path alone");
  verb->callback([options] { fetch(*options); });
}

}  // namespace lamina::cli
