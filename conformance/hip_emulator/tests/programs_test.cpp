// Instructions that mean something together: quotients as compilers write them, branches, and what s_waitcnt waits for.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "conformance/hip_emulator/tests/machine.h"

using namespace lamina::hip_emulator;

namespace {

// v4 = v2 / v3, as LLVM expands an exact division.
const std::vector<std::vector<u32>> division = {
    {0xd1e0040a, 0x040a0703},  // v_div_scale_f32 v10, s[4:5], v3, v3, v2
    {0xd1e06a0b, 0x040a0702},  // v_div_scale_f32 v11, vcc, v2, v3, v2
    {0x7e18450a},              // v_rcp_f32_e32 v12, v10
    {0xd1cb000d, 0x23ca190a},  // v_fma_f32 v13, -v10, v12, 1.0
    {0xd1cb000c, 0x0432190d},  // v_fma_f32 v12, v13, v12, v12
    {0x0a1c190b},              // v_mul_f32_e32 v14, v11, v12
    {0xd1cb000f, 0x242e1d0a},  // v_fma_f32 v15, -v10, v14, v11
    {0xd1cb000e, 0x043a190f},  // v_fma_f32 v14, v15, v12, v14
    {0xd1cb000f, 0x242e1d0a},  // v_fma_f32 v15, -v10, v14, v11
    {0xd1e2000f, 0x043a190f},  // v_div_fmas_f32 v15, v15, v12, v14
    {0xd1de0004, 0x040a070f},  // v_div_fixup_f32 v4, v15, v3, v2
};

void check_quotients(const std::vector<float> &numerators, const std::vector<float> &denominators) {
  Machine machine;
  for (size_t lane = 0; lane < lane_count; ++lane) {
    machine.wave->v[2][lane] = as_bits(numerators[lane % numerators.size()]);
    machine.wave->v[3][lane] = as_bits(denominators[lane % denominators.size()]);
  }
  machine.run(division);
  for (size_t lane = 0; lane < lane_count; ++lane) {
    const float a = numerators[lane % numerators.size()], b = denominators[lane % denominators.size()];
    const float wanted = a / b, found = as_float(machine.wave->v[4][lane]);
    CHECK_MESSAGE((as_bits(found) == as_bits(wanted) || (found != found && wanted != wanted)), a << " / " << b << " gives " << found);
  }
}

}  // namespace

TEST_CASE("quotients are rounded right") {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> mantissa(1.0f, 2.0f);
  std::uniform_int_distribution<int> exponent(-120, 120), sign(0, 1);
  for (int round = 0; round < 500; ++round) {
    std::vector<float> a, b;
    for (int lane = 0; lane < lane_count; ++lane)
      for (std::vector<float> *to : {&a, &b}) to->push_back((sign(random) ? -1 : 1) * std::ldexp(mantissa(random), exponent(random) / 2));
    check_quotients(a, b);
  }
}

TEST_CASE("quotients of zeros, infinities, NaN, and numbers at the ends of the range") {
  const float infinity = INFINITY, nan = NAN;
  std::vector<float> a, b;
  const std::vector<float> all = {0.0f, -0.0f,     1.0f,      -1.0f,       infinity,        -infinity,
                                  nan,  0x1p-149f, 0x1p-126f, 0x1.8p-127f, 0x1.fffffep127f, 3.0f};
  for (const float x : all)
    for (const float y : all) a.push_back(x), b.push_back(y);
  for (size_t from = 0; from < a.size(); from += lane_count) {
    const size_t end = std::min(a.size(), from + lane_count);
    check_quotients({a.begin() + static_cast<long>(from), a.begin() + static_cast<long>(end)},
                    {b.begin() + static_cast<long>(from), b.begin() + static_cast<long>(end)});
  }
}

TEST_CASE("branches: on SCC, VCC and EXEC, zero or not") {
  // Opcode, and whether it is taken with (SCC, VCC, EXEC) = (0, 0, 0), (1, 0, 0), (0, 5, 0), (0, 0, 5).
  struct Branch {
    u32 opcode;
    bool taken[4];
  };
  for (const Branch &branch :
       {Branch{0x02, {true, true, true, true}}, Branch{0x04, {true, false, true, true}}, Branch{0x05, {false, true, false, false}},
        Branch{0x06, {true, true, false, true}}, Branch{0x07, {false, false, true, false}}, Branch{0x08, {true, true, true, false}},
        Branch{0x09, {false, false, false, true}}})
    for (int which = 0; which < 4; ++which) {
      CAPTURE(branch.opcode);
      CAPTURE(which);
      Machine machine;
      machine.wave->scc = which == 1;
      machine.wave->set_scalar64(code::vcc, which == 2 ? 5 : 0);
      machine.wave->set_scalar64(code::exec, which == 3 ? u64{5} << 40 : 0);
      machine.wave->next = 3;
      machine.run({{0xbf800000 | branch.opcode << 16}}, 77);
      CHECK(machine.wave->next == (branch.taken[which] ? 77u : 3u));
    }
}

TEST_CASE("a branch on what nothing has written is a fault") {
  Machine machine;
  machine.wave->scc_defined = false;
  CHECK_THROWS_WITH_AS(machine.run({{0xbf840000}}), doctest::Contains("SCC"), Trap);
  machine.wave->scalar_defined[code::vcc + 1] = 0x7fffffff;
  CHECK_THROWS_WITH_AS(machine.run({{0xbf860000}}), doctest::Contains("VCC"), Trap);
}

TEST_CASE("s_waitcnt waits for the oldest: a count of what may be left") {
  Machine machine;
  for (u32 lane = 0; lane < 64; ++lane) machine.wave->v[1][lane] = 4 * lane;
  machine.run({{0xd81a0000, 0x00000101}, {0xd86c0000, 0x02000001}, {0xd86c0000, 0x03000001}});  // ds_write_b32, ds_read_b32 v2, v3
  Program program;
  const Instruction first = decode_instruction(std::vector<u32>{0x7e080302}, 0, Arch::gfx942, program),  // v_mov_b32 v4, v2
      second = decode_instruction(std::vector<u32>{0x7e080303}, 0, Arch::gfx942, program);               // v_mov_b32 v4, v3
  CHECK_THROWS_AS(machine.wave->outstanding.check(first), Trap);
  machine.run({{0xbf8cc17f}});  // s_waitcnt lgkmcnt(1)
  machine.wave->outstanding.check(first);
  CHECK_THROWS_AS(machine.wave->outstanding.check(second), Trap);
  machine.run({{0xbf8cc07f}});  // s_waitcnt lgkmcnt(0)
  machine.wave->outstanding.check(second);
  CHECK(machine.wave->v[3][9] == 36);
}
