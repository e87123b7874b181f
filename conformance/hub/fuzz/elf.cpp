// Fuzzing: the headers of a shared object
#include "conformance/hub/fuzz/fuzz.h"
#include "manifest/elf_facts.h"

using namespace lamina;

FUZZ(input) {
  fuzz::accepts([&] { manifest::audit_plugin(manifest::read_elf(input, "build.so")); });
}
