// Fuzzing: bundle.json and what is derived from it
#include "conformance/hub/fuzz/fuzz.h"
#include "manifest/bundle.h"

using namespace lamina;

FUZZ(input) {
  manifest::Bundle bundle;
  if (!fuzz::accepts([&] { bundle = manifest::parse_bundle(input, "bundle.json"); })) return;
  const std::string written = manifest::write_bundle(bundle);
  fuzz::require(manifest::write_bundle(manifest::parse_bundle(written, "bundle.json")) == written);
  fuzz::require(!manifest::derive_metadata(input, "").empty());
  fuzz::require(manifest::bundle_id(bundle, input).find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos);
}
