// Whose signatures count: first use, rotation, removal, organisations, the site's file.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "hub_client/trust.h"

#include <doctest/doctest.h>

#include "manifest/json.h"
#include "manifest/tests/support.h"

using namespace lamina;
using hub::TrustStore;
using manifest::SecretKey;
using manifest::test::error_of;
using manifest::test::Folder;
using manifest::test::has;

namespace {

struct Place {
  Folder folder;
  std::filesystem::path user = folder / "config/lamina/trust.json", site = folder / "site/trust.json";
  TrustStore store() const { return {user, site}; }
  void write_site(const std::string &organisation, const manifest::PublicKey &key) const {
    const manifest::Json entry = {{"keys", {key.text()}}};
    manifest::test::write(site, manifest::write_json({{"schema", "lamina/trust/1"}, {"organizations", {{organisation, entry}}}}));
  }
};

// What an owner of the old key makes for the new one.
std::string endorsement(const SecretKey &old_key, const manifest::PublicKey &new_key) { return sign(old_key, new_key.text(), "rotation"); }

}  // namespace

TEST_CASE("the first key is taken on the user's word, for that organisation alone, and kept") {
  const Place place;
  const SecretKey key = manifest::make_key();
  CHECK(place.store().keys("org").empty());
  place.store().add("org", key.public_key(), "");
  REQUIRE(place.store().keys("org").size() == 1);
  CHECK(place.store().keys("org").front() == key.public_key());
  CHECK(place.store().keys("other").empty());
  CHECK(place.store().keys("or").empty());
  place.store().add("org", key.public_key(), "");  // again: nothing changes
  CHECK(place.store().keys("org").size() == 1);
  for (const char *wrong : {"", "org/name"}) error_of(ErrorKind::invalid_argument, [&] { place.store().add(wrong, key.public_key(), ""); });
}

TEST_CASE("a further key counts when a trusted one signed it") {
  const Place place;
  const SecretKey old_key = manifest::make_key(), new_key = manifest::make_key(), stranger = manifest::make_key();
  place.store().add("org", old_key.public_key(), "");
  const auto add = [&](const std::string &signature) { place.store().add("org", new_key.public_key(), signature); };
  CHECK(has(error_of(ErrorKind::untrusted, [&] { add(""); }), "old one signed it"));
  CHECK(has(error_of(ErrorKind::untrusted, [&] { add(endorsement(stranger, new_key.public_key())); }), "no trusted key of org"));
  error_of(ErrorKind::untrusted, [&] { add(endorsement(new_key, new_key.public_key())); });   // by itself
  error_of(ErrorKind::signature, [&] { add(endorsement(old_key, stranger.public_key())); });  // of another key
  error_of(ErrorKind::signature, [&] { add("no signature"); });
  std::string forged = endorsement(old_key, new_key.public_key());
  forged[forged.find('\n') + 20] ^= 1;
  CHECK_THROWS(add(forged));
  CHECK(place.store().keys("org").size() == 1);
  add(endorsement(old_key, new_key.public_key()));
  CHECK(place.store().keys("org").size() == 2);
}

TEST_CASE("a trusted key of one organisation endorses nothing for another") {
  const Place place;
  const SecretKey ours = manifest::make_key(), theirs = manifest::make_key(), next = manifest::make_key();
  place.store().add("ours", ours.public_key(), "");
  place.store().add("theirs", theirs.public_key(), "");
  error_of(ErrorKind::untrusted, [&] { place.store().add("ours", next.public_key(), endorsement(theirs, next.public_key())); });
}

TEST_CASE("a removed key is not trusted again on anybody's word") {
  const Place place;
  const SecretKey old_key = manifest::make_key(), new_key = manifest::make_key();
  place.store().add("org", old_key.public_key(), "");
  place.store().add("org", new_key.public_key(), endorsement(old_key, new_key.public_key()));
  place.store().remove("org", old_key.public_key());
  REQUIRE(place.store().keys("org").size() == 1);
  CHECK(place.store().keys("org").front() == new_key.public_key());
  // The removed key endorses nothing any more, and comes back only by the new one's signature.
  const SecretKey third = manifest::make_key();
  error_of(ErrorKind::untrusted, [&] { place.store().add("org", third.public_key(), endorsement(old_key, third.public_key())); });
  error_of(ErrorKind::untrusted, [&] { place.store().add("org", old_key.public_key(), ""); });
  place.store().remove("org", new_key.public_key());
  CHECK(place.store().keys("org").empty());
  CHECK(has(error_of(ErrorKind::untrusted, [&] { place.store().add("org", old_key.public_key(), ""); }), "was removed"));
  error_of(ErrorKind::not_found, [&] { place.store().remove("org", third.public_key()); });
}

TEST_CASE("after all keys were removed a new first key is the user's word again") {
  const Place place;
  const SecretKey one = manifest::make_key(), two = manifest::make_key();
  place.store().add("org", one.public_key(), "");
  place.store().remove("org", one.public_key());
  place.store().add("org", two.public_key(), "");
  CHECK(place.store().keys("org").size() == 1);
}

TEST_CASE("the site's file counts, comes first, and is not the user's to change") {
  const Place place;
  const SecretKey site_key = manifest::make_key(), user_key = manifest::make_key();
  place.write_site("org", site_key.public_key());
  CHECK(place.store().keys("org").size() == 1);
  // Known by the site: a user's further key needs its signature.
  error_of(ErrorKind::untrusted, [&] { place.store().add("org", user_key.public_key(), ""); });
  place.store().add("org", user_key.public_key(), endorsement(site_key, user_key.public_key()));
  REQUIRE(place.store().keys("org").size() == 2);
  CHECK(place.store().keys("org").front() == site_key.public_key());
  CHECK(has(error_of(ErrorKind::invalid_argument, [&] { place.store().remove("org", site_key.public_key()); }), "administers"));
}

TEST_CASE("a damaged file is an error, never an empty store") {
  const Place place;
  for (const char *text : {"", "{}", "[]", "{\"schema\":\"lamina/trust/2\",\"organizations\":{}}",
                           "{\"schema\":\"lamina/trust/1\",\"organizations\":{\"org\":{\"keys\":[\"RWx\"]}}}"}) {
    manifest::test::write(place.user, text);
    error_of(ErrorKind::malformed, [&] { place.store(); });
  }
  std::filesystem::remove(place.user);
  manifest::test::write(place.site, "{");
  error_of(ErrorKind::malformed, [&] { place.store(); });
}

TEST_CASE("an unknown signer: the error says who, and how to trust") {
  const Place place;
  const SecretKey known = manifest::make_key(), unknown = manifest::make_key();
  const manifest::Signature signature = manifest::parse_signature(sign(unknown, "bytes", "comment"));
  const auto said = [&] { return error_of(ErrorKind::untrusted, [&] { hub::throw_untrusted("org", signature, place.store()); }); };
  CHECK(has(said(), signature.id_text()));
  CHECK(has(said(), "lamina trust add org KEY.pub"));
  CHECK(has(said(), "no key is"));
  place.store().add("org", known.public_key(), "");
  CHECK(has(said(), known.public_key().id_text()));
}
