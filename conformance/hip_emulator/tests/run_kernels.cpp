// run_kernels FILE.co: the kernels of kernels/kernels.hip on the emulator, against double precision.  Exits 0 when all are right, 1 when one
// is wrong, 3 when the emulator refuses something.
#include <cmath>
#include <random>

#include "conformance/hip_emulator/numbers.h"
#include "conformance/hip_emulator/tests/hip_api.h"

using namespace lamina::hip_emulator;

namespace {

using Half = std::vector<uint16_t>;
std::mt19937 random_bits(11);

Half drawn(size_t count, float scale, float shift = 0.f) {
  std::normal_distribution<float> normal;
  Half values(count);
  for (uint16_t &value : values) value = static_cast<uint16_t>(float_to_bfloat(normal(random_bits) * scale + shift));
  return values;
}
std::vector<float> drawn_floats(size_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float &value : values) value = normal(random_bits);
  return values;
}
double number(uint16_t bits) { return bfloat_to_float(bits); }

Handle module;

void refuse(const std::string &kernel, int code) {
  std::printf("%s: %s (%d)\n", kernel.c_str(), hip().hipGetErrorString(code), code);
  std::exit(3);
}

void launch(const char *kernel, unsigned groups_x, unsigned groups_y, std::vector<void *> arguments, unsigned threads = 256) {
  Handle function;
  if (const int code = hip().hipModuleGetFunction(&function, module, kernel)) refuse(kernel, code);
  if (const int code = hip().hipModuleLaunchKernel(function, groups_x, groups_y, 1, threads, 1, 1, 0, nullptr, arguments.data(), nullptr))
    refuse(kernel, code);
}

// Half a unit in the last place of bfloat16, of the largest value, and some for exp2 and rcp.
void compare(const char *kernel, const DeviceVector<uint16_t> &found, const std::vector<double> &wanted) {
  Half values;
  if (const int code = found.read(values)) refuse(kernel, code);
  double worst = 0, largest = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    largest = std::max(largest, std::fabs(wanted[i]));
    worst = std::max(worst, std::isnan(number(values[i])) ? 1e30 : std::fabs(number(values[i]) - wanted[i]));
  }
  if (worst > 0.0045 * largest) {
    std::printf("%s: wrong by %.3g of %.3g\n", kernel, worst, largest);
    std::exit(1);
  }
}

void check_gemm(int rows, int columns, int depth) {
  const Half a = drawn(size_t(rows) * depth, 0.3f), b = drawn(size_t(columns) * depth, 0.3f);
  const std::vector<float> bias = drawn_floats(columns);
  DeviceVector<uint16_t> on_a(a), on_b(b), on_c(Half(size_t(rows) * columns));
  DeviceVector<float> on_bias(bias);
  std::vector<double> wanted;
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; ++j) {
      double sum = bias[j];
      for (int k = 0; k < depth; ++k) sum += number(a[size_t(i) * depth + k]) * number(b[size_t(j) * depth + k]);
      wanted.push_back(0.5 * sum * (1 + std::tanh(0.7978845608 * (sum + 0.044715 * sum * sum * sum))));
    }
  launch("gemm", (columns + 63) / 64, (rows + 63) / 64,
         {&on_a.address(), &on_b.address(), &on_bias.address(), &on_c.address(), &rows, &columns, &depth});
  compare("gemm", on_c, wanted);
}

void check_layer_norm(int rows) {
  constexpr int width = 1024;
  const Half x = drawn(size_t(rows) * width, 2.f, 1.f);
  const std::vector<float> scale = drawn_floats(width), shift = drawn_floats(width);
  float eps = 1e-5f;
  DeviceVector<uint16_t> on_x(x), on_y(Half(x.size()));
  DeviceVector<float> on_scale(scale), on_shift(shift);
  std::vector<double> wanted;
  for (int i = 0; i < rows; ++i) {
    double mean = 0, squares = 0;
    for (int j = 0; j < width; ++j) mean += number(x[size_t(i) * width + j]) / width;
    for (int j = 0; j < width; ++j) squares += std::pow(number(x[size_t(i) * width + j]) - mean, 2) / width;
    for (int j = 0; j < width; ++j)
      wanted.push_back((number(x[size_t(i) * width + j]) - mean) / std::sqrt(squares + eps) * scale[j] + shift[j]);
  }
  launch("layer_norm", rows, 1, {&on_x.address(), &on_scale.address(), &on_shift.address(), &on_y.address(), &eps});
  compare("layer_norm", on_y, wanted);
}

void check_softmax(int rows, int columns) {
  const Half x = drawn(size_t(rows) * columns, 3.f);
  float scale = 0.7f;
  DeviceVector<uint16_t> on_x(x), on_y(Half(x.size()));
  std::vector<double> wanted;
  for (int i = 0; i < rows; ++i) {
    double sum = 0;
    for (int j = 0; j < columns; ++j) sum += std::exp(number(x[size_t(i) * columns + j]) * scale);
    for (int j = 0; j < columns; ++j) wanted.push_back(std::exp(number(x[size_t(i) * columns + j]) * scale) / sum);
  }
  launch("softmax", (rows + 3) / 4, 1, {&on_x.address(), &on_y.address(), &rows, &columns, &scale});
  compare("softmax", on_y, wanted);
}

// Every pair of 64 numbers from all over the range.
void check_division() {
  std::vector<float> numbers{0.f,      -0.f,      1.f, 3.f, INFINITY, -INFINITY, NAN, 0x1p-149f, 0x1.8p-140f, 0x1p-126f, 0x1.fffffep127f,
                             0x1p100f, -0x1p-100f};
  while (numbers.size() < 64) numbers.push_back(as_float(static_cast<uint32_t>(random_bits())));
  std::vector<float> a, b, found;
  for (const float x : numbers)
    for (const float y : numbers) a.push_back(x), b.push_back(y);
  DeviceVector<float> on_a(a), on_b(b), on_c(a);
  launch("divide", 64, 1, {&on_a.address(), &on_b.address(), &on_c.address()}, 64);
  if (const int code = on_c.read(found)) refuse("divide", code);
  for (size_t i = 0; i < a.size(); ++i) {
    const float wanted = a[i] / b[i];
    if (as_bits(found[i]) == as_bits(wanted) || (wanted != wanted && found[i] != found[i])) continue;
    std::printf("divide: %a / %a is %a, not %a\n", a[i], b[i], wanted, found[i]);
    std::exit(1);
  }
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: run_kernels FILE.co\n"), 2;
  const std::vector<char> image = read_whole(argv[1]);
  if (image.empty()) return std::fprintf(stderr, "%s cannot be read\n", argv[1]), 2;
  if (const int code = hip().hipModuleLoadData(&module, image.data())) refuse(argv[1], code);
  check_gemm(64, 64, 64);
  check_gemm(100, 160, 96);
  check_layer_norm(7);
  check_softmax(10, 77);
  check_softmax(8, 500);
  check_division();
  uint64_t instructions = 0;
  for (const Launched &one : hip().control->launches()) instructions += one.instructions;
  std::printf("right, %llu wave instructions\n", static_cast<unsigned long long>(instructions));
  return 0;
}
