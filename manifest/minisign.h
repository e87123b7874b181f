// Ed25519 signatures in the files of `minisign`: its signatures verify here and ours verify there.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace lamina::manifest {

struct PublicKey {
  std::array<unsigned char, 8> id{};
  std::array<unsigned char, 32> key{};
  // One line of base64 ("RW..."), as minisign prints it and as trust.json and the command line carry it.
  std::string text() const;
  // The id as minisign prints it, with leading zeros: 16 upper-case hex digits.
  std::string id_text() const;
  // What a person compares by eye: SHA-256 of the key in groups of 4 hex digits, 16 groups.
  std::string fingerprint() const;
  bool operator==(const PublicKey &) const = default;
};

// Holds the secret bytes; they are wiped on destruction.
struct SecretKey {
  std::array<unsigned char, 8> id{};
  std::array<unsigned char, 64> key{};
  PublicKey public_key() const;
  SecretKey() = default;
  SecretKey(const SecretKey &) = default;
  SecretKey &operator=(const SecretKey &) = default;
  ~SecretKey();
};

// A new key pair from the system's random source.  [thread-safe]
SecretKey make_key();

// File texts.  A secret key is written unencrypted, as `minisign -G -W` does: write it with mode 0600 and nowhere else.
std::string public_key_file(const PublicKey &key);
std::string secret_key_file(const SecretKey &key);

// Accepts the bare base64 line or a whole public key file.  Errors: signature.
PublicKey parse_public_key(std::string_view text);
// Errors: signature when malformed or damaged, unsupported when the key is encrypted with a password.  Never quotes the text.
SecretKey parse_secret_key(std::string_view text);

// The text of a .minisig file: prehashed ("ED", BLAKE2b-512), as minisign makes by default.  `trusted_comment` is covered by the
// signature; one line of printable ASCII.  The same inputs give the same bytes: there is no time in it.  Errors: invalid_argument.
std::string sign(const SecretKey &key, std::string_view bytes, const std::string &trusted_comment);

struct Signature {
  std::array<unsigned char, 8> key_id{};
  std::string trusted_comment;  // not yet verified
  std::string id_text() const;
};
// Reads who signed, without verifying.  Errors: signature.
Signature parse_signature(std::string_view signature_text);

// Verifies and returns the trusted comment.  Errors: signature (malformed, another key's, wrong bytes, wrong comment, or the legacy
// form without prehash, which Lamina never makes).  [thread-safe]
std::string verify(const PublicKey &key, std::string_view bytes, std::string_view signature_text);

}  // namespace lamina::manifest
