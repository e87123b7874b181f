#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "manifest/convert.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "manifest/tests/support.h"

using namespace lamina;
using namespace lamina::manifest;

namespace {

uint16_t bits_of(const char *dtype, double value) {
  uint16_t bits;
  store_element(&bits, *dtype_named(dtype), value);
  return bits;
}

}  // namespace

TEST_CASE("every 16-bit pattern reads and writes back") {
  for (const char *name : {"float16", "bfloat16"})
    for (int pattern = 0; pattern < 65536; ++pattern) {
      const uint16_t bits = static_cast<uint16_t>(pattern);
      const double value = load_element(&bits, *dtype_named(name));
      if (std::isnan(value)) continue;
      if (bits_of(name, value) != bits) FAIL_CHECK(name << " " << pattern << " reads as " << value);
    }
  CHECK(bits_of("float16", 1.0) == 0x3c00);
  CHECK(bits_of("bfloat16", 1.0) == 0x3f80);
  CHECK(bits_of("float16", -2.5) == 0xc100);
  const uint16_t smallest = 1;
  CHECK(load_element(&smallest, *dtype_named("float16")) == 0x1p-24);
  CHECK(load_element(&smallest, *dtype_named("bfloat16")) == 0x1p-133);
}

TEST_CASE("bfloat16 is the upper half of float32") {
  for (uint32_t high = 0; high < 65536; ++high) {
    const uint32_t whole = high << 16;
    float value;
    std::memcpy(&value, &whole, 4);
    const uint16_t bits = static_cast<uint16_t>(high);
    if (!std::isnan(value) && load_element(&bits, *dtype_named("bfloat16")) != static_cast<double>(value)) FAIL_CHECK("pattern " << high);
  }
}

TEST_CASE("rounding is to nearest, ties to even, once") {
  CHECK(bits_of("float16", 1 + 0x1p-11) == 0x3c00);
  CHECK(bits_of("float16", 1 + 3 * 0x1p-11) == 0x3c02);
  CHECK(bits_of("float16", 1 + 0x1p-11 + 0x1p-40) == 0x3c01);  // by way of float32 it would be a tie
  CHECK(bits_of("float16", 2 - 0x1p-12) == 0x4000);
  CHECK(bits_of("float16", 65519.99) == 0x7bff);
  CHECK(bits_of("float16", 65520) == 0x7c00);
  CHECK(bits_of("float16", 0x1p-25) == 0);
  CHECK(bits_of("float16", 0x1p-25 * 1.001) == 1);
  CHECK(bits_of("float16", 0x1p-14 - 0x1p-26) == 0x0400);
  CHECK(bits_of("bfloat16", 1 + 0x1p-8) == 0x3f80);
  CHECK(bits_of("bfloat16", 1e39) == 0x7f80);
  CHECK(bits_of("bfloat16", -0.0) == 0x8000);
  CHECK(bits_of("float16", -HUGE_VAL) == 0xfc00);
  const uint16_t nan = bits_of("float16", std::nan(""));
  CHECK(std::isnan(load_element(&nan, *dtype_named("float16"))));
}

TEST_CASE("whole numbers take what they hold") {
  int64_t whole = 0;
  unsigned char flag = 7;
  store_element(&whole, *dtype_named("int64"), -5);
  CHECK(whole == -5);
  store_element(&flag, *dtype_named("bool"), 1);
  CHECK(flag == 1);
  const auto refused = [&](const char *name, double value) {
    test::error_of(ErrorKind::invalid_argument, [&] { store_element(&whole, *dtype_named(name), value); });
  };
  refused("int8", 128), refused("uint8", -1), refused("uint8", 256), refused("int32", 0.5), refused("int64", 0x1p63), refused("bool", 2),
      refused("uint8", std::nan(""));
  store_element(&whole, *dtype_named("int8"), -128);
  test::error_of(ErrorKind::unsupported, [&] { load_element(&whole, {9, 8, 1}); });
}

TEST_CASE("a strided view converts in row-major order") {
  const float values[] = {0, 1, 2, 3, 4, 5};
  const TensorView view{reinterpret_cast<const unsigned char *>(values), *dtype_named("float32"), {3, 2}, {1, 3}};
  const std::vector<unsigned char> bytes = converted(view, *dtype_named("float64"));
  double doubles[6];
  REQUIRE(bytes.size() == sizeof doubles);
  std::memcpy(doubles, bytes.data(), sizeof doubles);
  CHECK(doubles[1] == 3);
  CHECK(doubles[2] == 1);
  CHECK(converted(view, view.dtype) == copy_contiguous(view));
}
