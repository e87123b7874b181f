// For python_resolver.py: a line a listing, `backend cpu os torch cxx11 tvm-ffi variant...`; answers the variants that fit, best first.
#include <iostream>
#include <sstream>

#include "hub_client/resolve.h"

namespace {

std::optional<std::pair<int, int>> version(const std::string &text) {
  if (text == "-") return {};
  const size_t dot = text.find('.');
  return std::pair(std::stoi(text.substr(0, dot)), std::stoi(text.substr(dot + 1)));
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string backend, cpu, os, torch, cxx11, tvm_ffi;
    words >> backend >> cpu >> os >> torch >> cxx11 >> tvm_ffi;
    std::vector<std::string> variants;
    for (std::string variant; words >> variant;) variants.push_back(variant);
    const lamina::hub::Framework framework{version(torch), cxx11 == "1", version(tvm_ffi)};
    std::string answer;
    for (const lamina::hub::Candidate &candidate : lamina::hub::resolve(variants, backend, cpu, os, framework))
      if (candidate.reason.empty()) answer += (answer.empty() ? "" : " ") + candidate.variant;
    std::cout << answer << '\n';
  }
}
