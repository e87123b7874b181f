#include "manifest/formula.h"

#include <algorithm>

#include "manifest/error.h"

namespace lamina::manifest {

namespace {

// sum = product {(+|-) product};  product = atom {(*|/) atom};  atom = number | letter | '(' sum ')'
class Parser {
 public:
  // Without values every dim counts as 1, no division is checked, and only the form is: what dims_of() needs.
  Parser(std::string_view text, const std::map<std::string, int64_t> *values) : text_(text), rest_(text), values_(values) {}

  int64_t whole() {
    if (text_.size() > 200) throw Error(ErrorKind::malformed, "a formula is longer than 200 characters");
    const int64_t value = sum(0);
    if (peek() != '\0') refuse();
    return value;
  }
  std::vector<std::string> names;

 private:
  [[noreturn]] void refuse() const {
    throw Error(ErrorKind::malformed,
                "'" + std::string(text_) + "' is no formula: expected whole numbers, dims (capital letters), + - * / and parentheses");
  }
  [[noreturn]] void impossible(const std::string &why) const {
    throw Error(ErrorKind::invalid_argument, "formula '" + std::string(text_) + "': " + why);
  }
  char peek() {
    while (rest_.starts_with(' ')) rest_.remove_prefix(1);
    return rest_.empty() ? '\0' : rest_.front();
  }
  int64_t fits(bool overflowed, int64_t value) const {
    if (overflowed && values_) impossible("the result does not fit into 64 bits");
    return overflowed ? 1 : value;
  }
  int64_t sum(int depth) {
    int64_t value = product(depth);
    for (char sign = peek(); sign == '+' || sign == '-'; sign = peek()) {
      rest_.remove_prefix(1);
      const int64_t other = product(depth);
      int64_t result;
      const bool overflowed = sign == '+' ? __builtin_add_overflow(value, other, &result) : __builtin_sub_overflow(value, other, &result);
      value = fits(overflowed, result);
    }
    return value;
  }
  int64_t product(int depth) {
    int64_t value = atom(depth);
    for (char sign = peek(); sign == '*' || sign == '/'; sign = peek()) {
      rest_.remove_prefix(1);
      const int64_t other = atom(depth);
      if (sign == '/') {
        if (!values_) continue;
        if (other <= 0 || value % other != 0) impossible(std::to_string(value) + " does not divide by " + std::to_string(other));
        value /= other;
      } else {
        int64_t result;
        const bool overflowed = __builtin_mul_overflow(value, other, &result);
        value = fits(overflowed, result);
      }
    }
    return value;
  }
  int64_t atom(int depth) {
    const char c = peek();
    if (c == '(' && depth < 20) {
      rest_.remove_prefix(1);
      const int64_t value = sum(depth + 1);
      if (peek() != ')') refuse();
      rest_.remove_prefix(1);
      return value;
    }
    if (c >= 'A' && c <= 'Z') {
      rest_.remove_prefix(1);
      return dim(std::string(1, c));
    }
    if (c < '0' || c > '9') refuse();
    int64_t value = 0;
    for (; !rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9'; rest_.remove_prefix(1)) {
      if (value > 1'000'000'000'000) refuse();
      value = value * 10 + (rest_.front() - '0');
    }
    return value;
  }
  int64_t dim(const std::string &name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    if (!values_) return 1;
    const auto found = values_->find(name);
    if (found == values_->end()) impossible("dim " + name + " is not known");
    return found->second;
  }

  std::string_view text_, rest_;
  const std::map<std::string, int64_t> *values_;
};

}  // namespace

int64_t evaluate(std::string_view formula, const std::map<std::string, int64_t> &dims) { return Parser(formula, &dims).whole(); }

std::vector<std::string> dims_of(std::string_view formula) {
  Parser parser(formula, nullptr);
  parser.whole();
  return parser.names;
}

}  // namespace lamina::manifest
