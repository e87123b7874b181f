// Fuzzing: a release in one file; behind a 't' a tar that is compressed here, or what is inside would never be reached
#include "conformance/hub/fuzz/fuzz.h"

#include <zstd.h>

#include "hub_client/archive.h"

using namespace lamina;

namespace {

std::string compressed(std::string_view bytes) {
  std::string frame(ZSTD_compressBound(bytes.size()), 0);
  ZSTD_CCtx *context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  const size_t size = ZSTD_compress2(context, frame.data(), frame.size(), bytes.data(), bytes.size());
  ZSTD_freeCCtx(context);
  fuzz::require(!ZSTD_isError(size));
  return frame.substr(0, size);
}

}  // namespace

FUZZ(input) {
  const fuzz::MemoryFile file(input.starts_with('t') ? compressed(input.substr(1)) : std::string(input));
  hub::Environment environment;
  environment.cache = fuzz::scratch() / "cache";
  environment.trust_file = fuzz::scratch() / "trust.json";
  environment.site_trust_file.clear();
  // Nobody is trusted, so nothing may be taken, and nothing may stay.
  fuzz::require(!fuzz::accepts([&] { hub::import_archive(file.path(), environment); }));
  fuzz::require(!std::filesystem::exists(environment.cache) || std::filesystem::is_empty(environment.cache));
}
