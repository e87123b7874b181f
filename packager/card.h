// README.md of a bundle's hub repository.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "manifest/bundle.h"
#include "manifest/contract.h"

namespace lamina::packager {

struct CardVariant {
  std::string name;
  std::vector<manifest::Build> builds;
};

// Usage, shapes, machines, hosts, and what was measured.  `layer_readme` is the text of the layer's README.md ("" if it has none): what
// lies between its lines <!-- bench:... begin --> and <!-- bench:... end --> goes into the card, without links into the source tree.
// Errors: malformed for a host that does not parse.  [thread-safe]
std::string hub_card(const manifest::Contract &contract, const std::string &repository, const std::map<std::string, std::string> &hosts,
                     const std::vector<CardVariant> &variants, std::string_view layer_readme);

}  // namespace lamina::packager
