// Vector instructions that look across lanes, read or write masks, or move between register files.
#include <algorithm>

#include "conformance/hip_emulator/lane_rows.h"

namespace lamina::hip_emulator {
namespace {

using enum Format;

void run_select(Wave &wave, const Instruction &i) {
  Scratch scratch[2], result;
  u64 undefined0 = 0, undefined1 = 0, known = all_lanes, active = wave.exec();
  const u32 *a = values(wave, i.source[0], scratch[0], undefined0), *b = values(wave, i.source[1], scratch[1], undefined1);
  if (i.has_dpp) {
    active = permute_lanes(wave, i.dpp, a, scratch[0].lanes, undefined0);
    a = scratch[0].lanes;
  }
  const u64 mask = scalar_value64(wave, i.mask_source, known);
  for (int half = 0; half < 2; ++half) {
    const u32 chosen = static_cast<u32>(mask >> (32 * half));
    for (int lane = 0; lane < 32; ++lane) {
      const u32 keep = (chosen >> lane & 1) - 1;
      result.lanes[32 * half + lane] = (a[32 * half + lane] & keep) | (b[32 * half + lane] & ~keep);
    }
  }
  commit(wave, i.destination.index, result.lanes, active, ((mask & undefined1) | (~mask & undefined0)) | ~known);
}

// Adds with a carry in, `detail`: 0 a+b, 1 a-b, 2 b-a; +4 where a carry comes in.
void run_carry(Wave &wave, const Instruction &i) {
  Scratch scratch[2], result;
  u64 undefined = 0, known = all_lanes, carried = 0;
  const u32 *a = values(wave, i.source[0], scratch[0], undefined), *b = values(wave, i.source[1], scratch[1], undefined);
  const u64 carry = i.row->detail & 4 ? scalar_value64(wave, i.mask_source, known) : 0;
  undefined |= ~known;
  if ((i.row->detail & 3) == 2) std::swap(a, b);
  const bool adds = (i.row->detail & 3) == 0;
  for (int lane = 0; lane < lane_count; ++lane) {
    const u64 in = carry >> lane & 1;
    const u64 sum = adds ? u64{a[lane]} + b[lane] + in : u64{a[lane]} - b[lane] - in;
    result.lanes[lane] = static_cast<u32>(sum);
    carried |= (sum >> 32 & 1) << lane;
  }
  const u64 exec = wave.exec();
  commit(wave, i.destination.index, result.lanes, exec, undefined);
  write_scalar64(wave, i.mask_destination, carried & exec, ~(undefined & exec));
}

// a * b + c in 64 bits; the carry out of that is written too.
template <class Narrow, class Wide>
void run_wide_multiply_add(Wave &wave, const Instruction &i) {
  Scratch scratch[2], low, high;
  WideScratch sum;
  u64 undefined = 0, undefined_low = 0, carried = 0;
  const u32 *a = values(wave, i.source[0], scratch[0], undefined), *b = values(wave, i.source[1], scratch[1], undefined);
  undefined_low = undefined;
  const u64 *c = wide_values(wave, i.source[2], sum, undefined, undefined_low);
  for (int lane = 0; lane < lane_count; ++lane) {
    const u64 product = static_cast<u64>(Wide{static_cast<Narrow>(a[lane])} * Wide{static_cast<Narrow>(b[lane])});
    const u64 total = product + c[lane];
    carried |= u64{total < product} << lane;
    low.lanes[lane] = static_cast<u32>(total), high.lanes[lane] = static_cast<u32>(total >> 32);
  }
  const u64 exec = wave.exec();
  commit(wave, i.destination.index, low.lanes, exec, undefined_low);
  commit(wave, i.destination.index + 1, high.lanes, exec, undefined);
  write_scalar64(wave, i.mask_destination, carried & exec, ~(undefined & exec));
}

u32 lane_value(Wave &wave, const Operand &operand, int lane, u32 &known) {
  if (operand.kind != Operand::vector) return scalar_value(wave, operand, known);
  if (!(wave.defined[operand.index] >> lane & 1)) known = 0;
  return wave.v[operand.index][lane];
}

void run_read_first_lane(Wave &wave, const Instruction &i) {
  u32 known = ~0u;
  const u64 exec = wave.exec();
  const u32 value = lane_value(wave, i.source[0], exec ? std::countr_zero(exec) : 0, known);
  write_scalar(wave, i.destination, value, known);
}

void run_read_lane(Wave &wave, const Instruction &i) {
  u32 known = ~0u;
  const u32 value = lane_value(wave, i.source[0], static_cast<int>(sure(wave, i.source[1]) & 63), known);
  write_scalar(wave, i.destination, value, known);
}

void run_write_lane(Wave &wave, const Instruction &i) {
  u32 known = ~0u;
  const u32 value = scalar_value(wave, i.source[0], known), lane = sure(wave, i.source[1]) & 63;
  wave.v[i.destination.index][lane] = value;
  wave.define(i.destination.index, u64{1} << lane, known == ~0u ? 0 : all_lanes);
}

// How many lanes below this one have their bit set: `detail` says in which half of the mask.
void run_count_below(Wave &wave, const Instruction &i) {
  Scratch scratch[2], result;
  u64 undefined = 0;
  const u32 *mask = values(wave, i.source[0], scratch[0], undefined), *add = values(wave, i.source[1], scratch[1], undefined);
  for (int lane = 0; lane < lane_count; ++lane) {
    const int below = std::clamp(lane - (i.row->detail ? 32 : 0), 0, 32);
    result.lanes[lane] = add[lane] + static_cast<u32>(std::popcount(mask[lane] & static_cast<u32>((u64{1} << below) - 1)));
  }
  commit(wave, i.destination.index, result.lanes, wave.exec(), undefined);
}

void run_swap(Wave &wave, const Instruction &i) {
  Scratch first, second;
  const int a = i.destination.index, b = i.source[0].index;
  const u64 undefined_a = ~wave.defined[a], undefined_b = ~wave.defined[b];
  std::memcpy(first.lanes, wave.v[a], sizeof(Lanes));
  std::memcpy(second.lanes, wave.v[b], sizeof(Lanes));
  commit(wave, a, second.lanes, wave.exec(), undefined_b);
  commit(wave, b, first.lanes, wave.exec(), undefined_a);
}

// Odd rows (of 16 or 32 lanes) of the first register change places with even rows of the second.
void run_swap_rows(Wave &wave, const Instruction &i) {
  const int a = i.destination.index, b = i.source[0].index, rows = i.row->detail;
  u64 &known_a = wave.defined[a], &known_b = wave.defined[b];
  const u64 exec = wave.exec();
  for (int lane = 0; lane < lane_count; ++lane) {
    if (lane / rows % 2 == 0) continue;
    const int other = lane - rows;
    if (!(exec >> lane & 1) || !(exec >> other & 1)) throw Trap("rows are swapped while EXEC turns lanes off");
    std::swap(wave.v[a][lane], wave.v[b][other]);
    const u64 bit_a = known_a >> lane & 1, bit_b = known_b >> other & 1;
    known_a = (known_a & ~(u64{1} << lane)) | bit_b << lane;
    known_b = (known_b & ~(u64{1} << other)) | bit_a << other;
  }
}

int exponent(u32 bits) { return static_cast<int>(bits >> 23 & 0xff); }
bool denormal(float x) { return x != 0 && exponent(as_bits(x)) == 0; }

// V_DIV_SCALE_F32: brings numerator or denominator (whichever the first source is) to where a quotient can be refined; VCC says that V_DIV_FMAS
// has to bring it back.  Sources: which, denominator, numerator.
void run_scale_for_division(Wave &wave, const Instruction &i) {
  Scratch scratch[3], result;
  u64 undefined = 0, rescale = 0;
  const u32 *which = values(wave, i.source[0], scratch[0], undefined), *below = values(wave, i.source[1], scratch[1], undefined),
            *above = values(wave, i.source[2], scratch[2], undefined);
  for (int lane = 0; lane < lane_count; ++lane) {
    const float value = as_float(which[lane]), denominator = as_float(below[lane]), numerator = as_float(above[lane]);
    const bool is_denominator = value == denominator, is_numerator = value == numerator;
    float scaled = value;
    bool again = false;
    if (numerator == 0 || denominator == 0) scaled = std::numeric_limits<float>::quiet_NaN();
    else if (exponent(above[lane]) - exponent(below[lane]) >= 96) again = true, scaled = is_denominator ? value * 0x1p64f : value;
    else if (denormal(denominator)) scaled = value * 0x1p64f;
    else if (denormal(1.f / denominator) && denormal(numerator / denominator))
      again = true, scaled = is_denominator ? value * 0x1p-64f : value;
    else if (denormal(1.f / denominator)) scaled = value * 0x1p-64f;
    else if (denormal(numerator / denominator)) again = true, scaled = is_numerator ? value * 0x1p64f : value;
    else if (exponent(above[lane]) <= 23) scaled = value * 0x1p64f;
    result.lanes[lane] = as_bits(scaled);
    rescale |= u64{again} << lane;
  }
  const u64 exec = wave.exec();
  commit(wave, i.destination.index, result.lanes, exec, undefined);
  write_scalar64(wave, i.mask_destination, rescale & exec, ~(undefined & exec));
}

// V_DIV_FMAS_F32: a step of refinement, brought back where VCC says so.
void run_refine_quotient(Wave &wave, const Instruction &i) {
  Scratch scratch[3], result;
  u64 undefined = 0;
  const u32 *a = values(wave, i.source[0], scratch[0], undefined), *b = values(wave, i.source[1], scratch[1], undefined),
            *c = values(wave, i.source[2], scratch[2], undefined);
  const u64 rescale = wave.vcc();
  undefined |= ~wave.scalar64_defined(code::vcc);
  for (int lane = 0; lane < lane_count; ++lane) {
    const float near = std::fma(as_float(a[lane]), as_float(b[lane]), as_float(c[lane]));
    const double back = exponent(c[lane]) > 127 ? 0x1p64 : 0x1p-64;
    // The hardware rounds once: the sum is formed with more bits.
    const double exact = double(as_float(a[lane])) * double(as_float(b[lane])) + double(as_float(c[lane]));
    result.lanes[lane] = as_bits(rescale >> lane & 1 ? static_cast<float>(exact * back) : near);
  }
  commit(wave, i.destination.index, result.lanes, wave.exec(), undefined);
}

// Each bit of the result is looked up by the sources' bits: the first is the highest of the index.
void run_truth_table(Wave &wave, const Instruction &i) {
  Scratch scratch[3], result{};
  u64 undefined = 0;
  const u32 *a = values(wave, i.source[0], scratch[0], undefined), *b = values(wave, i.source[1], scratch[1], undefined),
            *c = values(wave, i.source[2], scratch[2], undefined);
  for (int index = 0; index < 8; ++index) {
    if (!(i.immediate >> index & 1)) continue;
    const u32 not_a = index & 4 ? 0 : ~0u, not_b = index & 2 ? 0 : ~0u, not_c = index & 1 ? 0 : ~0u;
    for (int lane = 0; lane < lane_count; ++lane) result.lanes[lane] |= (a[lane] ^ not_a) & (b[lane] ^ not_b) & (c[lane] ^ not_c);
  }
  commit(wave, i.destination.index, result.lanes, wave.exec(), undefined);
}

void run_nothing(Wave &, const Instruction &) {}

constexpr std::array<Type, 3> words{Type::b32, Type::b32, Type::none};
constexpr std::array<Type, 3> wide_sum{Type::b32, Type::b32, Type::b64};

constexpr Row rows[] = {
    {vop1, 0x00, "v_nop", run_nothing},
    {vop2, 0x00, "v_cndmask_b32", run_select, Type::b32, {Type::f32, Type::f32}, Layout::selects},
    {vop2, 0x19, "v_add_co_u32", run_carry, Type::b32, words, Layout::carries, nullptr, 0},
    {vop2, 0x1a, "v_sub_co_u32", run_carry, Type::b32, words, Layout::carries, nullptr, 1},
    {vop2, 0x1b, "v_subrev_co_u32", run_carry, Type::b32, words, Layout::carries, nullptr, 2},
    {vop2, 0x1c, "v_addc_co_u32", run_carry, Type::b32, words, Layout::carries_on, nullptr, 4},
    {vop2, 0x1d, "v_subb_co_u32", run_carry, Type::b32, words, Layout::carries_on, nullptr, 5},
    {vop2, 0x1e, "v_subbrev_co_u32", run_carry, Type::b32, words, Layout::carries_on, nullptr, 6},
    {vop3, 0x1e8, "v_mad_u64_u32", run_wide_multiply_add<u32, u64>, Type::b64, wide_sum, Layout::carries},
    {vop3, 0x1e9, "v_mad_i64_i32", run_wide_multiply_add<i32, i64>, Type::b64, wide_sum, Layout::carries},
    {vop3, 0x1e0, "v_div_scale_f32", run_scale_for_division, Type::f32, {Type::f32, Type::f32, Type::f32}, Layout::carries},
    {vop3, 0x1e2, "v_div_fmas_f32", run_refine_quotient, Type::f32, {Type::f32, Type::f32, Type::f32}},
    {vop1, 0x02, "v_readfirstlane_b32", run_read_first_lane, Type::b32, {Type::b32}, Layout::reads_lane},
    {vop3, 0x289, "v_readlane_b32", run_read_lane, Type::b32, words, Layout::reads_lane},
    {vop3, 0x28a, "v_writelane_b32", run_write_lane, Type::b32, words},
    {vop3, 0x28c, "v_mbcnt_lo_u32_b32", run_count_below, Type::b32, words, Layout::plain, nullptr, 0},
    {vop3, 0x28d, "v_mbcnt_hi_u32_b32", run_count_below, Type::b32, words, Layout::plain, nullptr, 1},
    {vop1, 0x51, "v_swap_b32", run_swap, Type::b32, {Type::b32}, Layout::swaps},
    lanes<[](u32 a) { return a; }>(vop1, 0x52, "v_accvgpr_mov_b32"),
    Row{vop1, 0x59, "v_permlane16_swap_b32", run_swap_rows, Type::b32, {Type::b32}, Layout::swaps, nullptr, 16}.on(Arch::gfx950),
    Row{vop1, 0x5a, "v_permlane32_swap_b32", run_swap_rows, Type::b32, {Type::b32}, Layout::swaps, nullptr, 32}.on(Arch::gfx950),
    Row{vop3, 0x234, "v_bitop3_b32", run_truth_table, Type::b32, {Type::b32, Type::b32, Type::b32}, Layout::truth_table}.on(Arch::gfx950),
    lanes<[](u32 a) { return a; }>(vop3p, 0x58, "v_accvgpr_read_b32"),
    lanes<[](u32 a) { return a; }>(vop3p, 0x59, "v_accvgpr_write_b32"),
};

}  // namespace

std::span<const Row> lane_rows() { return rows; }

}  // namespace lamina::hip_emulator
