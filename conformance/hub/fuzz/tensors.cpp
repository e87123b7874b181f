// Fuzzing: safetensors and npy; the first byte says which
#include "conformance/hub/fuzz/fuzz.h"
#include "manifest/npy.h"
#include "manifest/safetensors.h"

using namespace lamina;

FUZZ(input) {
  if (input.empty()) return;
  const fuzz::MemoryFile file(input.substr(1));
  uint64_t sum = 0;  // every byte that a view says it has is there
  fuzz::accepts([&] {
    if (input.front() == 'n') {
      for (const unsigned char byte : manifest::read_npy(file.path()).bytes) sum += byte;
      return;
    }
    const auto opened = manifest::SafetensorsFile::open(file.path());
    for (const auto &[name, view] : opened->tensors()) {
      uint64_t count = 1;
      for (const int64_t extent : view.shape) count *= static_cast<uint64_t>(extent);
      const uint64_t bytes = count * view.dtype.bits / 8;
      for (uint64_t at = 0; at < bytes; ++at) sum += static_cast<const unsigned char *>(view.data)[at];
    }
  });
  fuzz::require(sum < UINT64_MAX);
}
