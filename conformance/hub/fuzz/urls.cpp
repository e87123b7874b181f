// Fuzzing: addresses, redirects, names of bundles and variants
#include "conformance/hub/fuzz/fuzz.h"
#include "hub_client/client.h"
#include "hub_client/repository_store.h"
#include "hub_client/server_routes.h"

using namespace lamina;

FUZZ(input) {
  const std::string whole(input), base = fuzz::next_line(input), location = fuzz::next_line(input);
  const std::string next = hub::resolved_location(base, location);
  if (!next.empty()) {
    const std::string origin = hub::origin_of(next);
    fuzz::require(origin.starts_with("http://") || origin.starts_with("https://"));
    fuzz::require(next.find('\n') == std::string::npos && next.find('@') >= next.find('/', 8));
  }
  fuzz::require(hub::shown_url(whole).find('?') == std::string::npos);
  fuzz::require(hub::percent_decoded(hub::percent_encoded(whole)) == whole);
  std::pair<std::string, std::string> specification;
  if (fuzz::accepts([&] { specification = hub::parse_specification(base); }))
    fuzz::require(hub::valid_repository_name(specification.first) && specification.first.find("..") == std::string::npos);
  hub::resolve({base, location}, "cu130", "x86_64", "linux", {});
  fuzz::accepts([&] { manifest::parse_variant_name(base); });
}
