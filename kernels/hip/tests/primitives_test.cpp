// The words of kernels/hip, executed by the emulator through the plug-ins' own loader: what they promise, computed here.
#include <cmath>
#include <cstring>
#include <vector>

#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "emulator.h"
#include "jobs.h"
#include "kernels/common/scalar.h"

namespace lamina::hip {
namespace {

constexpr const char *names[] = {"product_float32", "product_bfloat16", "product_float16", "placed_float32", "placed_bfloat16",
                                 "placed_float16",  "over_lanes",       "checked",         "rounded"};
enum Row { product, placed = 3, over_lanes = 6, checked, rounded };

struct Machine {
  std::vector<char> bytes = read_file(LAMINA_CODE_OBJECTS "/primitives.gfx942.5.co");
  CodeObject object{"gfx942", bytes.data(), 5};
  Image image{&object, 1, names, 9};
  DeviceCode *code = nullptr;
  Failure failure;
  Machine() {
    use_emulator();
    REQUIRE_MESSAGE(load_device_code(image, 0, code, failure) == Status::ok, failure.message);
  }
  ~Machine() { release_device_code(code); }
  template <class Job>
  void launch(int row, unsigned threads, Job job) {
    Launcher launcher(*code, nullptr);
    REQUIRE(launcher.open(failure) == Status::ok);
    void *parameters[] = {&job};
    REQUIRE_MESSAGE(launcher.launch({row, {1, 1, 1}, threads}, parameters, failure) == Status::ok, failure.message);
    REQUIRE(emulator().synchronize() == 0);
  }
};

uint16_t to_16_bits(DType dtype, float x) { return dtype == DType::bfloat16 ? float_to_bfloat16(x) : float_to_float16(x); }

void check_product(Machine &machine, int row, DType dtype) {
  float a[32][16], b[32][16];
  Memory left(2048), right(2048), sums(4096);
  for (int m = 0; m < 32; ++m)
    for (int k = 0; k < 16; ++k)
      a[m][k] = static_cast<float>((m * 5 + k * 3) % 17 - 8), b[m][k] = static_cast<float>((m * 7 + k * 11) % 13 - 6);
  std::vector<char> packed[2];
  for (const auto *matrix : {&a, &b}) {
    std::vector<char> bytes;
    for (const auto &line : *matrix)
      for (const float x : line) {
        const uint16_t bits = to_16_bits(dtype, x);
        const char *from = dtype == DType::float32 ? reinterpret_cast<const char *>(&x) : reinterpret_cast<const char *>(&bits);
        bytes.insert(bytes.end(), from, from + (dtype == DType::float32 ? 4 : 2));
      }
    packed[matrix == &b] = bytes;
  }
  left.write(packed[0]), right.write(packed[1]);
  machine.launch(row, row < placed ? 64 : 128, ProductJob{left.data, right.data, static_cast<float *>(sums.data)});
  const std::vector<float> found = sums.read<float>();
  for (int m = 0; m < 32; ++m)
    for (int n = 0; n < 32; ++n) {
      float expected = 0;
      for (int k = 0; k < 16; ++k) expected += a[m][k] * b[n][k];  // small integers: exact in every dtype
      REQUIRE_MESSAGE(found[static_cast<size_t>(m * 32 + n)] == expected, name_of(dtype) << " row " << m << " column " << n);
    }
}

TEST_CASE("products of every dtype, from memory and through placed LDS lines") {
  Machine machine;
  const DType dtypes[] = {DType::float32, DType::bfloat16, DType::float16};
  for (int i = 0; i < 3; ++i) {
    check_product(machine, product + i, dtypes[i]);
    check_product(machine, placed + i, dtypes[i]);
  }
}

TEST_CASE("sums over 16 lanes, in all of them") {
  Machine machine;
  Memory from(1024), to(1024);
  std::vector<float> x(256);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * i % 101);
  from.write(x);
  machine.launch(over_lanes, 256, RowsJob{static_cast<float *>(from.data), static_cast<float *>(to.data)});
  const std::vector<float> found = to.read<float>();
  for (size_t i = 0; i < x.size(); ++i) {
    float expected = 0;
    for (size_t lane = i / 16 * 16; lane < i / 16 * 16 + 16; ++lane) expected += x[lane];
    REQUIRE(found[i] == expected);
  }
}

TEST_CASE("checked memory reads zeros beyond its end and outside") {
  Machine machine;
  Memory from(640), to(1024);
  std::vector<uint32_t> x(160);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint32_t>(i + 1);
  from.write(x);
  machine.launch(checked, 64, CheckedJob{from.data, to.data, 640});
  const std::vector<uint32_t> found = to.read<uint32_t>();
  for (uint32_t i = 0; i < 256; ++i) {
    const bool inside = i / 4 % 2 == 0 && i < 160;
    REQUIRE(found[i] == (inside ? i + 1 : 0));
  }
}

TEST_CASE("the precise reciprocal is within one unit of the last place") {
  Machine machine;
  Memory from(256), to(256);
  std::vector<float> x(64);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(8 + 12 * i);
  from.write(x);
  machine.launch(rounded, 64, RowsJob{static_cast<float *>(from.data), static_cast<float *>(to.data)});
  const std::vector<float> found = to.read<float>();
  for (size_t i = 0; i < x.size(); ++i) {
    const float expected = 1.0f / x[i];
    CHECK(std::fabs(found[i] - expected) <= std::nextafter(expected, 1.0f) - expected);
  }
}

}  // namespace
}  // namespace lamina::hip
