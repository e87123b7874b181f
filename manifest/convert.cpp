#include "manifest/convert.h"

#include <limits>
#include <algorithm>
#include <cmath>
#include <cstring>

#include "manifest/error.h"

namespace lamina::manifest {

namespace {

[[noreturn]] void unknown(lamina_dtype dtype) {
  throw Error(ErrorKind::unsupported, "elements of dtype " + dtype_name(dtype) + " are not converted");
}

template <class T>
T read_as(const void *from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// A binary format of 16 bits: float16 has 10 fraction bits and exponents from -14, bfloat16 7 and -126.
struct HalfFormat {
  int fraction_bits, lowest_exponent;
};
HalfFormat format_of(lamina_dtype dtype) { return dtype.code == LAMINA_CODE_BFLOAT ? HalfFormat{7, -126} : HalfFormat{10, -14}; }

double decode_half(uint16_t bits, HalfFormat format) {
  const int exponent = (bits & 0x7fff) >> format.fraction_bits, top = (1 << (15 - format.fraction_bits)) - 1;
  const int fraction = bits & ((1 << format.fraction_bits) - 1);
  double magnitude;
  if (exponent == top) magnitude = fraction ? std::nan("") : HUGE_VAL;
  else if (exponent == 0) magnitude = std::ldexp(fraction, format.lowest_exponent - format.fraction_bits);
  else magnitude = std::ldexp(fraction + (1 << format.fraction_bits), format.lowest_exponent + exponent - 1 - format.fraction_bits);
  return bits & 0x8000 ? -magnitude : magnitude;
}

uint16_t encode_half(double value, HalfFormat format) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const int top = (1 << (15 - format.fraction_bits)) - 1;
  const auto infinity = static_cast<uint16_t>(top << format.fraction_bits);
  const double magnitude = std::fabs(value);
  if (std::isnan(value)) return static_cast<uint16_t>(sign | infinity | 1 << (format.fraction_bits - 1));
  if (std::isinf(value)) return sign | infinity;
  if (magnitude == 0) return sign;
  const int exponent = std::max(std::ilogb(magnitude), format.lowest_exponent);
  // In units of the last place; both scalings are exact, and nearbyint rounds ties to even.  A carry runs into the exponent as it should.
  const auto units = static_cast<int64_t>(std::nearbyint(std::ldexp(magnitude, format.fraction_bits - exponent)));
  const int64_t bits = (static_cast<int64_t>(exponent - format.lowest_exponent) << format.fraction_bits) + units;
  return static_cast<uint16_t>(sign | std::min<int64_t>(bits, infinity));
}

template <class T>
void write_whole(void *to, double value) {
  constexpr double low = static_cast<double>(std::numeric_limits<T>::min());
  const double end = std::ldexp(1.0, std::numeric_limits<T>::digits);  // the first value above the range, exactly
  if (!(value >= low && value < end) || value != std::floor(value))
    throw Error(ErrorKind::invalid_argument, std::to_string(value) + " is no whole number that this dtype holds");
  const T whole = static_cast<T>(value);
  std::memcpy(to, &whole, sizeof whole);
}

// Calls `with` with a value of the C++ type of a whole-number dtype.
template <class With>
void for_whole(lamina_dtype dtype, With with) {
  const bool is_signed = dtype.code == LAMINA_CODE_INT;
  if (dtype.bits == 8) is_signed ? with(int8_t{}) : with(uint8_t{});
  else if (dtype.bits == 16) is_signed ? with(int16_t{}) : with(uint16_t{});
  else if (dtype.bits == 32) is_signed ? with(int32_t{}) : with(uint32_t{});
  else if (dtype.bits == 64) is_signed ? with(int64_t{}) : with(uint64_t{});
  else unknown(dtype);
}

}  // namespace

double load_element(const void *from, lamina_dtype dtype) {
  if (dtype.lanes != 1) unknown(dtype);
  switch (dtype.code) {
    case LAMINA_CODE_FLOAT:
      if (dtype.bits == 64) return read_as<double>(from);
      if (dtype.bits == 32) return read_as<float>(from);
      if (dtype.bits != 16) unknown(dtype);
      return decode_half(read_as<uint16_t>(from), format_of(dtype));
    case LAMINA_CODE_BFLOAT:
      if (dtype.bits != 16) unknown(dtype);
      return decode_half(read_as<uint16_t>(from), format_of(dtype));
    case LAMINA_CODE_BOOL: return read_as<uint8_t>(from) != 0;
    case LAMINA_CODE_INT:
    case LAMINA_CODE_UINT: {
      double value = 0;
      for_whole(dtype, [&](auto type) { value = static_cast<double>(read_as<decltype(type)>(from)); });
      return value;
    }
    default: unknown(dtype);
  }
}

void store_element(void *to, lamina_dtype dtype, double value) {
  if (dtype.lanes != 1) unknown(dtype);
  const bool half = dtype.bits == 16 && (dtype.code == LAMINA_CODE_FLOAT || dtype.code == LAMINA_CODE_BFLOAT);
  if (dtype.code == LAMINA_CODE_FLOAT && dtype.bits == 64) {
    std::memcpy(to, &value, sizeof value);
  } else if (dtype.code == LAMINA_CODE_FLOAT && dtype.bits == 32) {
    const float rounded = static_cast<float>(value);
    std::memcpy(to, &rounded, sizeof rounded);
  } else if (half) {
    const uint16_t bits = encode_half(value, format_of(dtype));
    std::memcpy(to, &bits, sizeof bits);
  } else if (dtype.code == LAMINA_CODE_BOOL) {
    if (value != 0 && value != 1) throw Error(ErrorKind::invalid_argument, std::to_string(value) + " is neither false nor true");
    *static_cast<unsigned char *>(to) = value != 0;
  } else if (dtype.code == LAMINA_CODE_INT || dtype.code == LAMINA_CODE_UINT) {
    for_whole(dtype, [&](auto type) { write_whole<decltype(type)>(to, value); });
  } else {
    unknown(dtype);
  }
}

std::vector<unsigned char> converted(const TensorView &view, lamina_dtype dtype) {
  std::vector<unsigned char> from = copy_contiguous(view);
  if (view.dtype == dtype) return from;
  const size_t count = static_cast<size_t>(view.elements()), from_size = static_cast<size_t>(dtype_bytes(view.dtype)),
               to_size = static_cast<size_t>(dtype_bytes(dtype));
  std::vector<unsigned char> to(count * to_size);
  for (size_t i = 0; i < count; ++i) store_element(to.data() + i * to_size, dtype, load_element(from.data() + i * from_size, view.dtype));
  return to;
}

}  // namespace lamina::manifest
