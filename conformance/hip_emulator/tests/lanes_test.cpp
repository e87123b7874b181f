// What single instructions do across lanes: matrix layouts, DPP over rows, LDS and its crossbar.  Expectations are written from AMD's ISA documents.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <functional>
#include <random>

#include "conformance/hip_emulator/numbers.h"
#include "conformance/hip_emulator/tests/machine.h"

using namespace lamina::hip_emulator;

namespace {

using Fill = std::function<u32(int)>;
void fill(Machine &machine, int index, const Fill &value) {
  for (int lane = 0; lane < lane_count; ++lane) machine.wave->v[index][lane] = value(lane);
}

constexpr u32 v(u32 number) { return 256 + number; }
// d = a * b + c, registers a, b of `factor` registers each.
std::vector<u32> matrix(u32 opcode, u32 d, u32 a, u32 b, u32 c) { return {0xd3800000 | opcode << 16 | d, v(a) | v(b) << 9 | v(c) << 18}; }

enum class Element { f32, f16, bf16 };
struct Shape {
  u32 opcode;
  Arch arch;
  int side, depth;
  Element element;
};

u32 bits_of(Element element, float value) {
  return element == Element::f32 ? as_bits(value) : element == Element::f16 ? float_to_half(value) : float_to_bfloat(value);
}

// The layout that AMD's matrix instruction calculator gives for one block: element k of row i of A lies in lane i + side * (k / n), at place
// k % n, with n = depth * side / 64 elements a lane; B likewise by columns.  Row r of D lies in lanes of group r / 4 % (64 / side).
void check_layout(const Shape &shape) {
  CAPTURE(shape.opcode);
  Machine machine(shape.arch);
  std::mt19937 random(shape.opcode);
  std::uniform_int_distribution<int> small(-4, 4);
  const int side = shape.side, depth = shape.depth, each = depth * side / lane_count;
  std::vector<std::vector<int>> a(side, std::vector<int>(depth)), b(depth, std::vector<int>(side)), c(side, std::vector<int>(side));
  for (auto *matrix : {&a, &b, &c})
    for (auto &row : *matrix)
      for (int &value : row) value = small(random);
  const auto place = [&](int base, int lane, int k, float value) {
    u32 &word = machine.wave->v[base + (shape.element == Element::f32 ? k : k / 2)][lane];
    const u32 bits = bits_of(shape.element, value);
    if (shape.element == Element::f32) word = bits;
    else word = k % 2 ? (word & 0xffff) | bits << 16 : (word & 0xffff0000) | bits;
  };
  for (int i = 0; i < side; ++i)
    for (int k = 0; k < depth; ++k) {
      place(100, i + side * (k / each), k % each, static_cast<float>(a[i][k]));
      place(110, i + side * (k / each), k % each, static_cast<float>(b[k][i]));
    }
  const auto lane_of = [&](int row, int column) { return column + side * (row / 4 % (lane_count / side)); };
  const auto register_of = [&](int row) { return row % 4 + 4 * (row / 4 / (lane_count / side)); };
  for (int i = 0; i < side; ++i)
    for (int j = 0; j < side; ++j) machine.wave->v[50 + register_of(i)][lane_of(i, j)] = as_bits(static_cast<float>(c[i][j]));
  machine.wave->set_scalar64(code::exec, 1);  // which matrix instructions do not heed
  machine.finish(matrix(shape.opcode, 10, 100, 110, 50));
  for (int i = 0; i < side; ++i)
    for (int j = 0; j < side; ++j) {
      int sum = c[i][j];
      for (int k = 0; k < depth; ++k) sum += a[i][k] * b[k][j];
      CHECK(as_float(machine.wave->v[10 + register_of(i)][lane_of(i, j)]) == static_cast<float>(sum));
    }
}

std::vector<u32> move_dpp(u32 control, u32 row_mask = 0xf, bool bound_control = false) {
  return {0x7e0002fa | 20u << 17, 2u | control << 8 | (bound_control ? 1u << 19 : 0) | 0xfu << 24 | row_mask << 28};
}
std::vector<u32> local(u32 opcode, u32 address, u32 data, u32 destination, u32 offset0 = 0, u32 offset1 = 0, u32 data1 = 0) {
  return {0xd8000000 | opcode << 17 | offset1 << 8 | offset0, destination << 24 | data1 << 16 | data << 8 | address};
}

}  // namespace

TEST_CASE("layouts of matrix instructions") {
  for (const Shape &shape : {Shape{0x44, Arch::gfx90a, 32, 2, Element::f32}, Shape{0x45, Arch::gfx90a, 16, 4, Element::f32},
                             Shape{0x4c, Arch::gfx90a, 32, 8, Element::f16}, Shape{0x4d, Arch::gfx90a, 16, 16, Element::f16},
                             Shape{0x66, Arch::gfx90a, 32, 8, Element::bf16}, Shape{0x67, Arch::gfx90a, 16, 16, Element::bf16},
                             Shape{0x6c, Arch::gfx90a, 32, 4, Element::bf16}, Shape{0x6d, Arch::gfx90a, 16, 8, Element::bf16},
                             Shape{0x44, Arch::gfx942, 32, 2, Element::f32}, Shape{0x45, Arch::gfx942, 16, 4, Element::f32},
                             Shape{0x4c, Arch::gfx942, 32, 8, Element::f16}, Shape{0x4d, Arch::gfx942, 16, 16, Element::f16},
                             Shape{0x60, Arch::gfx942, 32, 8, Element::bf16}, Shape{0x61, Arch::gfx942, 16, 16, Element::bf16},
                             Shape{0x37, Arch::gfx950, 32, 16, Element::bf16}, Shape{0x35, Arch::gfx950, 16, 32, Element::bf16},
                             Shape{0x55, Arch::gfx950, 32, 16, Element::f16}, Shape{0x54, Arch::gfx950, 16, 32, Element::f16}})
    check_layout(shape);
}

TEST_CASE("four blocks of 16 x 16: a block a group of lanes") {
  Machine machine(Arch::gfx90a);
  fill(machine, 100, [](int lane) { return as_bits(static_cast<float>(lane % 7)); });
  fill(machine, 110, [](int lane) { return as_bits(static_cast<float>(lane % 5 - 2)); });
  for (int r = 0; r < 16; ++r) fill(machine, 50 + r, [&](int lane) { return as_bits(static_cast<float>(r + lane)); });
  machine.finish(matrix(0x41, 10, 100, 110, 50));
  for (int block = 0; block < 4; ++block)
    for (int row = 0; row < 16; ++row)
      for (int column = 0; column < 16; ++column) {
        const int r = 4 * block + row % 4, lane = column + 16 * (row / 4);
        const float product = static_cast<float>((16 * block + row) % 7) * static_cast<float>((16 * block + column) % 5 - 2);
        CHECK(as_float(machine.wave->v[10 + r][lane]) == product + static_cast<float>(r + lane));
      }
}

TEST_CASE("CDNA 2 flushes denormals of 16-bit matrix factors, CDNA 3 keeps them") {
  for (const Arch arch : {Arch::gfx90a, Arch::gfx942}) {
    Machine machine(arch);
    for (int r : {100, 101, 110, 111}) fill(machine, r, [](int) { return 0u; });
    fill(machine, 100, [](int) { return 0x0001u; });  // the smallest half
    fill(machine, 110, [](int) { return 0x7bffu; });
    for (int r = 50; r < 66; ++r) fill(machine, r, [](int) { return 0u; });
    machine.finish(matrix(0x4c, 10, 100, 110, 50));
    CHECK(as_float(machine.wave->v[10][0]) == (arch == Arch::gfx90a ? 0.f : 2 * 0x1p-24f * 65504.f));
  }
}

TEST_CASE("a matrix result is undefined where a factor's row or column is") {
  Machine machine;
  machine.wave->defined[100] &= ~(u64{1} << 3);   // row 3 of A
  machine.wave->defined[110] &= ~(u64{1} << 36);  // column 4 of B
  machine.finish(matrix(0x60, 10, 100, 110, 50));
  for (int r = 0; r < 16; ++r)
    for (int lane = 0; lane < lane_count; ++lane) {
      const int row = 8 * (r / 4) + 4 * (lane / 32) + r % 4, column = lane % 32;
      CHECK((machine.wave->defined[10 + r] >> lane & 1) == (row != 3 && column != 4));
    }
}

TEST_CASE("DPP across rows") {
  const auto seen = [](u32 control, u32 row_mask = 0xf, bool bound_control = false) {
    Machine machine;
    fill(machine, 2, [](int lane) { return 100u + static_cast<u32>(lane); });
    fill(machine, 20, [](int) { return 7u; });
    machine.finish(move_dpp(control, row_mask, bound_control));
    return std::vector<u32>(machine.wave->v[20], machine.wave->v[20] + lane_count);
  };
  for (int lane = 0; lane < lane_count; ++lane) {
    const u32 l = static_cast<u32>(lane);
    CHECK(seen(0x142, 0xa)[l] == (lane / 16 == 1 ? 115u : lane / 16 == 3 ? 147u : 7u));  // row_bcast:15 into rows 1 and 3
    CHECK(seen(0x143, 0xc)[l] == (lane >= 32 ? 131u : 7u));                              // row_bcast:31 into rows 2 and 3
    CHECK(seen(0x111)[l] == (lane % 16 ? 99u + l : 7u));
    CHECK(seen(0x111, 0xf, true)[l] == (lane % 16 ? 99u + l : 0u));
    CHECK(seen(0x138)[l] == (lane ? 99u + l : 7u));  // wave_shr:1
    CHECK(seen(0x13c)[l] == 100u + (l + 63) % 64);   // wave_ror:1
    CHECK(seen(0x153)[l] == 103u + (l & ~15u));      // row_newbcast:3
  }
}

TEST_CASE("lanes read and written one by one") {
  Machine machine;
  fill(machine, 2, [](int lane) { return 100u + static_cast<u32>(lane); });
  machine.wave->s[4] = 37;
  machine.finish({0xd2890005, v(2) | 4u << 9});  // v_readlane_b32 s5, v2, s4
  CHECK(machine.wave->s[5] == 137);
  machine.wave->set_scalar64(code::exec, u64{0xf} << 40);
  machine.finish({0x7e0c0502});  // v_readfirstlane_b32 s6, v2
  CHECK(machine.wave->s[6] == 140);
  machine.finish({0xd28a0002, 5u | 4u << 9});  // v_writelane_b32 v2, s5, s4: whatever EXEC says
  CHECK(machine.wave->v[2][37] == 137);
  machine.wave->set_scalar64(code::exec, all_lanes);
  fill(machine, 3, [](int) { return 5u; });
  machine.finish({0xd28c0007, 193u | v(3) << 9});  // v_mbcnt_lo_u32_b32 v7, -1, v3
  machine.finish({0xd28d0007, 193u | v(7) << 9});  // v_mbcnt_hi_u32_b32 v7, -1, v7
  for (u32 lane = 0; lane < 64; ++lane) CHECK(machine.wave->v[7][lane] == 5 + lane);
}

TEST_CASE("LDS: words in steps, parts, and the crossbar") {
  Machine machine;
  fill(machine, 1, [](int lane) { return 16u * static_cast<u32>(lane); });
  for (int k = 0; k < 4; ++k) fill(machine, 2 + k, [&](int lane) { return static_cast<u32>(1000 * k + lane); });
  machine.finish(local(0xdf, 1, 2, 0, 32));      // ds_write_b128 at offset 32
  machine.finish(local(0x37, 1, 0, 10, 9, 11));  // ds_read2_b32: words 9 and 11 from there, that is 1 and 3
  for (u32 lane = 0; lane < 64; ++lane) {
    CHECK(machine.wave->v[10][lane] == 1000 + lane);
    CHECK(machine.wave->v[11][lane] == 3000 + lane);
  }
  fill(machine, 4, [](int) { return 0xa1b2c3d4u; });
  machine.finish(local(0x1f, 1, 4, 0, 34));  // ds_write_b16: the upper half of word 0
  machine.finish(local(0x36, 1, 0, 12, 32));
  machine.finish(local(0x39, 1, 0, 13, 35));  // ds_read_i8
  fill(machine, 14, [](int) { return 0x11112222u; });
  machine.finish(local(0x5b, 1, 0, 14, 34));  // ds_read_u16_d16_hi
  for (u32 lane = 0; lane < 64; ++lane) {
    CHECK(machine.wave->v[12][lane] == (0xc3d40000u | lane));
    CHECK(machine.wave->v[13][lane] == 0xffffffc3u);
    CHECK(machine.wave->v[14][lane] == 0xc3d42222u);
  }
  fill(machine, 5, [](int lane) { return 4u * static_cast<u32>(lane ^ 21); });
  fill(machine, 6, [](int lane) { return static_cast<u32>(lane) * 3; });
  machine.finish(local(0x3f, 5, 6, 15));              // ds_bpermute_b32: pulls
  machine.finish(local(0x3e, 5, 6, 16));              // ds_permute_b32: pushes
  machine.finish(local(0x3d, 6, 0, 17, 0x1f, 0x04));  // ds_swizzle_b32: lane ^ 1
  for (u32 lane = 0; lane < 64; ++lane) {
    CHECK(machine.wave->v[15][lane] == (lane ^ 21) * 3);
    CHECK(machine.wave->v[16][lane] == (lane ^ 21) * 3);
    CHECK(machine.wave->v[17][lane] == (lane ^ 1) * 3);
  }
}

TEST_CASE("LDS: races, bounds and bytes that nothing has written") {
  LocalMemory memory;
  memory.begin(64, true);
  u32 address[64] = {}, values[64] = {}, loaded[4][64];
  const u32 *from[1] = {values};
  u64 undefined = 0;
  const auto write = [&](int wave, u32 at) { address[0] = at, memory.write(wave, address, 1, 1, 4, from, 0); };
  const auto read = [&](int wave, u32 at) { address[0] = at, memory.read(wave, address, 1, 1, 4, loaded, undefined); };
  read(0, 0);
  CHECK(undefined == 1);
  memory.barrier();
  write(1, 0);
  read(1, 0);
  CHECK_THROWS_WITH_AS(read(2, 0), doctest::Contains("reads what wave 1 wrote"), Trap);
  CHECK_THROWS_WITH_AS(write(2, 0), doctest::Contains("writes what wave 1 wrote"), Trap);
  memory.barrier();
  read(2, 0);
  CHECK_THROWS_WITH_AS(write(1, 0), doctest::Contains("writes what wave 2 read"), Trap);
  memory.barrier();
  memory.write_part(1, 8, 2, 5, true);  // waves may have the halves of a word
  memory.write_part(2, 10, 2, 5, true);
  bool defined = true;
  CHECK_THROWS_AS(memory.read_part(1, 10, 1, defined), Trap);
  CHECK_THROWS_AS(read(1, 8), Trap);
  memory.barrier();
  undefined = 0;
  read(1, 8);
  CHECK(undefined == 0);
  memory.read_part(0, 12, 1, defined);
  CHECK_FALSE(defined);
  memory.barrier();
  write(0, 16);
  memory.barrier();
  memory.atomic(1, 16) += 1;
  memory.atomic(2, 16) += 1;  // atomics may meet
  CHECK_THROWS_WITH_AS(read(3, 16), doctest::Contains("an atomic"), Trap);
  CHECK_THROWS_WITH_AS(read(0, 64), doctest::Contains("out of bounds"), Trap);
  CHECK_THROWS_WITH_AS(read(0, 2), doctest::Contains("no multiple of 4"), Trap);
  for (int i = 0; i < 5000; ++i) memory.barrier();  // the interval's number comes round
  write(2, 16);
}
