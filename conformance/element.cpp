#include "conformance/element.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace lamina::conformance {
namespace {

struct Row {
  const char *name;
  lamina_dtype dtype;
};
constexpr Row rows[element_count] = {
    {"float64", {LAMINA_CODE_FLOAT, 64, 1}},   {"float32", {LAMINA_CODE_FLOAT, 32, 1}}, {"float16", {LAMINA_CODE_FLOAT, 16, 1}},
    {"bfloat16", {LAMINA_CODE_BFLOAT, 16, 1}}, {"bool", {LAMINA_CODE_BOOL, 8, 1}},      {"int8", {LAMINA_CODE_INT, 8, 1}},
    {"uint8", {LAMINA_CODE_UINT, 8, 1}},       {"int32", {LAMINA_CODE_INT, 32, 1}},     {"int64", {LAMINA_CODE_INT, 64, 1}}};

// A binary floating-point format of 16 bits: 1 sign, `exponent` and `mantissa` bits.
struct Narrow {
  int exponent, mantissa;
  int bias() const { return (1 << (exponent - 1)) - 1; }
};
constexpr Narrow half{5, 10}, brain{8, 7};

double widen(uint16_t bits, Narrow format) {
  const int exponent = bits >> format.mantissa & ((1 << format.exponent) - 1);
  const int mantissa = bits & ((1 << format.mantissa) - 1);
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == (1 << format.exponent) - 1) return mantissa ? std::nan("") : sign * HUGE_VAL;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - format.bias() - format.mantissa);
  return sign * std::ldexp(mantissa + (1 << format.mantissa), exponent - format.bias() - format.mantissa);
}

uint16_t narrow(double value, Narrow format) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const uint16_t infinity = static_cast<uint16_t>(((1 << format.exponent) - 1) << format.mantissa);
  if (std::isnan(value)) return static_cast<uint16_t>(sign | infinity | 1 << (format.mantissa - 1));
  const double magnitude = std::fabs(value);
  if (std::isinf(value)) return static_cast<uint16_t>(sign | infinity);
  // The spacing of the format's numbers around `magnitude`; nearbyint rounds ties to even.
  const int scale = std::max(magnitude > 0 ? std::ilogb(magnitude) : 1 - format.bias(), 1 - format.bias()) - format.mantissa;
  const double steps = std::nearbyint(std::ldexp(magnitude, -scale));
  if (std::ldexp(steps, scale) >= std::ldexp(1.0, format.bias() + 1)) return static_cast<uint16_t>(sign | infinity);
  // Exponent and mantissa are one integer: a carry out of the mantissa raises the exponent by itself.
  const int64_t base = static_cast<int64_t>(scale + format.mantissa - (1 - format.bias())) << format.mantissa;
  return static_cast<uint16_t>(sign | static_cast<uint16_t>(base + static_cast<int64_t>(steps)));
}

template <class T>
double load_as(const void *from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return static_cast<double>(value);
}
template <class T>
void store_as(void *to, double value) {
  const T narrowed = static_cast<T>(value);
  std::memcpy(to, &narrowed, sizeof narrowed);
}

}  // namespace

size_t size_of(Element element) { return rows[static_cast<size_t>(element)].dtype.bits / 8; }
const char *name_of(Element element) { return rows[static_cast<size_t>(element)].name; }
lamina_dtype dtype_of(Element element) { return rows[static_cast<size_t>(element)].dtype; }
bool is_floating(Element element) { return element <= Element::bfloat16; }

std::optional<Element> element_named(std::string_view name) {
  for (int i = 0; i < element_count; ++i)
    if (name == rows[i].name) return static_cast<Element>(i);
  return std::nullopt;
}

std::optional<Element> element_of(lamina_dtype dtype) {
  for (int i = 0; i < element_count; ++i)
    if (std::memcmp(&dtype, &rows[i].dtype, sizeof dtype) == 0) return static_cast<Element>(i);
  return std::nullopt;
}

double load(const void *from, Element element) {
  switch (element) {
    case Element::float64: return load_as<double>(from);
    case Element::float32: return load_as<float>(from);
    case Element::float16: return widen(std::bit_cast<uint16_t>(*static_cast<const unsigned char(*)[2]>(from)), half);
    case Element::bfloat16: return widen(std::bit_cast<uint16_t>(*static_cast<const unsigned char(*)[2]>(from)), brain);
    case Element::boolean: return load_as<uint8_t>(from) ? 1 : 0;
    case Element::int8: return load_as<int8_t>(from);
    case Element::uint8: return load_as<uint8_t>(from);
    case Element::int32: return load_as<int32_t>(from);
    case Element::int64: return load_as<int64_t>(from);
  }
  return 0;
}

void store(void *to, Element element, double value) {
  switch (element) {
    case Element::float64: return store_as<double>(to, value);
    case Element::float32: return store_as<float>(to, value);
    case Element::float16:
    case Element::bfloat16: {
      const uint16_t bits = narrow(value, element == Element::float16 ? half : brain);
      std::memcpy(to, &bits, sizeof bits);
      return;
    }
    case Element::boolean: return store_as<uint8_t>(to, value != 0);
    case Element::int8: return store_as<int8_t>(to, std::nearbyint(value));
    case Element::uint8: return store_as<uint8_t>(to, std::nearbyint(value));
    case Element::int32: return store_as<int32_t>(to, std::nearbyint(value));
    case Element::int64: return store_as<int64_t>(to, std::nearbyint(value));
  }
}

}  // namespace lamina::conformance
