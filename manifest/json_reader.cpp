#include "manifest/json_reader.h"

#include <vector>

#include "manifest/error.h"

namespace lamina::manifest {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The length of the UTF-8 sequence that begins here; 0 when it is none (overlong, a surrogate, beyond U+10FFFF, cut).
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  const size_t length = first < 0x80                    ? 1
                        : first >= 0xc2 && first < 0xe0 ? 2
                        : first >= 0xe0 && first < 0xf0 ? 3
                        : first >= 0xf0 && first < 0xf5 ? 4
                                                        : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f) || (first == 0xf0 && byte(1) < 0x90) ||
      (first == 0xf4 && byte(1) > 0x8f))
    return 0;
  return length;
}

void append_utf8(std::string &to, unsigned code) {
  const auto put = [&](unsigned byte) { to += static_cast<char>(byte); };
  if (code < 0x80) return put(code);
  if (code < 0x800) return put(0xc0 | code >> 6), put(0x80 | (code & 63));
  if (code < 0x10000) return put(0xe0 | code >> 12), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
  put(0xf0 | code >> 18), put(0x80 | (code >> 12 & 63)), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
}

}  // namespace

void JsonReader::refuse(const std::string &why) const {
  throw Error(ErrorKind::malformed, what_ + ": " + why + " at byte " + std::to_string(at_));
}

char JsonReader::next_token() {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
  return at_ < text_.size() ? text_[at_] : '\0';
}

void JsonReader::expect(char character) {
  if (next_token() != character || at_ == text_.size()) refuse(std::string("no '") + character + "' where one belongs");
  ++at_;
}

void JsonReader::word(std::string_view expected) {
  if (text_.substr(at_, expected.size()) != expected) refuse("no value where one belongs");
  at_ += expected.size();
}

JsonReader::Kind JsonReader::kind() {
  const char first = next_token();
  switch (first) {
    case '{': return Kind::object;
    case '[': return Kind::array;
    case '"': return Kind::string;
    case 't':
    case 'f': return Kind::boolean;
    case 'n': return Kind::null;
    default:
      if (first == '-' || is_digit(first)) return Kind::number;
      refuse("no value where one belongs");
  }
}

unsigned JsonReader::hex4() {
  unsigned code = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    const int digit = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) refuse("an escape without four hex digits");
    code = code * 16 + static_cast<unsigned>(digit);
  }
  return code;
}

// Behind the backslash.
void JsonReader::append_escape(std::string &to) {
  constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
  const char letter = at_ < text_.size() ? text_[at_++] : '\0';
  if (const size_t found = letters.find(letter); letter && found != std::string_view::npos) {
    to += meanings[found];
    return;
  }
  if (letter != 'u') refuse("an escape that JSON does not have");
  unsigned code = hex4();
  if (code >= 0xdc00 && code < 0xe000) refuse("half of a surrogate pair");
  if (code >= 0xd800 && code < 0xdc00) {
    if (text_.substr(at_, 2) != "\\u") refuse("half of a surrogate pair");
    at_ += 2;
    const unsigned low = hex4();
    if (low < 0xdc00 || low >= 0xe000) refuse("half of a surrogate pair");
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  }
  append_utf8(to, code);
}

std::string JsonReader::text() {
  if (kind() != Kind::string) refuse("no text where one belongs");
  ++at_;
  std::string read;
  for (;;) {
    if (at_ == text_.size()) refuse("text without an end");
    const char c = text_[at_];
    if (c == '"') return ++at_, read;
    if (static_cast<unsigned char>(c) < 0x20) refuse("a control character in text");
    if (c == '\\') {
      ++at_;
      append_escape(read);
      continue;
    }
    const size_t length = utf8_length(text_.substr(at_));
    if (length == 0) refuse("text that is no UTF-8");
    read += text_.substr(at_, length);
    at_ += length;
  }
}

uint64_t JsonReader::count() {
  if (kind() != Kind::number || text_[at_] == '-') refuse("no count where one belongs");
  const size_t begin = at_;
  skip_number();
  uint64_t value = 0;
  for (const char c : text_.substr(begin, at_ - begin)) {
    if (!is_digit(c)) refuse("no whole number where one belongs");
    if (__builtin_mul_overflow(value, uint64_t{10}, &value) || __builtin_add_overflow(value, static_cast<uint64_t>(c - '0'), &value))
      refuse("a count of 2^64 or more");
  }
  return value;
}

bool JsonReader::boolean() {
  if (kind() != Kind::boolean) refuse("neither true nor false where one of them belongs");
  const bool value = text_[at_] == 't';
  word(value ? "true" : "false");
  return value;
}

void JsonReader::null() {
  if (kind() != Kind::null) refuse("no null where one belongs");
  word("null");
}

void JsonReader::skip_number() {
  const auto digit = [&] { return at_ < text_.size() && is_digit(text_[at_]); };
  const auto digits = [&] {
    if (!digit()) refuse("a number that is none");
    while (digit()) ++at_;
  };
  if (text_[at_] == '-') ++at_;
  if (digit() && text_[at_] == '0') {
    ++at_;
    if (digit()) refuse("a number that begins with 0");
  } else {
    digits();
  }
  if (at_ < text_.size() && text_[at_] == '.') ++at_, digits();
  if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
    ++at_;
    if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
    digits();
  }
}

void JsonReader::skip_string() {
  for (++at_;;) {
    if (at_ == text_.size()) refuse("text without an end");
    const char c = text_[at_++];
    if (c == '"') return;
    if (static_cast<unsigned char>(c) < 0x20) refuse("a control character in text");
    if (c != '\\') continue;
    const char letter = at_ < text_.size() ? text_[at_++] : '\0';
    if (letter == 'u') hex4();
    else if (!letter || std::string_view("\"\\/bfnrt").find(letter) == std::string_view::npos) refuse("an escape that JSON does not have");
  }
}

void JsonReader::skip_key() {
  if (next_token() != '"') refuse("no key where one belongs");
  skip_string();
  expect(':');
}

void JsonReader::skip() {
  std::vector<char> open;  // brackets that wait for their end: a stack of our own, since nobody bounds the depth
  for (bool value = true;;) {
    if (value) {
      switch (kind()) {
        case Kind::object:
        case Kind::array: {
          const char end = text_[at_++] == '{' ? '}' : ']';
          if (next_token() == end) {
            ++at_;
            break;
          }
          open.push_back(end);
          if (end == '}') skip_key();
          continue;
        }
        case Kind::string: skip_string(); break;
        case Kind::number: skip_number(); break;
        case Kind::boolean: boolean(); break;
        case Kind::null: null(); break;
      }
    }
    if (open.empty()) return;
    value = next_token() == ',';
    if (!value) {
      expect(open.back());
      open.pop_back();
      continue;
    }
    ++at_;
    if (open.back() == '}') skip_key();
  }
}

void JsonReader::object(const std::function<void(const std::string &)> &member) {
  expect('{');
  for (bool first = true; next_token() != '}'; first = false) {
    if (!first) expect(',');
    const std::string key = text();
    expect(':');
    member(key);
  }
  ++at_;
}

void JsonReader::array(const std::function<void()> &item) {
  expect('[');
  for (bool first = true; next_token() != ']'; first = false) {
    if (!first) expect(',');
    item();
  }
  ++at_;
}

void JsonReader::end() {
  next_token();
  if (at_ != text_.size()) refuse("something behind the end");
}

}  // namespace lamina::manifest
