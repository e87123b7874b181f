// Fuzzing: signatures, keys, and text that is shown
#include "conformance/hub/fuzz/fuzz.h"
#include "manifest/minisign.h"
#include "manifest/printable.h"

using namespace lamina;

FUZZ(input) {
  static const manifest::SecretKey key = manifest::make_key();
  fuzz::accepts([&] { manifest::parse_signature(input); });
  fuzz::accepts([&] { manifest::parse_public_key(input); });
  fuzz::accepts([&] { manifest::parse_secret_key(input); });
  fuzz::require(!fuzz::accepts([&] { manifest::verify(key.public_key(), "what was signed", input); }));
  const std::string shown = manifest::printable(input);
  fuzz::require(shown.find('\x1b') == std::string::npos && manifest::printable(shown) == shown);
}
