#include "hub_client/explanation.h"

namespace lamina::hub {
namespace {

std::string row(bool taken, std::string name, const std::string &reason, const char *fits) {
  name.resize(std::max<size_t>(name.size(), 44), ' ');
  return std::string("  ") + (taken ? "> " : "  ") + name + " " + (taken ? "taken" : reason.empty() ? fits : reason) + "\n";
}

}  // namespace

std::string explanation(const Fetched &fetched, const std::string &folder) {
  std::string text = "variants of " + fetched.repository + " at " + (fetched.commit.empty() ? folder : fetched.commit) + "\n";
  for (const Candidate &candidate : fetched.candidates)
    text += row(candidate.variant == fetched.variant, candidate.variant, candidate.reason, "fits, but comes later");
  text += "builds of it, best first\n";
  for (const BuildVerdict &build : fetched.builds)
    text += row(build.build.arch == fetched.build.arch, build.build.arch, build.reason, "runs here, but comes later");
  return text + "checks\n" + fetched.report.text();
}

}  // namespace lamina::hub
