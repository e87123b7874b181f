// lamina conform: puts a build through its cases and everything the ABI promises.
#include <memory>

#include "conformance/conform.h"
#include "manifest/error.h"
#include "verbs.h"

namespace lamina::cli {

void add_conform(CLI::App &app) {
  auto options = std::make_shared<conformance::Options>();
  CLI::App *verb = app.add_subcommand("conform",
                                      "Prove a build: every case against the reference, every refusal, every promise of the ABI.\n\n"
                                      "  lamina conform build/plugins/transition-1.0.0-cpu_avx2.so");
  verb->add_option("build", options->build, "the plug-in under test (.so)")->required();
  verb->add_option("--against", options->reference, "the build that is right; default: <layer>-<version>-reference.so beside the build");
  verb->add_option("--cases", options->cases, "the list of cases; default: layers/<layer>/cases.json");
  verb->add_option("--filter", options->filter, "only checks whose name contains this, for instance a case's why");
  verb->add_option("--without", options->without, "leave out checks whose name contains this, and say how many");
  verb->add_option("--ops", options->ops, "all ops that the build has, as forward,pack: cases of others are left out, and said so")
      ->delimiter(',');
  verb->add_option("--device", options->device, "cpu, cuda:N or rocm:N; default: by the build's target");
  verb->add_option("--report", options->report, "write all results to this JSON file");
  verb->add_option("--max-gflop", options->reference_gflop, "refuse lists that cost the reference more")->capture_default_str();
  verb->add_flag("--require-all", options->require_all, "UNSUPPORTED, and dtypes the build doesn't take, are failures");
  verb->add_flag("--list", options->list_only, "print the checks and run none");
  verb->add_flag("--verbose", options->verbose, "a line for every check");
  verb->footer("Exit codes: 0 all passed; 14 a check failed; 8 this machine can't run the build; others: docs/exit-codes.md.");
  verb->callback([options] {
    const conformance::Summary summary = conformance::conform(*options, stdout);
    if (!options->list_only && !summary.passed(options->require_all)) throw Error(ErrorKind::failed, options->build + " does not conform");
  });
}

}  // namespace lamina::cli
