// Each primitive of kernels/cuda on the GPU against what it promises.  Without a GPU the kernels were compiled, which is said, and no more;
// --require-gpu makes that a failure.  --load-only loads and launches without looking at results: for the stand-in driver.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <functional>

#include "kernels/cuda/tensor_map.h"
#include "kernels/cuda/tests/machine.h"

extern "C" const char lamina_device_code[];

namespace lamina::cuda::tests {
namespace {

enum class Kernel {
#define LAMINA_ROW(name, ...) name,
  LAMINA_PORTABLE_TESTS(LAMINA_ROW) portable_count,
  before_hopper = portable_count - 1,
  LAMINA_HOPPER_TESTS(LAMINA_ROW) all
#undef LAMINA_ROW
};
struct Row {
  unsigned threads;
  uint32_t shared_bytes;
};
#define LAMINA_ROW(name, shared, threads, Job, call) {threads, shared},
constexpr Row rows[] = {LAMINA_PORTABLE_TESTS(LAMINA_ROW) LAMINA_HOPPER_TESTS(LAMINA_ROW)};
#undef LAMINA_ROW
#define LAMINA_ROW(name, shared, threads, Job, call) {#name, shared},
constexpr KernelEntry entries[] = {LAMINA_PORTABLE_TESTS(LAMINA_ROW) LAMINA_HOPPER_TESTS(LAMINA_ROW)};
#undef LAMINA_ROW
constexpr int portable = static_cast<int>(Kernel::portable_count), everything = static_cast<int>(Kernel::all);
const Image portable_image = {lamina_device_code, entries, portable, 80, 0};
const Image hopper_image = {lamina_device_code, entries, everything, 90, 90};

bool require_gpu = false, load_only = false;

// Calls `test` where this machine has a GPU for the image.  Says why where it has none.
void with(const Image &image, const std::function<void(Machine &)> &test) {
  try {
    Machine machine(image);
    test(machine);
  } catch (const Error &error) {
    if (error.kind != ErrorKind::unsupported || require_gpu) throw;
    std::printf("compiled, not run: %s\n", error.what());
  }
}

template <class Job>
void launch(Machine &machine, Kernel kernel, const Job &job, bool overlaps_previous = false) {
  const Row &row = rows[static_cast<int>(kernel)];
  machine.launch(static_cast<int>(kernel), row.threads, job, row.shared_bytes, overlaps_previous);
}

// A kernel from words to words; empty where nothing is to be looked at.
std::vector<uint32_t> answer(Machine &machine, Kernel kernel, const std::vector<uint32_t> &words, size_t out_words, int count = 0) {
  const auto in = machine.put(words), out = machine.room(out_words * 4);
  launch(machine, kernel, BufferJob{in->data(), out->data(), count});
  machine.wait();
  return load_only ? std::vector<uint32_t>() : contents<uint32_t>(*out);
}

std::vector<uint32_t> counting(size_t count) {
  std::vector<uint32_t> words(count);
  for (size_t i = 0; i < count; ++i) words[i] = static_cast<uint32_t>(2654435761u * i + 12345);
  return words;
}

// Whole numbers from -4 to 4, exact in every dtype here, and their sums in float.
float small(size_t i) { return static_cast<float>(static_cast<int>(i * 7919 % 9) - 4); }
uint16_t bfloat16_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return static_cast<uint16_t>(bits >> 16);
}
uint16_t float16_bits(float x) {  // of such a number
  if (x == 0) return 0;
  int exponent;
  const float fraction = std::frexp(std::fabs(x), &exponent);
  return static_cast<uint16_t>((x < 0 ? 0x8000 : 0) | (exponent + 14) << 10 | static_cast<int>((2 * fraction - 1) * 1024));
}

// [rows][depth] A, [columns][depth] B.
std::vector<float> product(int height, int columns, int depth, float times = 1) {
  std::vector<float> sum(static_cast<size_t>(height * columns));
  for (int i = 0; i < height; ++i)
    for (int j = 0; j < columns; ++j)
      for (int k = 0; k < depth; ++k)
        sum[static_cast<size_t>(i * columns + j)] +=
            times * small(static_cast<size_t>(i * depth + k)) * small(static_cast<size_t>(1000 + j * depth + k));
  return sum;
}

TEST_CASE("cp.async copies 16 bytes or writes zeros, and groups finish in order") {
  with(portable_image, [](Machine &machine) {
    const std::vector<uint32_t> in = counting(512), out = answer(machine, Kernel::copy_pieces, in, 512);
    for (size_t i = 0; i < out.size(); ++i) {
      const size_t piece = i / 4, half = piece / 64 * 64, from = half + 63 - piece % 64;
      CHECK(out[i] == (from % 3 ? in[from * 4 + i % 4] : 0));
    }
  });
}

// Element (row, column) of 8 x 8 matrix m, two to a word.
uint16_t element(const std::vector<uint32_t> &lines, size_t m, size_t row, size_t column) {
  return static_cast<uint16_t>(lines[(m * 8 + row) * 4 + column / 2] >> column % 2 * 16);
}

TEST_CASE("ldmatrix gives each lane the elements that mma.sync wants of it") {
  with(portable_image, [](Machine &machine) {
    const std::vector<uint32_t> in = counting(128);
    for (const bool transposed : {false, true}) {
      const std::vector<uint32_t> out = answer(machine, transposed ? Kernel::matrices_transposed : Kernel::matrices, in, 128);
      for (size_t i = 0; i < out.size(); ++i) {
        const size_t lane = i / 4, m = i % 4, row = lane / 4, column = lane % 4 * 2;
        const uint16_t low = transposed ? element(in, m, column, row) : element(in, m, row, column);
        const uint16_t high = transposed ? element(in, m, column + 1, row) : element(in, m, row, column + 1);
        CHECK(out[i] == (uint32_t{high} << 16 | low));
      }
    }
  });
}

void check_product(Machine &machine, Kernel kernel, int depth, const std::function<void(std::vector<char> &, float)> &append) {
  std::vector<char> a, b;
  for (int i = 0; i < 32 * depth; ++i) append(a, small(static_cast<size_t>(i)));
  for (int i = 0; i < 16 * depth; ++i) append(b, small(static_cast<size_t>(1000 + i)));
  const auto left = machine.put(a), right = machine.put(b), sum = machine.room(32 * 16 * 4);
  launch(machine, kernel, ProductJob{left->data(), right->data(), static_cast<float *>(sum->data())});
  machine.wait();
  if (!load_only) CHECK(contents<float>(*sum) == product(32, 16, depth));
}

template <class Bits>
std::function<void(std::vector<char> &, float)> appending(Bits bits) {
  return [bits](std::vector<char> &to, float x) {
    const auto value = bits(x);
    to.insert(to.end(), reinterpret_cast<const char *>(&value), reinterpret_cast<const char *>(&value) + sizeof value);
  };
}

TEST_CASE("a warp's tile of products, 16-bit by mma.sync and float by FMAs, A and B along k or along their rows") {
  with(portable_image, [](Machine &machine) {
    const auto exact = [](float x) { return x; };
    check_product(machine, Kernel::product_bfloat16, 32, appending(bfloat16_bits));
    check_product(machine, Kernel::product_rows_bfloat16, 32, appending(bfloat16_bits));
    check_product(machine, Kernel::product_float16, 32, appending(float16_bits));
    check_product(machine, Kernel::product_rows_float16, 32, appending(float16_bits));
    check_product(machine, Kernel::product_float32, 16, appending(exact));
    check_product(machine, Kernel::product_rows_float32, 16, appending(exact));
    for (const Kernel kernel : {Kernel::product_b_rows_bfloat16, Kernel::product_both_rows_bfloat16})
      check_product(machine, kernel, 32, appending(bfloat16_bits));
    for (const Kernel kernel : {Kernel::product_b_rows_float16, Kernel::product_both_rows_float16})
      check_product(machine, kernel, 32, appending(float16_bits));
    for (const Kernel kernel : {Kernel::product_b_rows_float32, Kernel::product_both_rows_float32})
      check_product(machine, kernel, 16, appending(exact));
  });
}

TEST_CASE("mbarriers keep two warps apart over many rounds of a ring") {
  with(hopper_image, [](Machine &machine) {
    constexpr int rounds = 37;
    const std::vector<uint32_t> in = counting(rounds * 32), out = answer(machine, Kernel::barrier_ring, in, rounds * 32, rounds);
    for (size_t i = 0; i < out.size(); ++i) CHECK(out[i] == in[i / 32 * 32 + 31 - i % 32]);
  });
}

TEST_CASE("registers move between warpgroups") {
  with(hopper_image, [](Machine &machine) {
    constexpr uint32_t turns = 3;
    const std::vector<uint32_t> in = counting(256), out = answer(machine, Kernel::registers, in, 256, turns);
    for (size_t thread = 0; thread < out.size(); ++thread) {
      uint32_t value[160], sum = 0;
      for (size_t i = 0; i < 160; ++i) value[i] = in[(thread + i) % 256];
      for (uint32_t turn = 0; turn < turns; ++turn)
        for (uint32_t &x : value) sum += x ^= sum + turn;
      CHECK(out[thread] == sum);
    }
  });
}

TEST_CASE("warpgroups take turns in their order, also when one has fewer of them") {
  with(hopper_image, [](Machine &machine) {
    constexpr uint32_t rounds = 23;
    const std::vector<uint32_t> out = answer(machine, Kernel::turns, {0}, 3 * rounds - 1, rounds);
    for (uint32_t i = 0; i < out.size(); ++i) CHECK(out[i] == i % 3 * 1000 + i / 3);
  });
}

TEST_CASE("a dependent kernel sees all that the one before it wrote") {
  with(hopper_image, [](Machine &machine) {
    const std::vector<uint32_t> in = counting(256);
    for (int round = 0; round < 10; ++round) {
      const auto from = machine.put(in), between = machine.put(std::vector<uint32_t>(256, 9)), to = machine.room(1024);
      launch(machine, Kernel::first_of_two, BufferJob{from->data(), between->data(), 0});
      launch(machine, Kernel::second_of_two, BufferJob{between->data(), to->data(), 0}, true);
      machine.wait();
      if (load_only) continue;
      const std::vector<uint32_t> out = contents<uint32_t>(*to);
      for (size_t i = 0; i < 256; ++i) CHECK(out[i] == 3 * (in[i] + 1));
    }
  });
}

CUtensorMap map_of(Machine &machine, const TensorBoxes &boxes) {
  CUtensorMap map;
  Failure failure;
  require(make_tensor_map(*machine.code().driver, boxes, map, failure), failure);
  return map;
}

// A box that hangs over the tensor's edges, or lies outside: zeros come in, and nothing goes out there.
void check_boxes(Machine &machine, Kernel kernel, int depth, int x, int y, int z) {
  constexpr int columns = 104, lines = 70, pitch = 112;
  const size_t count = static_cast<size_t>(depth * lines * pitch);
  std::vector<uint16_t> tensor(count);
  for (size_t i = 0; i < count; ++i) tensor[i] = static_cast<uint16_t>(1 + i % 30000);
  const std::vector<uint16_t> untouched(count, 0x7b7b);
  const auto from = machine.put(tensor), to = machine.put(untouched), seen = machine.room(box_rows * box_columns * 2);
  const auto boxes = [&](const conformance::Buffer &buffer) {
    return TensorBoxes{buffer.data(),      {columns, lines, static_cast<uint64_t>(depth)}, pitch, lines * pitch, {box_columns, box_rows, 1},
                       depth > 1 ? 3u : 2u};
  };
  launch(machine, kernel, BoxJob{map_of(machine, boxes(*from)), map_of(machine, boxes(*to)), seen->data(), x, y, z});
  machine.wait();
  if (load_only) return;
  const std::vector<uint16_t> box = contents<uint16_t>(*seen), stored = contents<uint16_t>(*to);
  std::vector<uint16_t> expected_box(box.size()), expected = untouched;
  for (int line = 0; line < box_rows; ++line)
    for (int column = 0; column < box_columns; ++column) {
      if (y + line >= lines || x + column >= columns || z >= depth) continue;
      const size_t at = static_cast<size_t>((z * lines + y + line) * pitch + x + column);
      expected_box[static_cast<size_t>(line * box_columns + column)] = tensor[at];
      expected[at] = tensor[at] ^ 0x8000;
    }
  CHECK(box == expected_box);
  CHECK(stored == expected);
  CHECK(to->damage().empty());
}

TEST_CASE("tensor copies bring and take boxes, swizzled, clipped at the tensor's edges") {
  with(hopper_image, [](Machine &machine) {
    check_boxes(machine, Kernel::boxes_2d, 1, 8, 5, 0);
    check_boxes(machine, Kernel::boxes_2d, 1, 64, 60, 0);
    check_boxes(machine, Kernel::boxes_3d, 3, 0, 32, 1);
    check_boxes(machine, Kernel::boxes_3d, 3, 56, 64, 2);  // the next matrix begins where the box ends
    check_boxes(machine, Kernel::boxes_2d, 1, 0, 70, 0);   // nothing of it inside
    check_boxes(machine, Kernel::boxes_3d, 3, 0, 8, 3);
  });
}

TEST_CASE("stmatrix is ldmatrix the other way round") {
  with(hopper_image, [](Machine &machine) {
    const std::vector<uint32_t> in = counting(128);
    for (const bool transposed : {false, true}) {
      const Kernel there = transposed ? Kernel::stored_matrices_transposed : Kernel::stored_matrices;
      const std::vector<uint32_t> lines = answer(machine, there, in, 128);
      if (load_only) continue;
      CHECK(answer(machine, transposed ? Kernel::matrices_transposed : Kernel::matrices, lines, 128) == in);
    }
  });
}

TEST_CASE("two floats as a pair of bf16, rounded to nearest even; tanh to eleven bits") {
  with(hopper_image, [](Machine &machine) {
    std::vector<float> in;
    for (int i = -400; i < 400; ++i) in.push_back(static_cast<float>(i) * 0.0123f), in.push_back(1.0f + static_cast<float>(i) / 4096);
    std::vector<uint32_t> words(in.size());
    std::memcpy(words.data(), in.data(), in.size() * 4);
    const int count = static_cast<int>(in.size() / 2);
    const std::vector<uint32_t> bits = answer(machine, Kernel::pairs, words, in.size() * 2, count);
    if (load_only) return;
    const auto nearest = [](float x) {
      uint32_t word;
      std::memcpy(&word, &x, 4);
      return (word + 0x7fff + (word >> 16 & 1)) & 0xffff0000u;
    };
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      CHECK(bits[4 * i] == (nearest(in[2 * i + 1]) | nearest(in[2 * i]) >> 16));
      CHECK(bits[4 * i + 1] == nearest(in[2 * i]));
      CHECK(bits[4 * i + 2] == nearest(in[2 * i + 1]));
      float tanh;
      std::memcpy(&tanh, &bits[4 * i + 3], 4);
      CHECK(std::fabs(tanh - std::tanh(in[2 * i])) <= 1e-3f * std::fabs(std::tanh(in[2 * i])));
    }
  });
}

// 64 x columns x 64, twice.  along_rows: an operand lies as [k][row].
void check_mixed_product(Machine &machine, Kernel kernel, int columns, bool a_along_rows, bool b_along_rows) {
  const auto operand = [&](int height, size_t first, bool along_rows) {
    std::vector<uint16_t> bits(static_cast<size_t>(height) * 64);
    for (int row = 0; row < height; ++row)
      for (int k = 0; k < 64; ++k)
        bits[static_cast<size_t>(along_rows ? k * height + row : row * 64 + k)] =
            bfloat16_bits(small(first + static_cast<size_t>(row * 64 + k)));
    return machine.put(bits);
  };
  const auto a = operand(64, 0, a_along_rows), b = operand(columns, 1000, b_along_rows),
             sum = machine.room(static_cast<size_t>(64 * columns * 4));
  const auto boxes = [&](const conformance::Buffer &buffer, int height, bool along_rows) {
    const uint64_t inner = along_rows ? static_cast<uint64_t>(height) : 64, outer = along_rows ? 64 : static_cast<uint64_t>(height);
    return TensorBoxes{buffer.data(), {inner, outer, 1}, inner, 0, {64, static_cast<uint32_t>(outer), 1}, 2};
  };
  launch(machine, kernel,
         GroupProductJob{map_of(machine, boxes(*a, 64, a_along_rows)), map_of(machine, boxes(*b, columns, b_along_rows)),
                         static_cast<float *>(sum->data())});
  machine.wait();
  if (!load_only) CHECK(contents<float>(*sum) == product(64, columns, 64, 2));
}

void check_group_product(Machine &machine, Kernel kernel, int columns, bool along_rows) {
  check_mixed_product(machine, kernel, columns, along_rows, along_rows);
}

TEST_CASE("wgmma multiplies operands that lie differently") {
  with(hopper_image, [](Machine &machine) {
    check_mixed_product(machine, Kernel::mixed_product_8, 8, true, false);
    check_mixed_product(machine, Kernel::mixed_product_64, 64, false, false);
    check_mixed_product(machine, Kernel::mixed_product_64_rows_k, 64, true, false);
    check_mixed_product(machine, Kernel::mixed_product_64_k_rows, 64, false, true);
    check_mixed_product(machine, Kernel::mixed_product_128_rows_k, 128, true, false);
    check_mixed_product(machine, Kernel::mixed_product_128_rows, 128, true, true);
    check_mixed_product(machine, Kernel::mixed_product_192, 192, false, false);
    check_mixed_product(machine, Kernel::mixed_product_192_rows_k, 192, true, false);
    check_mixed_product(machine, Kernel::mixed_product_256_k_rows, 256, false, true);
    check_mixed_product(machine, Kernel::mixed_product_registers_64, 64, false, false);
    check_mixed_product(machine, Kernel::mixed_product_registers_128, 128, false, true);
  });
}

TEST_CASE("wgmma multiplies operands along k, along their rows, and from registers") {
  with(hopper_image, [](Machine &machine) {
    check_group_product(machine, Kernel::group_product_k_128, 128, false);
    check_group_product(machine, Kernel::group_product_k_256, 256, false);
    check_group_product(machine, Kernel::group_product_rows_128, 128, true);
    check_group_product(machine, Kernel::group_product_rows_256, 256, true);
    check_group_product(machine, Kernel::group_product_registers, 128, false);
    check_group_product(machine, Kernel::group_product_registers_64, 64, false);
  });
}

}  // namespace
}  // namespace lamina::cuda::tests

int main(int argc, char **argv) {
  for (int i = 1; i < argc; ++i) {
    lamina::cuda::tests::require_gpu |= !std::strcmp(argv[i], "--require-gpu");
    lamina::cuda::tests::load_only |= !std::strcmp(argv[i], "--load-only");
  }
  return doctest::Context(argc, argv).run();
}
