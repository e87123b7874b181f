// The scalar ALU but for compares, one line an instruction.
#include <algorithm>

#include "conformance/hip_emulator/scalar_rows.h"

namespace lamina::hip_emulator {
namespace {

using enum Format;

// Bitwise operations know each bit of their result: `f` gets values and which bits are known, and returns both.
struct Bits {
  u64 value, known;
};
constexpr Bits conjunction(Bits a, Bits b) {
  return {a.value & b.value, (a.known & b.known) | (a.known & ~a.value) | (b.known & ~b.value)};
}
constexpr Bits inverse(Bits a) { return {~a.value, a.known}; }
constexpr Bits disjunction(Bits a, Bits b) { return inverse(conjunction(inverse(a), inverse(b))); }
constexpr Bits difference(Bits a, Bits b) { return {a.value ^ b.value, a.known & b.known}; }

template <bool wide>
Bits bits_of(const Wave &wave, const Operand &operand) {
  Bits bits{0, all_lanes};
  if constexpr (wide) {
    bits.value = scalar_value64(wave, operand, bits.known);
  } else {
    u32 known = ~0u;
    bits.value = scalar_value(wave, operand, known);
    bits.known = join(known, ~0u);
  }
  return bits;
}
template <bool wide>
void write_bits(Wave &wave, const Operand &operand, Bits bits) {
  if constexpr (wide) write_scalar64(wave, operand, bits.value, bits.known);
  else write_scalar(wave, operand, static_cast<u32>(bits.value), static_cast<u32>(bits.known));
}
template <bool wide>
void set_condition(Wave &wave, Bits result) {
  const u64 mask = wide ? all_lanes : 0xffffffff;
  wave.scc = (result.value & mask) != 0;
  wave.scc_defined = (result.value & result.known & mask) != 0 || (~result.known & mask) == 0;
}

template <auto f, bool wide>
void run_bitwise(Wave &wave, const Instruction &i) {
  const Bits result = f(bits_of<wide>(wave, i.source[0]), bits_of<wide>(wave, i.source[1]));
  write_bits<wide>(wave, i.destination, result);
  set_condition<wide>(wave, result);
}
template <bool wide, bool inverts>
void run_move(Wave &wave, const Instruction &i) {
  Bits result = bits_of<wide>(wave, i.source[0]);
  if constexpr (inverts) result = inverse(result);
  write_bits<wide>(wave, i.destination, result);
  if constexpr (inverts) set_condition<wide>(wave, result);
}
// One bit of the destination, which keeps the others.
template <bool wide, bool value>
void run_set_bit(Wave &wave, const Instruction &i) {
  const Bits number = bits_of<false>(wave, i.source[0]);
  Bits bits = bits_of<wide>(wave, i.destination);
  const u64 bit = u64{1} << (number.value & (wide ? 63 : 31));
  bits.value = value ? bits.value | bit : bits.value & ~bit;
  bits.known = ~static_cast<u32>(number.known) ? 0 : bits.known | bit;
  write_bits<wide>(wave, i.destination, bits);
}
template <bool wide>
void run_choose(Wave &wave, const Instruction &i) {
  Bits result = bits_of<wide>(wave, i.source[wave.scc ? 0 : 1]);
  if (!wave.scc_defined) result.known = 0;
  write_bits<wide>(wave, i.destination, result);
}
// EXEC = f(source, EXEC); the destination gets what EXEC was.  With `writes_back` the destination gets the new EXEC too.
template <auto f, bool writes_back = false>
void run_save_exec(Wave &wave, const Instruction &i) {
  const u64 before = wave.exec();
  const Bits result = f(bits_of<true>(wave, i.source[0]), Bits{before, all_lanes});
  if (result.known != all_lanes) throw Trap("EXEC is set from registers that nothing has written");
  write_scalar64(wave, i.destination, writes_back ? result.value : before, all_lanes);
  wave.set_scalar64(code::exec, result.value);
  set_condition<true>(wave, result);
}

template <auto f>
constexpr Row bitwise32(u16 opcode, const char *name) {
  return {sop2, opcode, name, run_bitwise<f, false>, Type::b32, {Type::b32, Type::b32}};
}
template <auto f>
constexpr Row bitwise64(u16 opcode, const char *name) {
  return {sop2, opcode, name, run_bitwise<f, true>, Type::b64, {Type::b64, Type::b64}};
}
template <auto f, bool writes_back = false>
constexpr Row saves_exec(u16 opcode, const char *name) {
  return {sop1, opcode, name, run_save_exec<f, writes_back>, Type::b64, {Type::b64}};
}

constexpr auto and_bits = [](Bits a, Bits b) { return conjunction(a, b); };
constexpr auto or_bits = [](Bits a, Bits b) { return disjunction(a, b); };
constexpr auto xor_bits = [](Bits a, Bits b) { return difference(a, b); };
constexpr auto and_not = [](Bits a, Bits b) { return conjunction(a, inverse(b)); };
constexpr auto or_not = [](Bits a, Bits b) { return disjunction(a, inverse(b)); };
constexpr auto not_and = [](Bits a, Bits b) { return inverse(conjunction(a, b)); };
constexpr auto not_or = [](Bits a, Bits b) { return inverse(disjunction(a, b)); };
constexpr auto not_xor = [](Bits a, Bits b) { return inverse(difference(a, b)); };
constexpr auto not_first_and = [](Bits a, Bits b) { return conjunction(inverse(a), b); };
constexpr auto not_first_or = [](Bits a, Bits b) { return disjunction(inverse(a), b); };

// Bit 32 of a sum or difference is its carry or borrow.
u32 sum(u64 wide, bool &scc) {
  scc = (wide >> 32 & 1) != 0;
  return static_cast<u32>(wide);
}
i32 signed_sum(i64 wide, bool &scc) {
  scc = wide != static_cast<i32>(wide);
  return static_cast<i32>(wide);
}
template <class T>
T chosen(bool first, T a, T b, bool &scc) {
  scc = first;
  return first ? a : b;
}
u32 distance(i32 a, i32 b) { return static_cast<u32>(a > b ? i64{a} - b : i64{b} - a); }
template <class T>
T reversed(T a) {
  T x = 0;
  for (size_t i = 0; i < sizeof(T) * 8; ++i) x = x << 1 | (a >> i & 1);
  return x;
}
u32 shifted_sum(u32 a, u32 b, int shift, bool &scc) {
  const u64 sum = (u64{a} << shift) + b;
  scc = sum >> 32 != 0;
  return static_cast<u32>(sum);
}
template <class T>
T nonzero(T value, bool &scc) {
  scc = value != 0;
  return value;
}
template <class T>
T field(T a, u32 position) {
  using U = std::make_unsigned_t<T>;
  constexpr u32 most = sizeof(T) * 8;
  const u32 offset = position & (most - 1), width = position >> 16 & 127;
  if (width == 0) return 0;
  if (offset + width >= most) return a >> offset;
  return static_cast<T>(static_cast<U>(a) << (most - offset - width)) >> (most - width);
}
// Leading bits that equal the first, of a value whose first bit was made 0.
template <class T>
u32 sign_length(T a) {
  return a ? static_cast<u32>(std::countl_zero(a)) : ~0u;
}
u32 first_one(u64 a) { return a ? static_cast<u32>(std::countr_zero(a)) : ~0u; }

constexpr Row rows[] = {
    scalar<[](u32 a, u32 b, bool &scc) { return sum(u64{a} + b, scc); }>(sop2, 0x00, "s_add_u32"),
    scalar<[](u32 a, u32 b, bool &scc) { return sum(u64{a} - b, scc); }>(sop2, 0x01, "s_sub_u32"),
    scalar<[](i32 a, i32 b, bool &scc) { return signed_sum(i64{a} + b, scc); }>(sop2, 0x02, "s_add_i32"),
    scalar<[](i32 a, i32 b, bool &scc) { return signed_sum(i64{a} - b, scc); }>(sop2, 0x03, "s_sub_i32"),
    scalar<[](u32 a, u32 b, bool &scc) { return sum(u64{a} + b + scc, scc); }, true>(sop2, 0x04, "s_addc_u32"),
    scalar<[](u32 a, u32 b, bool &scc) { return sum(u64{a} - b - scc, scc); }, true>(sop2, 0x05, "s_subb_u32"),
    scalar<[](i32 a, i32 b, bool &scc) { return chosen((a < b), a, b, scc); }>(sop2, 0x06, "s_min_i32"),
    scalar<[](u32 a, u32 b, bool &scc) { return chosen((a < b), a, b, scc); }>(sop2, 0x07, "s_min_u32"),
    scalar<[](i32 a, i32 b, bool &scc) { return chosen((a > b), a, b, scc); }>(sop2, 0x08, "s_max_i32"),
    scalar<[](u32 a, u32 b, bool &scc) { return chosen((a > b), a, b, scc); }>(sop2, 0x09, "s_max_u32"),
    {sop2, 0x0a, "s_cselect_b32", run_choose<false>, Type::b32, {Type::b32, Type::b32}},
    {sop2, 0x0b, "s_cselect_b64", run_choose<true>, Type::b64, {Type::b64, Type::b64}},
    bitwise32<and_bits>(0x0c, "s_and_b32"),
    bitwise64<and_bits>(0x0d, "s_and_b64"),
    bitwise32<or_bits>(0x0e, "s_or_b32"),
    bitwise64<or_bits>(0x0f, "s_or_b64"),
    bitwise32<xor_bits>(0x10, "s_xor_b32"),
    bitwise64<xor_bits>(0x11, "s_xor_b64"),
    bitwise32<and_not>(0x12, "s_andn2_b32"),
    bitwise64<and_not>(0x13, "s_andn2_b64"),
    bitwise32<or_not>(0x14, "s_orn2_b32"),
    bitwise64<or_not>(0x15, "s_orn2_b64"),
    bitwise32<not_and>(0x16, "s_nand_b32"),
    bitwise64<not_and>(0x17, "s_nand_b64"),
    bitwise32<not_or>(0x18, "s_nor_b32"),
    bitwise64<not_or>(0x19, "s_nor_b64"),
    bitwise32<not_xor>(0x1a, "s_xnor_b32"),
    bitwise64<not_xor>(0x1b, "s_xnor_b64"),
    scalar<[](u32 a, u32 b, bool &scc) { return nonzero(a << (b & 31), scc); }>(sop2, 0x1c, "s_lshl_b32"),
    scalar<[](u64 a, u32 b, bool &scc) { return nonzero(a << (b & 63), scc); }>(sop2, 0x1d, "s_lshl_b64"),
    scalar<[](u32 a, u32 b, bool &scc) { return nonzero((a >> (b & 31)), scc); }>(sop2, 0x1e, "s_lshr_b32"),
    scalar<[](u64 a, u32 b, bool &scc) { return nonzero((a >> (b & 63)), scc); }>(sop2, 0x1f, "s_lshr_b64"),
    scalar<[](i32 a, u32 b, bool &scc) { return nonzero((a >> (b & 31)), scc); }>(sop2, 0x20, "s_ashr_i32"),
    scalar<[](i64 a, u32 b, bool &scc) { return nonzero((a >> (b & 63)), scc); }>(sop2, 0x21, "s_ashr_i64"),
    scalar<[](u32 a, u32 b) { return ((1u << (a & 31)) - 1) << (b & 31); }>(sop2, 0x22, "s_bfm_b32"),
    scalar<[](u32 a, u32 b) { return ((u64{1} << (a & 63)) - 1) << (b & 63); }>(sop2, 0x23, "s_bfm_b64"),
    scalar<[](u32 a, u32 b) { return a * b; }>(sop2, 0x24, "s_mul_i32"),
    scalar<[](u32 a, u32 b, bool &scc) { return nonzero(field(a, b), scc); }>(sop2, 0x25, "s_bfe_u32"),
    scalar<[](i32 a, u32 b, bool &scc) { return nonzero(field(a, b), scc); }>(sop2, 0x26, "s_bfe_i32"),
    scalar<[](u64 a, u32 b, bool &scc) { return nonzero(field(a, b), scc); }>(sop2, 0x27, "s_bfe_u64"),
    scalar<[](i64 a, u32 b, bool &scc) { return nonzero(field(a, b), scc); }>(sop2, 0x28, "s_bfe_i64"),
    scalar<[](i32 a, i32 b, bool &scc) { return nonzero(distance(a, b), scc); }>(sop2, 0x2a, "s_absdiff_i32"),
    scalar<[](u32 a, u32 b) { return static_cast<u32>((u64{a} * b) >> 32); }>(sop2, 0x2c, "s_mul_hi_u32"),
    scalar<[](i32 a, i32 b) { return static_cast<u32>((i64{a} * b) >> 32); }>(sop2, 0x2d, "s_mul_hi_i32"),
    scalar<[](u32 a, u32 b, bool &scc) { return shifted_sum(a, b, 1, scc); }>(sop2, 0x2e, "s_lshl1_add_u32"),
    scalar<[](u32 a, u32 b, bool &scc) { return shifted_sum(a, b, 2, scc); }>(sop2, 0x2f, "s_lshl2_add_u32"),
    scalar<[](u32 a, u32 b, bool &scc) { return shifted_sum(a, b, 3, scc); }>(sop2, 0x30, "s_lshl3_add_u32"),
    scalar<[](u32 a, u32 b, bool &scc) { return shifted_sum(a, b, 4, scc); }>(sop2, 0x31, "s_lshl4_add_u32"),
    scalar<[](u32 a, u32 b) { return (a & 0xffff) | b << 16; }>(sop2, 0x32, "s_pack_ll_b32_b16"),
    scalar<[](u32 a, u32 b) { return (a & 0xffff) | (b & 0xffff0000); }>(sop2, 0x33, "s_pack_lh_b32_b16"),
    scalar<[](u32 a, u32 b) { return ((a >> 16) | (b & 0xffff0000)); }>(sop2, 0x34, "s_pack_hh_b32_b16"),

    {sop1, 0x00, "s_mov_b32", run_move<false, false>, Type::b32, {Type::b32}},
    {sop1, 0x01, "s_mov_b64", run_move<true, false>, Type::b64, {Type::b64}},
    {sop1, 0x18, "s_bitset0_b32", run_set_bit<false, false>, Type::b32, {Type::b32}},
    {sop1, 0x19, "s_bitset0_b64", run_set_bit<true, false>, Type::b64, {Type::b32}},
    {sop1, 0x1a, "s_bitset1_b32", run_set_bit<false, true>, Type::b32, {Type::b32}},
    {sop1, 0x1b, "s_bitset1_b64", run_set_bit<true, true>, Type::b64, {Type::b32}},
    {sop1, 0x04, "s_not_b32", run_move<false, true>, Type::b32, {Type::b32}},
    {sop1, 0x05, "s_not_b64", run_move<true, true>, Type::b64, {Type::b64}},
    scalar<[](u32 a) { return reversed(a); }>(sop1, 0x08, "s_brev_b32"),
    scalar<[](u64 a) { return reversed(a); }>(sop1, 0x09, "s_brev_b64"),
    scalar<[](u32 a, bool &scc) { return nonzero(static_cast<u32>(std::popcount(a)), scc); }>(sop1, 0x0c, "s_bcnt1_i32_b32"),
    scalar<[](u64 a, bool &scc) { return nonzero(static_cast<u32>(std::popcount(a)), scc); }>(sop1, 0x0d, "s_bcnt1_i32_b64"),
    scalar<[](u32 a) { return first_one(a); }>(sop1, 0x10, "s_ff1_i32_b32"),
    scalar<[](u64 a) { return first_one(a); }>(sop1, 0x11, "s_ff1_i32_b64"),
    scalar<[](u32 a) { return a ? static_cast<u32>(std::countl_zero(a)) : ~0u; }>(sop1, 0x12, "s_flbit_i32_b32"),
    scalar<[](u64 a) { return a ? static_cast<u32>(std::countl_zero(a)) : ~0u; }>(sop1, 0x13, "s_flbit_i32_b64"),
    scalar<[](i32 a) { return sign_length(static_cast<u32>(a < 0 ? ~a : a)); }>(sop1, 0x14, "s_flbit_i32"),
    scalar<[](i64 a) { return sign_length(static_cast<u64>(a < 0 ? ~a : a)); }>(sop1, 0x15, "s_flbit_i32_i64"),
    scalar<[](u32 a) { return static_cast<i32>(static_cast<int8_t>(a)); }>(sop1, 0x16, "s_sext_i32_i8"),
    scalar<[](u32 a) { return static_cast<i32>(static_cast<i16>(a)); }>(sop1, 0x17, "s_sext_i32_i16"),
    saves_exec<and_bits>(0x20, "s_and_saveexec_b64"),
    saves_exec<or_bits>(0x21, "s_or_saveexec_b64"),
    saves_exec<xor_bits>(0x22, "s_xor_saveexec_b64"),
    saves_exec<and_not>(0x23, "s_andn2_saveexec_b64"),
    saves_exec<or_not>(0x24, "s_orn2_saveexec_b64"),
    saves_exec<not_and>(0x25, "s_nand_saveexec_b64"),
    saves_exec<not_or>(0x26, "s_nor_saveexec_b64"),
    saves_exec<not_xor>(0x27, "s_xnor_saveexec_b64"),
    saves_exec<not_first_and>(0x33, "s_andn1_saveexec_b64"),
    saves_exec<not_first_or>(0x34, "s_orn1_saveexec_b64"),
    saves_exec<not_first_and, true>(0x35, "s_andn1_wrexec_b64"),
    saves_exec<and_not, true>(0x36, "s_andn2_wrexec_b64"),
    scalar<[](i32 a, bool &scc) { return nonzero(a < 0 ? 0u - static_cast<u32>(a) : static_cast<u32>(a), scc); }>(sop1, 0x30, "s_abs_i32"),

};

// SOPK: a register (also the destination, where there is one) and a 16-bit constant.
constexpr Row short_rows[] = {
    scalar<[](i32 k) { return k; }>(sopk, 0x00, "s_movk_i32"),
    scalar<[](i32 a, i32 k, bool &scc) { return signed_sum(i64{a} + k, scc); }>(sopk, 0x0e, "s_addk_i32"),
    scalar<[](i32 a, i32 k) { return static_cast<u32>(a) * static_cast<u32>(k); }>(sopk, 0x0f, "s_mulk_i32"),
};

}  // namespace

std::span<const Row> scalar_rows() { return rows; }
std::span<const Row> short_scalar_rows() { return short_rows; }

}  // namespace lamina::hip_emulator
