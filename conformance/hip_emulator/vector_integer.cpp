// Vector instructions on integers and bits, one line each.
#include "conformance/hip_emulator/lane_rows.h"

namespace lamina::hip_emulator {
namespace {

using enum Format;

u32 low24(u32 a) { return a & 0xffffff; }
i32 low24(i32 a) { return static_cast<i32>(static_cast<u32>(a) << 8) >> 8; }
u32 product24(i32 a, i32 b) { return static_cast<u32>(low24(a)) * static_cast<u32>(low24(b)); }
template <class T>
T middle(T a, T b, T c) {
  return std::max(std::min(a, b), std::min(std::max(a, b), c));
}

// V_PERM_B32: bytes chosen from the eight of {a, b}; selections above 7 give signs and constants.
u32 choose_bytes(u32 a, u32 b, u32 selections) {
  const u64 bytes = join(b, a);
  u32 result = 0;
  for (int i = 0; i < 4; ++i) {
    const u32 s = selections >> (8 * i) & 255;
    const u32 sign_of = s >= 8 && s < 12 ? 16 * (s - 8) + 15 : 0;
    const u32 byte = s < 8 ? bytes >> (8 * (s & 7)) & 255 : s < 12 ? (bytes >> sign_of & 1 ? 255 : 0) : s == 12 ? 0 : 255;
    result |= byte << (8 * i);
  }
  return result;
}
u32 leading_zeros(u32 a) { return a ? static_cast<u32>(std::countl_zero(a)) : ~0u; }
u32 trailing_zeros(u32 a) { return a ? static_cast<u32>(std::countr_zero(a)) : ~0u; }
u32 leading_signs(u32 a) {
  const u32 magnitude = a >> 31 ? ~a : a;
  return magnitude ? static_cast<u32>(std::countl_zero(magnitude)) : ~0u;
}
u32 reversed(u32 a) {
  a = (a >> 1 & 0x55555555) | (a & 0x55555555) << 1;
  a = (a >> 2 & 0x33333333) | (a & 0x33333333) << 2;
  a = (a >> 4 & 0x0f0f0f0f) | (a & 0x0f0f0f0f) << 4;
  return __builtin_bswap32(a);
}
u32 field(u32 a, u32 offset, u32 width) { return width & 31 ? a >> (offset & 31) & ((1u << (width & 31)) - 1) : 0; }
i32 signed_field(i32 a, u32 offset, u32 width) {
  if (!(width & 31)) return 0;
  const int unused = 32 - static_cast<int>(width & 31);
  return static_cast<i32>(static_cast<u32>(a >> (offset & 31)) << unused) >> unused;
}

constexpr Row rows[] = {
    lanes<[](u32 a) { return a; }>(vop1, 0x01, "v_mov_b32"),
    lanes<[](u32 a) { return ~a; }>(vop1, 0x2b, "v_not_b32"),
    lanes<[](u32 a) { return reversed(a); }>(vop1, 0x2c, "v_bfrev_b32"),
    lanes<[](u32 a) { return leading_zeros(a); }>(vop1, 0x2d, "v_ffbh_u32"),
    lanes<[](u32 a) { return trailing_zeros(a); }>(vop1, 0x2e, "v_ffbl_b32"),
    lanes<[](u32 a) { return leading_signs(a); }>(vop1, 0x2f, "v_ffbh_i32"),

    lanes<[](i32 a, i32 b) { return product24(a, b); }>(vop2, 0x06, "v_mul_i32_i24"),
    lanes<[](i32 a, i32 b) { return (static_cast<u32>((i64{low24(a)} * low24(b)) >> 32)); }>(vop2, 0x07, "v_mul_hi_i32_i24"),
    lanes<[](u32 a, u32 b) { return low24(a) * low24(b); }>(vop2, 0x08, "v_mul_u32_u24"),
    lanes<[](u32 a, u32 b) { return (static_cast<u32>((u64{low24(a)} * low24(b)) >> 32)); }>(vop2, 0x09, "v_mul_hi_u32_u24"),
    lanes<[](i32 a, i32 b) { return std::min(a, b); }>(vop2, 0x0c, "v_min_i32"),
    lanes<[](i32 a, i32 b) { return std::max(a, b); }>(vop2, 0x0d, "v_max_i32"),
    lanes<[](u32 a, u32 b) { return std::min(a, b); }>(vop2, 0x0e, "v_min_u32"),
    lanes<[](u32 a, u32 b) { return std::max(a, b); }>(vop2, 0x0f, "v_max_u32"),
    lanes<[](u32 a, u32 b) { return (b >> (a & 31)); }>(vop2, 0x10, "v_lshrrev_b32"),
    lanes<[](u32 a, i32 b) { return (b >> (a & 31)); }>(vop2, 0x11, "v_ashrrev_i32"),
    lanes<[](u32 a, u32 b) { return b << (a & 31); }>(vop2, 0x12, "v_lshlrev_b32"),
    lanes<[](u32 a, u32 b) { return a & b; }>(vop2, 0x13, "v_and_b32"),
    lanes<[](u32 a, u32 b) { return a | b; }>(vop2, 0x14, "v_or_b32"),
    lanes<[](u32 a, u32 b) { return a ^ b; }>(vop2, 0x15, "v_xor_b32"),
    lanes<[](u32 a, u32 b) { return a + b; }>(vop2, 0x34, "v_add_u32"),
    lanes<[](u32 a, u32 b) { return a - b; }>(vop2, 0x35, "v_sub_u32"),
    lanes<[](u32 a, u32 b) { return b - a; }>(vop2, 0x36, "v_subrev_u32"),
    lanes<[](u32 a, u32 b) { return ~(a ^ b); }>(vop2, 0x3d, "v_xnor_b32"),

    lanes<[](i32 a, i32 b, u32 c) { return product24(a, b) + c; }>(vop3, 0x1c2, "v_mad_i32_i24"),
    lanes<[](u32 a, u32 b, u32 c) { return low24(a) * low24(b) + c; }>(vop3, 0x1c3, "v_mad_u32_u24"),
    lanes<[](u32 a, u32 b, u32 c) { return field(a, b, c); }>(vop3, 0x1c8, "v_bfe_u32"),
    lanes<[](i32 a, u32 b, u32 c) { return signed_field(a, b, c); }>(vop3, 0x1c9, "v_bfe_i32"),
    lanes<[](u32 a, u32 b, u32 c) { return (a & b) | (~a & c); }>(vop3, 0x1ca, "v_bfi_b32"),
    lanes<[](u32 a, u32 b, u32 c) { return (static_cast<u32>(join(b, a) >> (c & 31))); }>(vop3, 0x1ce, "v_alignbit_b32"),
    lanes<[](u32 a, u32 b, u32 c) { return (static_cast<u32>(join(b, a) >> (8 * (c & 3)))); }>(vop3, 0x1cf, "v_alignbyte_b32"),
    lanes<[](i32 a, i32 b, i32 c) { return std::min(std::min(a, b), c); }>(vop3, 0x1d1, "v_min3_i32"),
    lanes<[](u32 a, u32 b, u32 c) { return std::min(std::min(a, b), c); }>(vop3, 0x1d2, "v_min3_u32"),
    lanes<[](i32 a, i32 b, i32 c) { return std::max(std::max(a, b), c); }>(vop3, 0x1d4, "v_max3_i32"),
    lanes<[](u32 a, u32 b, u32 c) { return std::max(std::max(a, b), c); }>(vop3, 0x1d5, "v_max3_u32"),
    lanes<[](i32 a, i32 b, i32 c) { return middle(a, b, c); }>(vop3, 0x1d7, "v_med3_i32"),
    lanes<[](u32 a, u32 b, u32 c) { return middle(a, b, c); }>(vop3, 0x1d8, "v_med3_u32"),
    lanes<[](u32 a, u32 b, u32 c) { return (a > b ? a - b : b - a) + c; }>(vop3, 0x1dc, "v_sad_u32"),
    lanes<[](u32 a, u32 b, u32 c) { return choose_bytes(a, b, c); }>(vop3, 0x1ed, "v_perm_b32"),
    lanes<[](u32 a, u32 b, u32 c) { return (a ^ b) + c; }>(vop3, 0x1f3, "v_xad_u32"),
    lanes<[](u32 a, u32 b, u32 c) { return (a << (b & 31)) + c; }>(vop3, 0x1fd, "v_lshl_add_u32"),
    lanes<[](u32 a, u32 b, u32 c) { return (a + b) << (c & 31); }>(vop3, 0x1fe, "v_add_lshl_u32"),
    lanes<[](u32 a, u32 b, u32 c) { return a + b + c; }>(vop3, 0x1ff, "v_add3_u32"),
    lanes<[](u32 a, u32 b, u32 c) { return a << (b & 31) | c; }>(vop3, 0x200, "v_lshl_or_b32"),
    lanes<[](u32 a, u32 b, u32 c) { return (a & b) | c; }>(vop3, 0x201, "v_and_or_b32"),
    lanes<[](u32 a, u32 b, u32 c) { return a | b | c; }>(vop3, 0x202, "v_or3_b32"),
    lanes<[](u32 a, u32 b) { return a * b; }>(vop3, 0x285, "v_mul_lo_u32"),
    lanes<[](u32 a, u32 b) { return (static_cast<u32>((u64{a} * b) >> 32)); }>(vop3, 0x286, "v_mul_hi_u32"),
    lanes<[](i32 a, i32 b) { return (static_cast<u32>((i64{a} * b) >> 32)); }>(vop3, 0x287, "v_mul_hi_i32"),
    lanes<[](u32 a, u32 b) { return static_cast<u32>(std::popcount(a)) + b; }>(vop3, 0x28b, "v_bcnt_u32_b32"),
    lanes<[](u32 a, u32 b) { return ((1u << (a & 31)) - 1) << (b & 31); }>(vop3, 0x293, "v_bfm_b32"),
    lanes<[](i32 a, i32 b) { return static_cast<u32>(a) + static_cast<u32>(b); }>(vop3, 0x29c, "v_add_i32"),
    lanes<[](i32 a, i32 b) { return static_cast<u32>(a) - static_cast<u32>(b); }>(vop3, 0x29d, "v_sub_i32"),

    from_low(lanes<[](u64 a) { return a; }>(vop1, 0x38, "v_mov_b64").on(Arch::gfx942, Arch::gfx950)),
    from_low(lanes<[](u64 a, u32 b, u64 c) { return (a << (b & 7)) + c; }>(vop3, 0x208, "v_lshl_add_u64").on(Arch::gfx942, Arch::gfx950)),
    from_low(lanes<[](u32 a, u64 b) { return b << (a & 63); }>(vop3, 0x28f, "v_lshlrev_b64")),
    lanes<[](u32 a, u64 b) { return (b >> (a & 63)); }>(vop3, 0x290, "v_lshrrev_b64"),
    lanes<[](u32 a, i64 b) { return (b >> (a & 63)); }>(vop3, 0x291, "v_ashrrev_i64"),
};

}  // namespace

std::span<const Row> integer_rows() { return rows; }

}  // namespace lamina::hip_emulator
