// Vector instructions on 16-bit values in the low halves of registers, one line each.
#include "conformance/hip_emulator/lane_rows.h"

namespace lamina::hip_emulator {
namespace {

using enum Format;

// The sum of an exact product and a third value, rounded once.
half fused(half a, half b, half c) { return to_odd(double(a.value) * double(b.value) + double(c.value)); }
u16 to_unsigned(float a) { return a > 65535.f ? 65535 : a > 0 ? static_cast<u16>(static_cast<i32>(a)) : 0; }
i16 to_signed(float a) { return a > 32767.f ? 32767 : a < -32768.f ? -32768 : a == a ? static_cast<i16>(static_cast<i32>(a)) : 0; }
half middle(half a, half b, half c) {
  if (a != a || b != b || c != c) return minimum(minimum(a, b), c);
  const half most = maximum(maximum(a, b), c);
  return most == a ? maximum(b, c) : most == b ? maximum(a, c) : maximum(a, b);
}

constexpr Row rows[] = {
    lanes<[](half a, half b) { return half(a + b); }>(vop2, 0x1f, "v_add_f16"),
    lanes<[](half a, half b) { return half(a - b); }>(vop2, 0x20, "v_sub_f16"),
    lanes<[](half a, half b) { return half(b - a); }>(vop2, 0x21, "v_subrev_f16"),
    lanes<[](half a, half b) { return half(a * b); }>(vop2, 0x22, "v_mul_f16"),
    lanes<[](u16 a, u16 b) { return static_cast<u16>(a + b); }>(vop2, 0x26, "v_add_u16"),
    lanes<[](u16 a, u16 b) { return static_cast<u16>(a - b); }>(vop2, 0x27, "v_sub_u16"),
    lanes<[](u16 a, u16 b) { return static_cast<u16>(b - a); }>(vop2, 0x28, "v_subrev_u16"),
    lanes<[](u16 a, u16 b) { return static_cast<u16>(u32{a} * b); }>(vop2, 0x29, "v_mul_lo_u16"),
    lanes<[](u16 a, u16 b) { return static_cast<u16>(b << (a & 15)); }>(vop2, 0x2a, "v_lshlrev_b16"),
    lanes<[](u16 a, u16 b) { return (static_cast<u16>(b >> (a & 15))); }>(vop2, 0x2b, "v_lshrrev_b16"),
    lanes<[](u16 a, i16 b) { return (static_cast<i16>(b >> (a & 15))); }>(vop2, 0x2c, "v_ashrrev_i16"),
    lanes<[](half a, half b) { return half(maximum(a, b)); }>(vop2, 0x2d, "v_max_f16"),
    lanes<[](half a, half b) { return half(minimum(a, b)); }>(vop2, 0x2e, "v_min_f16"),
    lanes<[](u16 a, u16 b) { return std::max(a, b); }>(vop2, 0x2f, "v_max_u16"),
    lanes<[](i16 a, i16 b) { return std::max(a, b); }>(vop2, 0x30, "v_max_i16"),
    lanes<[](u16 a, u16 b) { return std::min(a, b); }>(vop2, 0x31, "v_min_u16"),
    lanes<[](i16 a, i16 b) { return std::min(a, b); }>(vop2, 0x32, "v_min_i16"),
    lanes<[](half a, i16 b) { return half(std::ldexp(a.value, b)); }>(vop2, 0x33, "v_ldexp_f16"),

    lanes<[](u16 a) { return half(a); }>(vop1, 0x39, "v_cvt_f16_u16"),
    lanes<[](i16 a) { return half(a); }>(vop1, 0x3a, "v_cvt_f16_i16"),
    lanes<[](half a) { return to_unsigned(a); }>(vop1, 0x3b, "v_cvt_u16_f16"),
    lanes<[](half a) { return to_signed(a); }>(vop1, 0x3c, "v_cvt_i16_f16"),
    lanes<[](half a) { return half(1.f / a); }>(vop1, 0x3d, "v_rcp_f16"),
    lanes<[](half a) { return half(std::sqrt(a.value)); }>(vop1, 0x3e, "v_sqrt_f16"),
    lanes<[](half a) { return half(1.f / std::sqrt(a.value)); }>(vop1, 0x3f, "v_rsq_f16"),
    lanes<[](half a) { return half(log2_unit(a)); }>(vop1, 0x40, "v_log_f16"),
    lanes<[](half a) { return half(exp2_unit(a)); }>(vop1, 0x41, "v_exp_f16"),
    lanes<[](half a) { return half(std::floor(a.value)); }>(vop1, 0x44, "v_floor_f16"),
    lanes<[](half a) { return half(std::ceil(a.value)); }>(vop1, 0x45, "v_ceil_f16"),
    lanes<[](half a) { return half(std::trunc(a.value)); }>(vop1, 0x46, "v_trunc_f16"),
    lanes<[](half a) { return half(std::rint(a.value)); }>(vop1, 0x47, "v_rndne_f16"),
    lanes<[](half a) { return half(std::min(a - std::floor(a.value), 0x1.ffcp-1f)); }>(vop1, 0x48, "v_fract_f16"),

    lanes<[](u16 a, u16 b, u32 c) { return u32{a} * b + c; }>(vop3, 0x1f1, "v_mad_u32_u16"),
    lanes<[](i16 a, i16 b, u32 c) { return static_cast<u32>(a * b) + c; }>(vop3, 0x1f2, "v_mad_i32_i16"),
    lanes<[](half a, half b, half c) { return half(minimum(minimum(a, b), c)); }>(vop3, 0x1f4, "v_min3_f16"),
    lanes<[](half a, half b, half c) { return half(maximum(maximum(a, b), c)); }>(vop3, 0x1f7, "v_max3_f16"),
    lanes<[](half a, half b, half c) { return middle(a, b, c); }>(vop3, 0x1fa, "v_med3_f16"),
    lanes<[](u16 a, u16 b, u16 c) { return static_cast<u16>(u32{a} * b + c); }>(vop3, 0x204, "v_mad_u16"),
    lanes<[](i16 a, i16 b, i16 c) { return static_cast<i16>(a * b + c); }>(vop3, 0x205, "v_mad_i16"),
    lanes<[](half a, half b, half c) { return fused(a, b, c); }>(vop3, 0x206, "v_fma_f16"),
    lanes<[](u16 a, u16 b) { return u32{a} | u32{b} << 16; }>(vop3, 0x2a0, "v_pack_b32_f16"),
};

}  // namespace

std::span<const Row> half_rows() { return rows; }

}  // namespace lamina::hip_emulator
