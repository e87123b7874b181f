// Fuzzing: a release in one file
#include "conformance/hub/fuzz/fuzz.h"
#include "hub_client/archive.h"

using namespace lamina;

FUZZ(input) {
  const fuzz::MemoryFile file(input);
  hub::Environment environment;
  environment.cache = fuzz::scratch() / "cache";
  environment.trust_file = fuzz::scratch() / "trust.json";
  environment.site_trust_file.clear();
  // Nobody is trusted, so nothing may be taken, and nothing may stay.
  fuzz::require(!fuzz::accepts([&] { hub::import_archive(file.path(), environment); }));
  fuzz::require(!std::filesystem::exists(environment.cache) || std::filesystem::is_empty(environment.cache));
}
