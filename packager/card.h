// README.md of a bundle's hub repository.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "manifest/bundle.h"
#include "manifest/contract.h"

namespace lamina::packager {

// What is known of builds for AMD GPUs, wherever one reads of them, until somebody has measured one.
constexpr const char *how_amd_builds_are_tested = "executed instruction by instruction in CI, not yet measured on silicon";

struct CardVariant {
  std::string name;
  std::vector<manifest::Build> builds;
};

struct Card {
  std::string text;
  std::map<std::string, std::string> pictures;  // name in the repository, beside README.md -> path as the layer's README.md has it
};

// Usage, shapes, machines, hosts, and what was measured.  `layer_readme` is the text of the layer's README.md ("" if it has none): what
// lies between its lines <!-- bench:... begin --> and <!-- bench:... end --> goes into the card, without links into the source tree; its
// pictures come to lie beside the card.
// Errors: malformed for a host that does not parse, for a picture that is no .svg, and for two of one name.  [thread-safe]
Card hub_card(const manifest::Contract &contract, const std::string &repository, const std::map<std::string, std::string> &hosts,
              const std::vector<CardVariant> &variants, std::string_view layer_readme);

}  // namespace lamina::packager
