// README.md of a bundle's hub repository.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "manifest/contract.h"

namespace lamina::packager {

std::string hub_card(const manifest::Contract &contract, const std::string &repository, const std::map<std::string, std::string> &hosts,
                     const std::vector<std::string> &variants);

}  // namespace lamina::packager
