// Fuzzing: what a hub lists
#include "conformance/hub/fuzz/fuzz.h"
#include "hub_client/download.h"

using namespace lamina;

FUZZ(input) {
  hub::Listing listing;
  size_t entries = 0;
  if (!fuzz::accepts([&] { hub::read_listing_page(input, "the listing", listing, entries); })) return;
  for (const auto &[path, file] : listing) {
    fuzz::require(hub::valid_etag(file.etag) && path.find("..") != 0 && path.front() != '/' && path.find('\0') == std::string::npos);
    fuzz::require(std::filesystem::path(path).lexically_normal() == path);
  }
  fuzz::accepts([&] { hub::check_names(listing, "the listing"); });
}
