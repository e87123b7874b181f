#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "manifest/minisign.h"

#include "manifest/digest.h"
#include "manifest/files.h"
#include "manifest/tests/support.h"

using namespace lamina;
using namespace lamina::manifest;
using test::error_of;
using test::has;

namespace {

// Key pair files as `lamina keygen` writes them, and a message.
struct Setting {
  test::Folder folder;
  SecretKey key = make_key();
  std::string message = "{\"schema\": \"lamina/bundle/1\"}\n";
  Setting() {
    write_file_atomically(folder / "key", secret_key_file(key), 0600);
    test::write(folder / "key.pub", public_key_file(key.public_key()));
    test::write(folder / "message", message);
  }
  std::string at(const std::string &name) const { return (folder / name).string(); }
};

std::string changed(std::string text, const std::string &from, const std::string &to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

std::string line(const std::string &text, int number) {
  size_t begin = 0;
  for (int i = 0; i < number; ++i) begin = text.find('\n', begin) + 1;
  return text.substr(begin, text.find('\n', begin) - begin);
}

}  // namespace

TEST_CASE("what we sign, minisign verifies") {
  Setting setting;
  test::write(setting.folder / "message.minisig", sign(setting.key, setting.message, "lamina bundle org/x cpu 1.0.0 7"));
  const std::string verified = test::run("minisign -V -H -m " + setting.at("message") + " -p " + setting.at("key.pub"));
  CHECK(has(verified, "Trusted comment: lamina bundle org/x cpu 1.0.0 7"));
  CHECK(has(test::run("minisign -V -m " + setting.at("message") + " -P " + setting.key.public_key().text()), "verified"));
  test::write(setting.folder / "message", setting.message + " ");
  test::run("minisign -V -m " + setting.at("message") + " -p " + setting.at("key.pub"), true);
}

TEST_CASE("what minisign signs with our key, we verify; the secret key file is minisign's") {
  Setting setting;
  test::run("minisign -S -m " + setting.at("message") + " -s " + setting.at("key") + " -t 'a comment'");
  CHECK(verify(setting.key.public_key(), setting.message, test::read(setting.folder / "message.minisig")) == "a comment");
  test::run("minisign -R -s " + setting.at("key") + " -p " + setting.at("again.pub"));
  CHECK(parse_public_key(test::read(setting.folder / "again.pub")) == setting.key.public_key());
}

TEST_CASE("keys that minisign makes are ours too") {
  Setting setting;
  test::run("minisign -G -W -f -p " + setting.at("their.pub") + " -s " + setting.at("their.key"));
  const SecretKey key = parse_secret_key(test::read(setting.folder / "their.key"));
  const PublicKey public_key = parse_public_key(test::read(setting.folder / "their.pub"));
  CHECK(key.public_key() == public_key);
  // minisign leaves leading zeros out where we print all 16 digits.
  const std::string id = public_key.id_text();
  CHECK(id.size() == 16);
  CHECK(has(test::read(setting.folder / "their.pub"), "minisign public key " + id.substr(id.find_first_not_of('0')) + "\n"));
  CHECK(verify(public_key, "x", sign(key, "x", "c")) == "c");
  // One round trip through each file form.
  CHECK(parse_secret_key(secret_key_file(key)).key == key.key);
  CHECK(parse_public_key(public_key.text()) == public_key);
  CHECK(line(public_key_file(public_key), 1) == line(test::read(setting.folder / "their.pub"), 1));
}

TEST_CASE("the legacy form is refused") {
  Setting setting;
  test::run("minisign -S -l -m " + setting.at("message") + " -s " + setting.at("key"));
  CHECK(has(error_of(ErrorKind::signature,
                     [&] { verify(setting.key.public_key(), setting.message, test::read(setting.folder / "message.minisig")); }),
            "legacy"));
}

TEST_CASE("the same inputs give the same signature") {
  const SecretKey key = make_key();
  CHECK(sign(key, "x", "c") == sign(key, "x", "c"));
  CHECK(sign(key, "x", "c") != sign(key, "y", "c"));
  CHECK(make_key().key != key.key);
}

TEST_CASE("every altered part is noticed") {
  Setting setting;
  const std::string good = sign(setting.key, setting.message, "the comment");
  const PublicKey key = setting.key.public_key();
  CHECK(verify(key, setting.message, good) == "the comment");
  const auto refused = [&](const std::string &message, const std::string &signature) {
    return error_of(ErrorKind::signature, [&] { verify(key, message, signature); });
  };
  CHECK(has(refused(setting.message + "x", good), "does not fit these bytes"));
  CHECK(has(refused(setting.message, changed(good, "the comment", "the Comment")), "comment was altered"));
  CHECK(has(error_of(ErrorKind::signature, [&] { verify(make_key().public_key(), setting.message, good); }), "not by key"));
  // Each byte of both signatures.
  for (const int number : {1, 3}) {
    const std::string body = from_base64(line(good, number));
    for (size_t i = 0; i < body.size(); ++i) {
      std::string altered = body;
      altered[i] = static_cast<char>(altered[i] ^ 1);
      refused(setting.message, changed(good, line(good, number), to_base64(altered)));
    }
  }
  // Cut anywhere, or with more behind it.
  for (size_t length = 0; length + 1 < good.size(); ++length) refused(setting.message, good.substr(0, length));
  refused(setting.message, good + "x\n");
  refused(setting.message, good + good);
  CHECK(verify(key, setting.message, good.substr(0, good.size() - 1)) == "the comment");
}

TEST_CASE("malformed keys") {
  const SecretKey key = make_key();
  const std::string text = key.public_key().text(), file = secret_key_file(key);
  for (const std::string &bad : {std::string(), std::string("x"), text.substr(1), text + "AAAA", "RX" + text.substr(2), text + "\nmore\n"})
    error_of(ErrorKind::signature, [&] { parse_public_key(bad); });
  CHECK(text.size() == 56);
  CHECK(text.starts_with("RW"));
  error_of(ErrorKind::signature, [&] { parse_secret_key(text); });
  std::string body = from_base64(line(file, 1));
  for (const size_t at : {0, 4, 54, 62, 100, 126, 157}) {
    std::string altered = body;
    altered[at] = static_cast<char>(altered[at] ^ 1);
    const std::string bad = changed(file, line(file, 1), to_base64(altered));
    CHECK(!has(error_of(ErrorKind::signature, [&] { parse_secret_key(bad); }), line(bad, 1)));
  }
  // The seed or the public half changed, and no checksum to tell.
  for (const size_t at : {62, 125}) {
    std::string altered = body.substr(0, 126) + std::string(32, '\0');
    parse_secret_key(changed(file, line(file, 1), to_base64(altered)));
    altered[at] = static_cast<char>(altered[at] ^ 1);
    error_of(ErrorKind::signature, [&] { parse_secret_key(changed(file, line(file, 1), to_base64(altered))); });
  }
  body[2] = 'S', body[3] = 'c';
  CHECK(has(error_of(ErrorKind::unsupported, [&] { parse_secret_key(changed(file, line(file, 1), to_base64(body))); }), "password"));
}

TEST_CASE("a comment is one printable line") {
  const SecretKey key = make_key();
  for (const char *bad : {"two\nlines", "tab\t", "\xC3\xA9", "\x7f"}) error_of(ErrorKind::invalid_argument, [&] { sign(key, "x", bad); });
  CHECK(verify(key.public_key(), "x", sign(key, "x", "")) == "");
}

TEST_CASE("a fingerprint is for the eye") {
  const PublicKey key = make_key().public_key();
  CHECK(key.fingerprint().size() == 16 * 5 - 1);
  CHECK(key.fingerprint() != make_key().public_key().fingerprint());
  CHECK(parse_signature(sign(make_key(), "x", "c")).trusted_comment == "c");
}
