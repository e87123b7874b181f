#include "manifest/npy.h"

#include <algorithm>
#include <cstring>

#include "manifest/error.h"
#include "manifest/files.h"

namespace lamina::manifest {

namespace {

constexpr std::string_view magic = "\x93NUMPY";
constexpr uint64_t max_file = uint64_t{1} << 40;
constexpr size_t max_header = 1 << 20;

struct NpyDtype {
  const char *descr, *name;
};
constexpr NpyDtype npy_dtypes[] = {{"<f8", "float64"}, {"<f4", "float32"}, {"<f2", "float16"}, {"|V2", "bfloat16"}, {"<V2", "bfloat16"},
                                   {"|b1", "bool"},    {"|i1", "int8"},    {"<i2", "int16"},   {"<i4", "int32"},    {"<i8", "int64"},
                                   {"|u1", "uint8"},   {"<u2", "uint16"},  {"<u4", "uint32"},  {"<u8", "uint64"}};

// The header is a Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
class HeaderParser {
 public:
  HeaderParser(const std::string &path, std::string_view text) : path_(path), rest_(text) {}

  void parse(NpyArray &array) {
    bool seen[3] = {};
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      const int which = key == "descr" ? 0 : key == "fortran_order" ? 1 : key == "shape" ? 2 : 3;
      if (which == 3 || seen[which]) refuse("the header has the key '" + key + "' which is unknown or repeated");
      seen[which] = true;
      if (which == 0) array.dtype = dtype();
      if (which == 1) order();
      if (which == 2) array.shape = shape();
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (!rest_.empty()) refuse("the header goes on after its dictionary");
    if (!seen[0] || !seen[1] || !seen[2]) refuse("the header lacks descr, fortran_order or shape");
  }

 private:
  [[noreturn]] void refuse(const std::string &why) const { throw Error(ErrorKind::malformed, path_ + " is no valid .npy file: " + why); }
  [[noreturn]] void unsupported(const std::string &why) const { throw Error(ErrorKind::unsupported, path_ + ": " + why); }
  void skip_space() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \n"), rest_.size())); }
  bool accept(char c) {
    skip_space();
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c)) refuse(std::string("the header lacks a '") + c + "'");
  }
  std::string quoted() {
    skip_space();
    const char mark = rest_.empty() ? '\0' : rest_.front();
    const size_t end = mark == '\'' || mark == '"' ? rest_.find(mark, 1) : rest_.npos;
    if (end == rest_.npos || end > 64) refuse("the header lacks a quoted word");
    const std::string word(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return word;
  }
  lamina_dtype dtype() {
    skip_space();
    if (rest_.starts_with('[')) unsupported("it holds records; expected one number per element");
    const std::string descr = quoted();
    for (const NpyDtype &known : npy_dtypes)
      if (known.descr == descr) return *dtype_named(known.name);
    unsupported("dtype '" + descr +
                "' is not one of little-endian f2 f4 f8, i1 i2 i4 i8, u1 u2 u4 u8, b1, V2 (bfloat16); save it with .astype()");
  }
  void order() {
    if (skip_space(); rest_.starts_with("True")) unsupported("it is in Fortran order; save numpy.ascontiguousarray(...) of it");
    if (!rest_.starts_with("False")) refuse("fortran_order is neither True nor False");
    rest_.remove_prefix(5);
  }
  std::vector<int64_t> shape() {
    std::vector<int64_t> extents;
    expect('(');
    while (!accept(')')) {
      skip_space();
      int64_t value = 0;
      size_t digits = 0;
      for (; digits < rest_.size() && rest_[digits] >= '0' && rest_[digits] <= '9'; ++digits)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, rest_[digits] - '0', &value))
          refuse("an extent is too large");
      if (digits == 0) refuse("an extent is no whole number");
      rest_.remove_prefix(digits);
      extents.push_back(value);
      if (extents.size() > 32) refuse("more than 32 dimensions");
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return extents;
  }

  const std::string &path_;
  std::string_view rest_;
};

}  // namespace

TensorView NpyArray::view() const { return {bytes.data(), dtype, shape, row_major_strides(shape)}; }

NpyArray read_npy(const std::filesystem::path &path) {
  const std::string file = read_file(path, max_file), name = path.string();
  const auto refuse = [&](const std::string &why) { return Error(ErrorKind::malformed, name + " is no valid .npy file: " + why); };
  if (file.size() < 10 || !file.starts_with(magic)) throw refuse("it does not begin with \\x93NUMPY");
  const int version = static_cast<unsigned char>(file[6]);
  if (version < 1 || version > 3 || file[7] != 0)
    throw Error(ErrorKind::unsupported, name + ": .npy format version " + std::to_string(version) + " is not 1, 2 or 3");
  const size_t length_bytes = version == 1 ? 2 : 4, begin = 8 + length_bytes;
  if (file.size() < begin) throw refuse("it is cut in its header");
  uint32_t length = 0;
  std::memcpy(&length, file.data() + 8, length_bytes);
  if (length > max_header || length > file.size() - begin) throw refuse("its header claims " + std::to_string(length) + " bytes");
  NpyArray array;
  HeaderParser(name, std::string_view(file).substr(begin, length)).parse(array);
  uint64_t bytes = static_cast<uint64_t>(dtype_bytes(array.dtype));
  for (const int64_t extent : array.shape)
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes)) throw refuse("its extents overflow");
  const size_t held = file.size() - begin - length;
  if (bytes != held)
    throw refuse("shape " + shape_text(array.shape) + " of " + dtype_name(array.dtype) + " needs " + std::to_string(bytes) +
                 " bytes, there are " + std::to_string(held));
  const auto *data = reinterpret_cast<const unsigned char *>(file.data()) + begin + length;
  array.bytes.assign(data, data + held);
  return array;
}

void write_npy(const std::filesystem::path &path, const TensorView &tensor) {
  const auto *known =
      std::find_if(std::begin(npy_dtypes), std::end(npy_dtypes), [&](const NpyDtype &one) { return dtype_name(tensor.dtype) == one.name; });
  if (known == std::end(npy_dtypes)) throw Error(ErrorKind::invalid_argument, ".npy has no dtype " + dtype_name(tensor.dtype));
  std::string shape = "(";
  for (const int64_t extent : tensor.shape) shape += std::to_string(extent) + ", ";
  if (tensor.shape.size() > 1) shape.resize(shape.size() - 2);
  if (tensor.shape.size() == 1) shape.resize(shape.size() - 1);
  std::string header = std::string("{'descr': '") + known->descr + "', 'fortran_order': False, 'shape': " + shape + "), }";
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10 - 1, ' ');  // the data begins at a multiple of 64
  header += '\n';
  const uint16_t length = static_cast<uint16_t>(header.size());
  const std::vector<unsigned char> bytes = copy_contiguous(tensor);
  std::string file(magic);
  file += std::string("\x01\x00", 2) + std::string(reinterpret_cast<const char *>(&length), 2) + header;
  file.append(reinterpret_cast<const char *>(bytes.data()), bytes.size());
  write_file_atomically(path, file);
}

}  // namespace lamina::manifest
