// Vector instructions with two values an operand: pairs of half registers, pairs of f32 registers, and v_fma_mix.
#include <algorithm>

#include "conformance/hip_emulator/lane_rows.h"

namespace lamina::hip_emulator {
namespace {

using enum Format;

struct Pair {
  u32 low, high;
};

// Half registers: the function runs once for the low results and once for the high ones, on sources that hold the chosen half.
void run_halves(Wave &wave, const Instruction &i) {
  Scratch given[3], chosen[3], part[2], result;
  u64 undefined = 0;
  const int count = i.row->sources();
  const u32 *from[3] = {};
  for (int k = 0; k < count; ++k) from[k] = raw_values(wave, i.source[k], 0, given[k], undefined);
  for (int high = 0; high < 2; ++high) {
    const void *sources[3] = {};
    for (int k = 0; k < count; ++k) {
      const Operand &operand = i.source[k];
      const int shift = (high ? operand.select_high : operand.select) ? 16 : 0;
      const u32 flip = (high ? operand.negative_high : operand.negative) ? 0x8000 : 0;
      for (int lane = 0; lane < lane_count; ++lane) chosen[k].lanes[lane] = (from[k][lane] >> shift & 0xffff) ^ flip;
      sources[k] = chosen[k].lanes;
    }
    i.function(part[high].lanes, sources);
  }
  if (i.clamp)
    for (Scratch &half : part)
      for (u32 &lane : half.lanes) lane = float_to_half(minimum(maximum(half_to_float(lane), 0.f), 1.f));
  for (int lane = 0; lane < lane_count; ++lane) result.lanes[lane] = (part[0].lanes[lane] & 0xffff) | part[1].lanes[lane] << 16;
  commit(wave, i.destination.index, result.lanes, wave.exec(), undefined);
}

// Pairs of registers.
void run_pairs(Wave &wave, const Instruction &i) {
  Scratch given[3], chosen[3], part[2];
  u64 undefined[2] = {};
  for (int high = 0; high < 2; ++high) {
    const void *sources[3] = {};
    for (int k = 0; k < i.row->sources(); ++k) {
      const Operand &operand = i.source[k];
      const bool second = high ? operand.select_high : operand.select;
      const u32 flip = (high ? operand.negative_high : operand.negative) ? 0x80000000 : 0;
      const u32 *from = raw_values(wave, operand, second && operand.dwords > 1 ? 1 : 0, given[k], undefined[high]);
      if (flip) {
        for (int lane = 0; lane < lane_count; ++lane) chosen[k].lanes[lane] = from[lane] ^ flip;
        from = chosen[k].lanes;
      }
      sources[k] = from;
    }
    i.function(part[high].lanes, sources);
  }
  if (i.clamp)
    for (Scratch &half : part)
      for (u32 &lane : half.lanes) lane = as_bits(minimum(maximum(as_float(lane), 0.f), 1.f));
  for (int high = 0; high < 2; ++high) commit(wave, i.destination.index + high, part[high].lanes, wave.exec(), undefined[high]);
}

// V_PK_MOV_B32: the first source gives the low register, the second the high one; op_sel chooses which of each pair.
void run_move_pair(Wave &wave, const Instruction &i) {
  Scratch given[2], part[2];
  u64 undefined[2] = {};
  for (int k = 0; k < 2; ++k) {
    const Operand &operand = i.source[k];
    std::memcpy(part[k].lanes, raw_values(wave, operand, operand.select && operand.dwords > 1 ? 1 : 0, given[k], undefined[k]),
                sizeof(Lanes));
  }
  for (int k = 0; k < 2; ++k) commit(wave, i.destination.index + k, part[k].lanes, wave.exec(), undefined[k]);
}

// V_FMA_MIX: op_sel_hi makes a source a half, op_sel says which; `detail` 0 gives f32, 1 the low half, 2 the high half.
void run_mixed(Wave &wave, const Instruction &i) {
  Scratch given[3], result;
  alignas(64) float value[3][lane_count];
  u64 undefined = 0;
  for (int k = 0; k < 3; ++k) {
    const Operand &operand = i.source[k];
    const u32 *from = raw_values(wave, operand, 0, given[k], undefined);
    const int shift = operand.select ? 16 : 0;
    for (int lane = 0; lane < lane_count; ++lane) {
      float x = operand.select_high ? half_to_float(from[lane] >> shift & 0xffff) : as_float(from[lane]);
      if (operand.negative_high) x = std::fabs(x);  // here neg_hi is the absolute value
      value[k][lane] = operand.negative ? -x : x;
    }
  }
  const u32 *held = wave.v[i.destination.index];
  for (int lane = 0; lane < lane_count; ++lane) {
    float sum = std::fma(value[0][lane], value[1][lane], value[2][lane]);
    const double exact = double(value[0][lane]) * value[1][lane] + value[2][lane];
    if (i.clamp) sum = minimum(maximum(sum, 0.f), 1.f);
    if (i.row->detail == 0) {
      result.lanes[lane] = as_bits(sum);
    } else {
      const u32 half = float_to_half(i.clamp ? sum : to_odd(exact));
      result.lanes[lane] = i.row->detail == 1 ? (held[lane] & 0xffff0000) | half : (held[lane] & 0xffff) | half << 16;
    }
  }
  commit(wave, i.destination.index, result.lanes, wave.exec(), undefined);
}

template <auto f>
constexpr Row halves(u16 opcode, const char *name) {
  return {vop3p, opcode, name, run_halves, Type::f16x2, SignatureOf<f>::sources, Layout::packed, SignatureOf<f>::template apply<f>};
}
template <auto f>
constexpr Row pairs(u16 opcode, const char *name) {
  std::array<Type, 3> sources = SignatureOf<f>::sources;
  for (Type &type : sources) type = type == Type::none ? Type::none : Type::f32x2;
  return {vop3p, opcode, name, run_pairs, Type::f32x2, sources, Layout::packed, SignatureOf<f>::template apply<f>};
}

constexpr std::array<Type, 3> mixed{Type::f16x2, Type::f16x2, Type::f16x2};

constexpr Row rows[] = {
    halves<[](i16 a, i16 b, i16 c) { return static_cast<i16>(a * b + c); }>(0x00, "v_pk_mad_i16"),
    halves<[](u16 a, u16 b) { return static_cast<u16>(u32{a} * b); }>(0x01, "v_pk_mul_lo_u16"),
    halves<[](i16 a, i16 b) { return static_cast<i16>(a + b); }>(0x02, "v_pk_add_i16"),
    halves<[](i16 a, i16 b) { return static_cast<i16>(a - b); }>(0x03, "v_pk_sub_i16"),
    halves<[](u16 a, u16 b) { return static_cast<u16>(b << (a & 15)); }>(0x04, "v_pk_lshlrev_b16"),
    halves<[](u16 a, u16 b) { return static_cast<u16>((b >> (a & 15))); }>(0x05, "v_pk_lshrrev_b16"),
    halves<[](u16 a, i16 b) { return static_cast<i16>((b >> (a & 15))); }>(0x06, "v_pk_ashrrev_i16"),
    halves<[](i16 a, i16 b) { return std::max(a, b); }>(0x07, "v_pk_max_i16"),
    halves<[](i16 a, i16 b) { return std::min(a, b); }>(0x08, "v_pk_min_i16"),
    halves<[](u16 a, u16 b, u16 c) { return static_cast<u16>(u32{a} * b + c); }>(0x09, "v_pk_mad_u16"),
    halves<[](u16 a, u16 b) { return static_cast<u16>(a + b); }>(0x0a, "v_pk_add_u16"),
    halves<[](u16 a, u16 b) { return static_cast<u16>(a - b); }>(0x0b, "v_pk_sub_u16"),
    halves<[](u16 a, u16 b) { return std::max(a, b); }>(0x0c, "v_pk_max_u16"),
    halves<[](u16 a, u16 b) { return std::min(a, b); }>(0x0d, "v_pk_min_u16"),
    halves<[](half a, half b, half c) { return half(to_odd(double(a.value) * b.value + double(c.value))); }>(0x0e, "v_pk_fma_f16"),
    halves<[](half a, half b) { return half(a + b); }>(0x0f, "v_pk_add_f16"),
    halves<[](half a, half b) { return half(a * b); }>(0x10, "v_pk_mul_f16"),
    halves<[](half a, half b) { return half(minimum(a, b)); }>(0x11, "v_pk_min_f16"),
    halves<[](half a, half b) { return half(maximum(a, b)); }>(0x12, "v_pk_max_f16"),
    {vop3p, 0x20, "v_fma_mix_f32", run_mixed, Type::f32, mixed, Layout::mixed, nullptr, 0},
    {vop3p, 0x21, "v_fma_mixlo_f16", run_mixed, Type::f16, mixed, Layout::mixed, nullptr, 1},
    {vop3p, 0x22, "v_fma_mixhi_f16", run_mixed, Type::f16, mixed, Layout::mixed, nullptr, 2},
    pairs<[](float a, float b, float c) { return std::fma(a, b, c); }>(0x30, "v_pk_fma_f32"),
    pairs<[](float a, float b) { return a * b; }>(0x31, "v_pk_mul_f32"),
    pairs<[](float a, float b) { return a + b; }>(0x32, "v_pk_add_f32"),
    {vop3p, 0x33, "v_pk_mov_b32", run_move_pair, Type::f32x2, {Type::f32x2, Type::f32x2}, Layout::packed},
};

}  // namespace

std::span<const Row> packed_rows() { return rows; }

}  // namespace lamina::hip_emulator
