// A reader of JSON that decides what is JSON exactly as serde_json does, which reads metadata.json for the Python library `kernels`: values
// that nobody asks for are skipped without being understood (a lone surrogate, bytes that are no UTF-8, 1e999), asked-for ones are not.  For
// every other document parse_json() is the reader.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace lamina::manifest {

class JsonReader {
 public:
  // `text` must live as long as the reader.  Every function below throws Error(malformed) with `what` and the byte where it stopped.
  JsonReader(std::string_view text, std::string what) : text_(text), what_(std::move(what)) {}

  enum class Kind { object, array, string, number, boolean, null };
  Kind kind();         // of the value that comes next
  std::string text();  // a string: valid UTF-8, no lone surrogates
  uint64_t count();    // a number that is written as an unsigned integer
  bool boolean();
  void null();
  void skip();  // any value, however deep
  // `member` is called with each key and must read or skip its value.
  void object(const std::function<void(const std::string &key)> &member);
  // `item` is called before each item and must read or skip it.
  void array(const std::function<void()> &item);
  void end();  // nothing but blanks is left
  [[noreturn]] void refuse(const std::string &why) const;

 private:
  char next_token();  // the character after blanks, not taken; 0 at the end
  void expect(char character);
  void word(std::string_view expected);
  void skip_number();
  void skip_string();
  void skip_key();
  unsigned hex4();
  void append_escape(std::string &to);

  std::string_view text_;
  std::string what_;
  size_t at_ = 0;
};

}  // namespace lamina::manifest
