// Fuzzing: manifest.json, contract.json, host bindings, lock files, trust and metadata; the first byte says which
#include "conformance/hub/fuzz/fuzz.h"
#include "hub_client/lock.h"
#include "manifest/bundle.h"
#include "manifest/contract.h"
#include "manifest/files.h"
#include "manifest/host_binding.h"
#include "manifest/json.h"
#include "manifest/python_metadata.h"
#include "manifest/schema.h"

using namespace lamina;

static const manifest::Contract &contract() {
  static const manifest::Contract parsed =
      manifest::parse_contract(manifest::read_file(std::getenv("LAMINA_FUZZ_CONTRACT"), 1 << 20), "contract");
  return parsed;
}

FUZZ(input) {
  if (input.empty()) return;
  const char kind = input.front();
  input.remove_prefix(1);
  fuzz::accepts([&] {
    if (kind == 'm') manifest::parse_manifest(input, "manifest.json");
    else if (kind == 'c') manifest::parse_contract(input, "contract.json");
    else if (kind == 'h') manifest::parse_host_binding(input, contract(), "host.json");
    else if (kind == 'l') hub::parse_lock(input, "lamina.lock");
    else if (kind == 't') manifest::validate(manifest::parse_json(input, "trust"), "trust", "trust.json");
    else manifest::parse_python_metadata(input, "metadata.json");
  });
}
