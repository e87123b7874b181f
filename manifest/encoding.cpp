// Hexadecimal and base64.
#include <sodium.h>

#include "manifest/digest.h"
#include "manifest/error.h"

namespace lamina::manifest {

std::string to_hex(const void *bytes, size_t size) {
  std::string digits(size * 2 + 1, '\0');
  sodium_bin2hex(digits.data(), digits.size(), static_cast<const unsigned char *>(bytes), size);
  digits.pop_back();
  return digits;
}

std::string from_hex(std::string_view digits) {
  std::string bytes(digits.size() / 2, '\0');
  size_t length = 0;
  const char *end = nullptr;
  if (digits.size() % 2 != 0 ||
      sodium_hex2bin(reinterpret_cast<unsigned char *>(bytes.data()), bytes.size(), digits.data(), digits.size(), nullptr, &length, &end) !=
          0 ||
      length != bytes.size() || end != digits.data() + digits.size())
    throw Error(ErrorKind::malformed, "not an even number of hexadecimal digits");
  return bytes;
}

std::string to_base64(std::string_view bytes) {
  std::string text(sodium_base64_encoded_len(bytes.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
  sodium_bin2base64(text.data(), text.size(), reinterpret_cast<const unsigned char *>(bytes.data()), bytes.size(),
                    sodium_base64_VARIANT_ORIGINAL);
  text.pop_back();  // its NUL
  return text;
}

std::string from_base64(std::string_view text) {
  // libsodium accepts one text for one value: whole groups, and zero in the bits that the last digit does not need.
  std::string bytes(text.size() / 4 * 3 + 3, '\0');
  size_t length = 0;
  const char *end = nullptr;
  const bool decoded = sodium_base642bin(reinterpret_cast<unsigned char *>(bytes.data()), bytes.size(), text.data(), text.size(), nullptr,
                                         &length, &end, sodium_base64_VARIANT_ORIGINAL) == 0;
  if (!decoded || end != text.data() + text.size()) throw Error(ErrorKind::malformed, "not base64");
  bytes.resize(length);
  return bytes;
}

}  // namespace lamina::manifest
