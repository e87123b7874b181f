// The device code of kernels/gpu, compiled for the host, against plain loops in double: lanes are threads that meet where lanes add up.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <barrier>
#include <cmath>
#include <random>
#include <thread>
#include <vector>

// What nvcc alone has of CUDA's own headers.
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float x, float y) { return x / y; }
#include "kernels/gpu/rows.cuh"

using namespace lamina;
using gpu::bfloat16, gpu::float16, gpu::from_float, gpu::to_float;

namespace {

constexpr float eps = 1e-5f;

// Lanes that add up: each gets the sum of all, in one order.
class Lanes {
 public:
  explicit Lanes(int count) : values_(count), meeting_(count) {}
  float sum(int lane, float x) {
    values_[lane] = x;
    meeting_.arrive_and_wait();
    float sum = 0;
    for (const float value : values_) sum += value;
    meeting_.arrive_and_wait();
    return sum;
  }
  // One call of work(lane) in each lane.
  template <class Work>
  void run(Work work) {
    std::vector<std::thread> threads;
    for (int lane = 0; lane < static_cast<int>(values_.size()); ++lane) threads.emplace_back([&work, lane] { work(lane); });
    for (std::thread &thread : threads) thread.join();
  }

 private:
  std::vector<float> values_;
  std::barrier<> meeting_;
};

struct Exact {
  double mean = 0, scale = 0;
};
template <class T>
Exact exact_moments(const T *row, int channels) {
  Exact of_row;
  double square = 0;
  for (int c = 0; c < channels; ++c) of_row.mean += to_float(row[c]);
  of_row.mean /= channels;
  for (int c = 0; c < channels; ++c) square += (to_float(row[c]) - of_row.mean) * (to_float(row[c]) - of_row.mean);
  of_row.scale = 1 / std::sqrt(square / channels + eps);
  return of_row;
}

template <class T>
std::vector<T> random_row(int channels, float mean, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(mean, 1.0f);
  std::vector<T> row(channels + 1);
  for (T &x : row) x = from_float<T>(normal(random));
  return row;
}

float root(float x) { return 1 / std::sqrt(x); }

template <class T, int lanes>
void check_moments(int channels, float mean, bool aligned) {
  CAPTURE(channels);
  CAPTURE(mean);
  CAPTURE(lanes);
  alignas(16) T row[2048];
  const std::vector<T> values = random_row<T>(channels, mean, static_cast<unsigned>(channels));
  const T *first = row + (aligned ? 0 : 1);
  std::copy_n(values.begin(), channels, row + (aligned ? 0 : 1));
  const Exact exact = exact_moments(first, channels);
  Lanes together(lanes);
  std::vector<gpu::Moments> found(lanes);
  together.run([&](int lane) {
    const auto mean_over = [&](float sum) { return together.sum(lane, sum) / static_cast<float>(channels); };
    found[lane] = gpu::row_moments<lanes>(first, channels, aligned, lane, eps, mean_over, root);
  });
  for (const gpu::Moments &of_lane : found) {
    CHECK(std::fabs(of_lane.mean - exact.mean) <= 1e-6 * (1 + std::fabs(exact.mean)));
    CHECK(std::fabs(of_lane.scale / exact.scale - 1) < 2e-5);
  }
}

}  // namespace

TEST_CASE("moments of a row, by 16 and by 32 lanes, of any width and alignment") {
  for (const int channels : {1, 7, 8, 24, 128, 129, 500, 768, 1536})
    for (const bool aligned : {true, false}) {
      check_moments<float, 16>(channels, 0.5f, aligned);
      check_moments<float, 32>(channels, 0.5f, aligned);
      check_moments<bfloat16, 16>(channels, -0.25f, aligned);
      check_moments<float16, 32>(channels, 2.0f, aligned);
    }
}

TEST_CASE("a mean a thousand times the deviation costs no digits of it") {
  check_moments<float, 16>(256, 1000.0f, true);
  check_moments<float, 32>(384, -1000.0f, true);
}

TEST_CASE("a row in registers is left less its mean") {
  const std::vector<float> row = random_row<float>(96, 3.0f, 5);
  const Exact exact = exact_moments(row.data(), 96);
  std::vector<float> held(row.begin(), row.begin() + 96);
  const auto each = [&](auto use) {
    for (float &x : held) use(x);
  };
  const float scale = gpu::centre(eps, each, [](float sum) { return sum / 96; }, root);
  CHECK(std::fabs(scale / exact.scale - 1) < 1e-6);
  for (int c = 0; c < 96; ++c) {
    CHECK(std::fabs(held[c] - (row[c] - exact.mean)) < 1e-6);
    CHECK(std::fabs(gpu::scaled(held[c], scale, 0.5f, 2.0f) - ((row[c] - exact.mean) * exact.scale * 0.5 + 2)) < 2e-6);
  }
}

TEST_CASE("normalised elements, one and eight at a time") {
  const std::vector<float> row = random_row<float>(8, -1.0f, 9), weight = random_row<float>(8, 1.0f, 10),
                           bias = random_row<float>(8, 0.0f, 11);
  const Exact exact = exact_moments(row.data(), 8);
  const gpu::Moments of_row{static_cast<float>(exact.mean), static_cast<float>(exact.scale)};
  float eight[8];
  std::copy_n(row.begin(), 8, eight);
  gpu::normalise(eight, of_row, weight.data(), bias.data());
  for (int c = 0; c < 8; ++c) {
    const double hat = (row[c] - exact.mean) * exact.scale;
    CHECK(std::fabs(gpu::standardised(row[c], of_row) - hat) < 1e-6);
    CHECK(std::fabs(eight[c] - (hat * weight[c] + bias[c])) < 2e-6);
    CHECK(eight[c] == gpu::normalised(row[c], of_row, weight[c], bias[c]));
  }
}

TEST_CASE("the gradient of an element is what differences say") {
  constexpr int channels = 40;
  const std::vector<float> row = random_row<float>(channels, 0.7f, 3), gradient = random_row<float>(channels, 0.2f, 4);
  const auto loss = [&](int changed, double step) {  // sum of gradient * hat
    std::vector<double> x(row.begin(), row.begin() + channels);
    x[changed] += step;
    double mean = 0, square = 0, sum = 0;
    for (const double value : x) mean += value / channels;
    for (const double value : x) square += (value - mean) * (value - mean) / channels;
    for (int c = 0; c < channels; ++c) sum += gradient[c] * (x[c] - mean) / std::sqrt(square + eps);
    return sum;
  };
  const Exact exact = exact_moments(row.data(), channels);
  const gpu::Moments of_row{static_cast<float>(exact.mean), static_cast<float>(exact.scale)};
  float slope = 0, along = 0;
  for (int c = 0; c < channels; ++c) slope += gradient[c] / channels, along += gradient[c] * gpu::standardised(row[c], of_row) / channels;
  for (int c = 0; c < channels; ++c) {
    const double wanted = (loss(c, 1e-5) - loss(c, -1e-5)) / 2e-5;
    CHECK(std::fabs(gpu::input_gradient(gradient[c], gpu::standardised(row[c], of_row), of_row.scale, slope, along) - wanted) < 2e-6);
  }
}

namespace {

struct Vector {  // as much of a View as load_or and store_any ask for
  void *data = nullptr;
  DType dtype = DType::float32;
  bool present = true;
  int64_t stride[4] = {};
};
template <class T>
void check_element(DType dtype, T one, float value) {
  CAPTURE(static_cast<int>(dtype));
  T data[24] = {};  // room for any dtype at 2, which compilers look at
  data[2] = one;
  CHECK(gpu::load_any(data, dtype, 2) == value);
  CHECK(gpu::value_of(gpu::load_bits(data, sizeof(T), 2), dtype) == value);
  CHECK(gpu::load_or(Vector{data, dtype, true, {2}}, 1, 5.0f) == value);
  CHECK(gpu::load_or(Vector{nullptr, dtype, false, {2}}, 1, 5.0f) == 5.0f);
}
template <class T>
void check_store(DType dtype) {
  T data[3] = {};
  gpu::store_any(Vector{data, dtype, true, {1}}, 1, 1.0f + 1.0f / 1024 + 1.0f / 512);
  CHECK(to_float(data[0]) == 0);
  CHECK(to_float(data[2]) == 0);
  CHECK(to_float(data[1]) == to_float(from_float<T>(1.0f + 1.0f / 1024 + 1.0f / 512)));
}

}  // namespace

TEST_CASE("elements of every dtype") {
  check_element<double>(DType::float64, -1.5, -1.5f);
  check_element<float>(DType::float32, 0.1f, 0.1f);
  check_element<float16>(DType::float16, from_float<float16>(-0.375f), -0.375f);
  check_element<bfloat16>(DType::bfloat16, from_float<bfloat16>(3.5f), 3.5f);
  check_element<uint8_t>(DType::boolean, 7, 1.0f);
  check_element<int8_t>(DType::int8, -7, -7.0f);
  check_element<uint8_t>(DType::uint8, 200, 200.0f);
  check_element<int32_t>(DType::int32, -70000, -70000.0f);
  check_element<int64_t>(DType::int64, int64_t{-5} << 33, -5.0f * 8589934592.0f);
  check_store<float>(DType::float32);
  check_store<float16>(DType::float16);
  check_store<bfloat16>(DType::bfloat16);
}

TEST_CASE("neighbours move as they are, aligned or not") {
  alignas(16) float from[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8}, to[9] = {};
  gpu::store_eight(to, gpu::load_eight(from + 1, false), true);
  for (int i = 0; i < 8; ++i) CHECK(to[i] == static_cast<float>(i + 1));
  gpu::store_neighbours(to + 1, gpu::load_neighbours<2>(from, true), false);
  CHECK(to[0] == 1);
  CHECK(to[1] == 0);
  CHECK(to[2] == 1);
  CHECK(to[3] == 4);
  static_assert(alignof(gpu::Neighbours<bfloat16, 2>) == 4 && alignof(gpu::Eight<bfloat16>) == 16 && alignof(gpu::Eight<float>) == 16);
}
