#include "conformance/cuda_emulator/settings.h"

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>

namespace lamina::cuda_emulator {
namespace {

Settings read() {
  Settings settings;
  const char *words = std::getenv("LAMINA_CUDA_EMULATOR");
  std::istringstream list(words ? words : "");
  for (std::string word; list >> word;) {
    if (word.starts_with("seed=")) settings.seed = static_cast<unsigned>(std::strtoul(word.c_str() + 5, nullptr, 10));
    else if (word == "products=early") settings.products = ProductTime::early, settings.products_by_launch = false;
    else if (word == "products=late") settings.products = ProductTime::late, settings.products_by_launch = false;
    else if (word == "products=any") settings.products = ProductTime::any, settings.products_by_launch = false;
    else if (word == "report=1") settings.report = true;
    else if (word != "report=0") {
      std::fprintf(stderr, "LAMINA_CUDA_EMULATOR knows no word '%s'\n", word.c_str());
      std::exit(64);
    }
  }
  return settings;
}

}  // namespace

const Settings &settings() {
  static const Settings the_settings = read();
  return the_settings;
}

}  // namespace lamina::cuda_emulator
