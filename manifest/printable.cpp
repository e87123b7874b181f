#include "manifest/printable.h"

#include <cstdint>

namespace lamina::manifest {

namespace {

// One character of well-formed UTF-8 from `at`: its code and how many bytes it has; 0 bytes when there is none.
size_t decode(std::string_view text, size_t at, uint32_t &code) {
  const auto byte = [&](size_t i) { return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u; };
  const uint32_t first = byte(0);
  const size_t size = first < 0x80                    ? 1
                      : first >= 0xc2 && first < 0xe0 ? 2
                      : first >= 0xe0 && first < 0xf0 ? 3
                      : first >= 0xf0 && first < 0xf5 ? 4
                                                      : 0;
  code = size < 2 ? first : first & (0x7fu >> size);
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3f);
  }
  const bool overlong = (size == 3 && code < 0x800) || (size == 4 && code < 0x10000);
  return overlong || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff ? 0 : size;
}

bool harmless(uint32_t code) {
  if (code == '\n') return true;
  const bool control = code < 0x20 || (code >= 0x7f && code < 0xa0);
  const bool direction = code == 0x061c || (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
                         (code >= 0x2060 && code <= 0x206f) || code == 0xfeff;
  return !control && !direction;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string shown;
  for (size_t at = 0; at < text.size();) {
    uint32_t code = 0;
    const size_t size = decode(text, at, code);
    if (size && harmless(code)) shown += text.substr(at, size);
    else shown += '?';
    at += size ? size : 1;
  }
  return shown;
}

}  // namespace lamina::manifest
