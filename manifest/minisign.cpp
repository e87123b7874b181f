#include "manifest/minisign.h"

#include <sodium.h>

#include <cstring>

#include "manifest/digest.h"
#include "manifest/error.h"

namespace lamina::manifest {

namespace {

constexpr std::string_view untrusted_prefix = "untrusted comment: ", trusted_prefix = "trusted comment: ";
constexpr size_t max_comment = 4096;

Error refuse(const std::string &why) { return Error(ErrorKind::signature, why); }

void start_sodium() {
  if (sodium_init() < 0) throw Error(ErrorKind::internal, "libsodium does not start: no random source");
}

template <size_t size>
std::string_view bytes_of(const std::array<unsigned char, size> &value) {
  return {reinterpret_cast<const char *>(value.data()), size};
}

template <size_t size>
void copy_out(std::string_view from, std::array<unsigned char, size> &to) {
  std::memcpy(to.data(), from.data(), size);
}

std::string decode(std::string_view line, size_t size, const char *what) {
  std::string bytes;
  try {
    bytes = from_base64(line);
  } catch (const Error &) { throw refuse(std::string(what) + " is not base64"); }
  if (bytes.size() != size)
    throw refuse(std::string(what) + " has " + std::to_string(bytes.size()) + " bytes; expected " + std::to_string(size));
  return bytes;
}

// Takes one line off the text, without its end.
std::string_view take_line(std::string_view &text) {
  const size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

// minisign prints an id as the little-endian number it is.
std::string id_digits(const std::array<unsigned char, 8> &id) {
  std::string text;
  for (size_t i = 0; i < 8; ++i) text += "0123456789ABCDEF"[id[7 - i] >> 4], text += "0123456789ABCDEF"[id[7 - i] & 15];
  return text;
}

// Wipes what held secret bytes on the way.
struct Wiped {
  std::string bytes;
  ~Wiped() { sodium_memzero(bytes.data(), bytes.size()); }
};

std::array<unsigned char, 32> checksum(const SecretKey &key) {
  std::array<unsigned char, 32> sum;
  crypto_generichash_state state;
  crypto_generichash_init(&state, nullptr, 0, sum.size());
  crypto_generichash_update(&state, reinterpret_cast<const unsigned char *>("Ed"), 2);
  crypto_generichash_update(&state, key.id.data(), key.id.size());
  crypto_generichash_update(&state, key.key.data(), key.key.size());
  crypto_generichash_final(&state, sum.data(), sum.size());
  return sum;
}

std::array<unsigned char, 64> prehash(std::string_view bytes) {
  std::array<unsigned char, 64> hash;
  crypto_generichash(hash.data(), hash.size(), reinterpret_cast<const unsigned char *>(bytes.data()), bytes.size(), nullptr, 0);
  return hash;
}

struct ParsedSignature {
  bool prehashed = false;
  std::array<unsigned char, 8> key_id;
  std::array<unsigned char, 64> signature, global;
  std::string trusted_comment;
};

ParsedSignature parse(std::string_view text) {
  if (text.size() > 3 * max_comment) throw refuse("the signature file is too long");
  if (!take_line(text).starts_with(untrusted_prefix))
    throw refuse("this is no minisign signature: its first line is not an untrusted comment");
  const std::string body = decode(take_line(text), 74, "the signature");
  const std::string_view comment = take_line(text);
  if (!comment.starts_with(trusted_prefix)) throw refuse("the signature lacks its trusted comment");
  const std::string global = decode(take_line(text), 64, "the signature of the trusted comment");
  if (!text.empty()) throw refuse("the signature file goes on after its fourth line");
  ParsedSignature parsed;
  if (!body.starts_with("ED") && !body.starts_with("Ed")) throw refuse("unknown signature algorithm");
  parsed.prehashed = body[1] == 'D';
  copy_out(std::string_view(body).substr(2), parsed.key_id);
  copy_out(std::string_view(body).substr(10), parsed.signature);
  copy_out(global, parsed.global);
  parsed.trusted_comment = comment.substr(trusted_prefix.size());
  return parsed;
}

std::string global_message(const std::array<unsigned char, 64> &signature, std::string_view comment) {
  return std::string(bytes_of(signature)) + std::string(comment);
}

}  // namespace

std::string PublicKey::text() const { return to_base64("Ed" + std::string(bytes_of(id)) + std::string(bytes_of(key))); }
std::string PublicKey::id_text() const { return id_digits(id); }
std::string PublicKey::fingerprint() const {
  const std::string digits = to_hex(manifest::sha256(bytes_of(key)));
  std::string text;
  for (size_t i = 0; i < digits.size(); i += 4) text += (i ? " " : "") + digits.substr(i, 4);
  return text;
}
std::string Signature::id_text() const { return id_digits(key_id); }

SecretKey::~SecretKey() { sodium_memzero(key.data(), key.size()); }
PublicKey SecretKey::public_key() const {
  PublicKey result;
  result.id = id;
  std::memcpy(result.key.data(), key.data() + 32, 32);  // libsodium keeps the public half behind the seed
  return result;
}

SecretKey make_key() {
  start_sodium();
  SecretKey key;
  std::array<unsigned char, 32> unused;
  randombytes_buf(key.id.data(), key.id.size());
  if (crypto_sign_keypair(unused.data(), key.key.data()) != 0) throw Error(ErrorKind::internal, "libsodium made no key");
  return key;
}

std::string public_key_file(const PublicKey &key) {
  return std::string(untrusted_prefix) + "minisign public key " + key.id_text() + "\n" + key.text() + "\n";
}

// Layout: "Ed", key derivation (two zero bytes: none), "B2", salt 32, limits 2 x 8, id 8, key 64, checksum 32.
std::string secret_key_file(const SecretKey &key) {
  Wiped body{"Ed" + std::string(2, '\0') + "B2" + std::string(48, '\0')};
  body.bytes.reserve(158);
  body.bytes.append(bytes_of(key.id)).append(bytes_of(key.key)).append(bytes_of(checksum(key)));
  Wiped line{to_base64(body.bytes)};
  return std::string(untrusted_prefix) + "minisign unencrypted secret key\n" + line.bytes + "\n";
}

PublicKey parse_public_key(std::string_view text) {
  if (text.starts_with(untrusted_prefix)) take_line(text);
  const std::string_view line = take_line(text);
  if (!text.empty()) throw refuse("the public key goes on after its base64 line");
  const std::string body = decode(line, 42, "the public key");
  if (!body.starts_with("Ed")) throw refuse("the public key is not Ed25519");
  PublicKey key;
  copy_out(std::string_view(body).substr(2), key.id);
  copy_out(std::string_view(body).substr(10), key.key);
  return key;
}

SecretKey parse_secret_key(std::string_view text) {
  if (!take_line(text).starts_with(untrusted_prefix))
    throw refuse("this is no minisign secret key: its first line is not an untrusted comment");
  Wiped body{decode(take_line(text), 158, "the secret key")};
  const std::string_view bytes = body.bytes;
  if (!text.empty()) throw refuse("the secret key goes on after its base64 line");
  if (!bytes.starts_with("Ed") || bytes.substr(4, 2) != "B2") throw refuse("the secret key is not Ed25519 with a BLAKE2b checksum");
  if (bytes.substr(2, 2) == "Sc")
    throw Error(ErrorKind::unsupported,
                "the secret key is encrypted with a password; `minisign -C -W -s FILE` takes the password off a copy");
  if (bytes.substr(2, 2) != std::string_view("\0\0", 2)) throw refuse("the secret key has an unknown encryption");
  SecretKey key;
  copy_out(bytes.substr(54), key.id);
  copy_out(bytes.substr(62), key.key);
  // minisign leaves the checksum of an unencrypted key empty; ours has one.  The public half always follows from the seed.
  const std::array<unsigned char, 32> sum = checksum(key), none{};
  std::array<unsigned char, 32> public_half;
  SecretKey again;
  crypto_sign_seed_keypair(public_half.data(), again.key.data(), key.key.data());
  if ((sodium_memcmp(sum.data(), bytes.data() + 126, sum.size()) != 0 &&
       sodium_memcmp(none.data(), bytes.data() + 126, none.size()) != 0) ||
      sodium_memcmp(again.key.data(), key.key.data(), key.key.size()) != 0)
    throw refuse("the secret key is damaged: its parts do not fit together");
  return key;
}

std::string sign(const SecretKey &key, std::string_view bytes, const std::string &trusted_comment) {
  start_sodium();
  if (trusted_comment.size() > max_comment) throw Error(ErrorKind::invalid_argument, "the trusted comment is longer than 4096 bytes");
  for (const char c : trusted_comment)
    if (c < ' ' || c > '~') throw Error(ErrorKind::invalid_argument, "the trusted comment must be one line of printable ASCII");
  const std::array<unsigned char, 64> hash = prehash(bytes);
  std::array<unsigned char, 64> signature, global;
  if (crypto_sign_detached(signature.data(), nullptr, hash.data(), hash.size(), key.key.data()) != 0)
    throw Error(ErrorKind::internal, "libsodium did not sign");
  const std::string message = global_message(signature, trusted_comment);
  if (crypto_sign_detached(global.data(), nullptr, reinterpret_cast<const unsigned char *>(message.data()), message.size(),
                           key.key.data()) != 0)
    throw Error(ErrorKind::internal, "libsodium did not sign");
  return std::string(untrusted_prefix) + "signature from lamina, key " + id_digits(key.id) + "\n" +
         to_base64("ED" + std::string(bytes_of(key.id)) + std::string(bytes_of(signature))) + "\n" + std::string(trusted_prefix) +
         trusted_comment + "\n" + to_base64(bytes_of(global)) + "\n";
}

Signature parse_signature(std::string_view signature_text) {
  ParsedSignature parsed = parse(signature_text);
  return {parsed.key_id, std::move(parsed.trusted_comment)};
}

std::string verify(const PublicKey &key, std::string_view bytes, std::string_view signature_text) {
  start_sodium();
  const ParsedSignature parsed = parse(signature_text);
  if (parsed.key_id != key.id) throw refuse("the signature is by key " + id_digits(parsed.key_id) + ", not by key " + key.id_text());
  if (!parsed.prehashed) throw refuse("the signature is of minisign's legacy form (made with -l); sign again without it");
  const std::array<unsigned char, 64> hash = prehash(bytes);
  if (crypto_sign_verify_detached(parsed.signature.data(), hash.data(), hash.size(), key.key.data()) != 0)
    throw refuse("the signature of key " + key.id_text() + " does not fit these bytes");
  const std::string message = global_message(parsed.signature, parsed.trusted_comment);
  if (crypto_sign_verify_detached(parsed.global.data(), reinterpret_cast<const unsigned char *>(message.data()), message.size(),
                                  key.key.data()) != 0)
    throw refuse("the trusted comment was altered after signing");
  return parsed.trusted_comment;
}

}  // namespace lamina::manifest
