// Vector instructions on 32-bit and 64-bit floating point, one line each.
#include "conformance/hip_emulator/lane_rows.h"

namespace lamina::hip_emulator {
namespace {

using enum Format;
constexpr float infinity = std::numeric_limits<float>::infinity();

u32 to_unsigned(float x) { return x >= 4294967296.f ? ~0u : x > 0 ? static_cast<u32>(x) : 0; }
i32 to_signed(float x) { return x >= 2147483648.f ? 0x7fffffff : x <= -2147483648.f ? i32(0x80000000) : x == x ? static_cast<i32>(x) : 0; }
// The greatest of the other two, once the greatest is taken away: that decides which zero it is.
float middle(float a, float b, float c) {
  if (a != a || b != b || c != c) return minimum(minimum(a, b), c);
  const float most = maximum(maximum(a, b), c);
  return most == a ? maximum(b, c) : most == b ? maximum(a, c) : maximum(a, b);
}
// V_MAD_F32 of CDNA 2 rounds twice and flushes denormals.
float multiply_add(float a, float b, float c) { return flush(flush(flush(a) * flush(b)) + flush(c)); }
int exponent_of(float x) { return x == 0 || std::fabs(x) == infinity || x != x ? 0 : std::ilogb(x) + 1; }
float mantissa_of(float x) { return x == 0 || std::fabs(x) == infinity || x != x ? x : std::ldexp(x, -exponent_of(x)); }
// In double precision nothing is lost before the one rounding.
float scaled(float x, i32 power) {
  const u64 limited = static_cast<u64>(i64{std::min(std::max(power, -400), 400)} + 1023);
  return static_cast<float>(static_cast<double>(x) * std::bit_cast<double>(limited << 52));
}
double scaled_double(double x, i32 power) { return std::ldexp(x, std::min(std::max(power, -4000), 4000)); }

// V_DIV_FIXUP_F32: the special cases of a quotient, of denominator b and numerator c.
float fix_quotient(float quotient, float b, float c) {
  const u32 sign = (as_bits(b) ^ as_bits(c)) & 0x80000000;
  const int distance = static_cast<int>(as_bits(c) >> 23 & 0xff) - static_cast<int>(as_bits(b) >> 23 & 0xff);
  if (c != c) return as_float(as_bits(c) | 0x400000);
  if (b != b) return as_float(as_bits(b) | 0x400000);
  if ((b == 0 && c == 0) || (std::fabs(b) == infinity && std::fabs(c) == infinity)) return as_float(0xffc00000);
  if (b == 0 || std::fabs(c) == infinity) return as_float(sign | 0x7f800000);
  if (std::fabs(b) == infinity || c == 0 || distance < -150) return as_float(sign);
  if (quotient != quotient) return as_float(sign | 0x7f800000);  // the refinement overflowed
  return as_float((as_bits(quotient) & 0x7fffffff) | sign);
}

constexpr Row rows[] = {
    lanes<[](float a, float b) { return a + b; }>(vop2, 0x01, "v_add_f32"),
    lanes<[](float a, float b) { return a - b; }>(vop2, 0x02, "v_sub_f32"),
    lanes<[](float a, float b) { return b - a; }>(vop2, 0x03, "v_subrev_f32"),
    lanes<[](float a, float b) { return a * b; }>(vop2, 0x05, "v_mul_f32"),
    lanes<[](float a, float b) { return minimum(a, b); }>(vop2, 0x0a, "v_min_f32"),
    lanes<[](float a, float b) { return maximum(a, b); }>(vop2, 0x0b, "v_max_f32"),
    lanes<[](float a, float b, float c) { return multiply_add(a, b, c); }>(vop2, 0x16, "v_mac_f32", Layout::accumulates).on(Arch::gfx90a),
    lanes<[](float a, float b, float c) { return multiply_add(a, b, c); }>(vop2, 0x17, "v_madmk_f32", Layout::literal_middle)
        .on(Arch::gfx90a),
    lanes<[](float a, float b, float c) { return multiply_add(a, b, c); }>(vop2, 0x18, "v_madak_f32", Layout::literal_last)
        .on(Arch::gfx90a),
    lanes<[](float a, float b, float c) { return std::fma(a, b, c); }>(vop2, 0x17, "v_fmamk_f32", Layout::literal_middle)
        .on(Arch::gfx942, Arch::gfx950),
    lanes<[](float a, float b, float c) { return std::fma(a, b, c); }>(vop2, 0x18, "v_fmaak_f32", Layout::literal_last)
        .on(Arch::gfx942, Arch::gfx950),
    lanes<[](float a, float b, float c) { return std::fma(a, b, c); }>(vop2, 0x3b, "v_fmac_f32", Layout::accumulates),
    lanes<[](float a, float b, float c) { return multiply_add(a, b, c); }>(vop3, 0x1c1, "v_mad_f32").on(Arch::gfx90a),
    lanes<[](float a, float b, float c) { return std::fma(a, b, c); }>(vop3, 0x1cb, "v_fma_f32"),
    lanes<[](float a, float b, float c) { return minimum(minimum(a, b), c); }>(vop3, 0x1d0, "v_min3_f32"),
    lanes<[](float a, float b, float c) { return maximum(maximum(a, b), c); }>(vop3, 0x1d3, "v_max3_f32"),
    lanes<[](float a, float b, float c) { return middle(a, b, c); }>(vop3, 0x1d6, "v_med3_f32"),
    lanes<[](float a, float b, float c) { return fix_quotient(a, b, c); }>(vop3, 0x1de, "v_div_fixup_f32"),
    lanes<[](float a, i32 b) { return scaled(a, b); }>(vop3, 0x288, "v_ldexp_f32"),

    lanes<[](i32 a) { return static_cast<float>(a); }>(vop1, 0x05, "v_cvt_f32_i32"),
    lanes<[](u32 a) { return static_cast<float>(a); }>(vop1, 0x06, "v_cvt_f32_u32"),
    lanes<[](float a) { return to_unsigned(a); }>(vop1, 0x07, "v_cvt_u32_f32"),
    lanes<[](float a) { return to_signed(a); }>(vop1, 0x08, "v_cvt_i32_f32"),
    lanes<[](float a) { return half(a); }>(vop1, 0x0a, "v_cvt_f16_f32"),
    lanes<[](half a) { return static_cast<float>(a); }>(vop1, 0x0b, "v_cvt_f32_f16"),
    lanes<[](float a) { return to_signed(std::floor(a + 0.5f)); }>(vop1, 0x0c, "v_cvt_rpi_i32_f32"),
    lanes<[](float a) { return to_signed(std::floor(a)); }>(vop1, 0x0d, "v_cvt_flr_i32_f32"),
    lanes<[](u32 a) { return static_cast<float>(a & 255); }>(vop1, 0x11, "v_cvt_f32_ubyte0"),
    lanes<[](u32 a) { return (static_cast<float>(a >> 8 & 255)); }>(vop1, 0x12, "v_cvt_f32_ubyte1"),
    lanes<[](u32 a) { return (static_cast<float>(a >> 16 & 255)); }>(vop1, 0x13, "v_cvt_f32_ubyte2"),
    lanes<[](u32 a) { return (static_cast<float>(a >> 24)); }>(vop1, 0x14, "v_cvt_f32_ubyte3"),
    lanes<[](float a) { return std::min(a - std::floor(a), 0x1.fffffep-1f); }>(vop1, 0x1b, "v_fract_f32"),
    lanes<[](float a) { return std::trunc(a); }>(vop1, 0x1c, "v_trunc_f32"),
    lanes<[](float a) { return std::ceil(a); }>(vop1, 0x1d, "v_ceil_f32"),
    lanes<[](float a) { return std::rint(a); }>(vop1, 0x1e, "v_rndne_f32"),
    lanes<[](float a) { return std::floor(a); }>(vop1, 0x1f, "v_floor_f32"),
    lanes<[](float a) { return exp2_unit(a); }>(vop1, 0x20, "v_exp_f32"),
    lanes<[](float a) { return log2_unit(a); }>(vop1, 0x21, "v_log_f32"),
    lanes<[](float a) { return reciprocal_unit(a); }>(vop1, 0x22, "v_rcp_f32"),
    lanes<[](float a) { return reciprocal_unit(a); }>(vop1, 0x23, "v_rcp_iflag_f32"),
    lanes<[](float a) { return reciprocal_root_unit(a); }>(vop1, 0x24, "v_rsq_f32"),
    lanes<[](float a) { return root_unit(a); }>(vop1, 0x27, "v_sqrt_f32"),
    lanes<[](float a) { return sine_unit(a); }>(vop1, 0x29, "v_sin_f32"),
    lanes<[](float a) { return cosine_unit(a); }>(vop1, 0x2a, "v_cos_f32"),
    lanes<[](float a) { return exponent_of(a); }>(vop1, 0x33, "v_frexp_exp_i32_f32"),
    lanes<[](float a) { return mantissa_of(a); }>(vop1, 0x34, "v_frexp_mant_f32"),
    lanes<[](u16 a) { return bfloat_to_float(a); }>(vop1, 0x5b, "v_cvt_f32_bf16").on(Arch::gfx950),
    lanes<[](float a, float b) { return float_to_bfloat(a) | float_to_bfloat(b) << 16; }>(vop3, 0x268, "v_cvt_pk_bf16_f32")
        .on(Arch::gfx950),
    lanes<[](float a, float b) { return float_to_half(a) | float_to_half(b) << 16; }>(vop3, 0x267, "v_cvt_pk_f16_f32").on(Arch::gfx950),
    lanes<[](float a, float b) { return float_to_half_toward_zero(a) | float_to_half_toward_zero(b) << 16; }>(vop3, 0x296,
                                                                                                              "v_cvt_pkrtz_f16_f32"),
};

constexpr Row wide_rows[] = {
    lanes<[](double a, double b, double c) { return std::fma(a, b, c); }>(vop2, 0x04, "v_fmac_f64", Layout::accumulates),
    lanes<[](double a, double b, double c) { return std::fma(a, b, c); }>(vop3, 0x1cc, "v_fma_f64"),
    lanes<[](double a, double b) { return a + b; }>(vop3, 0x280, "v_add_f64"),
    lanes<[](double a, double b) { return a * b; }>(vop3, 0x281, "v_mul_f64"),
    lanes<[](double a, double b) { return a != a   ? b
                                          : b != b ? a
                                                   : std::min(a, b); }>(vop3, 0x282, "v_min_f64"),
    lanes<[](double a, double b) { return a != a   ? b
                                          : b != b ? a
                                                   : std::max(a, b); }>(vop3, 0x283, "v_max_f64"),
    lanes<[](double a, i32 b) { return scaled_double(a, b); }>(vop3, 0x284, "v_ldexp_f64"),
    lanes<[](i32 a) { return static_cast<double>(a); }>(vop1, 0x04, "v_cvt_f64_i32"),
    lanes<[](double a) { return static_cast<float>(a); }>(vop1, 0x0f, "v_cvt_f32_f64"),
    lanes<[](float a) { return static_cast<double>(a); }>(vop1, 0x10, "v_cvt_f64_f32"),
    lanes<[](u32 a) { return static_cast<double>(a); }>(vop1, 0x16, "v_cvt_f64_u32"),
    lanes<[](double a) { return std::trunc(a); }>(vop1, 0x17, "v_trunc_f64"),
    lanes<[](double a) { return std::ceil(a); }>(vop1, 0x18, "v_ceil_f64"),
    lanes<[](double a) { return std::rint(a); }>(vop1, 0x19, "v_rndne_f64"),
    lanes<[](double a) { return std::floor(a); }>(vop1, 0x1a, "v_floor_f64"),
};

}  // namespace

std::span<const Row> float_rows() { return rows; }
std::span<const Row> double_rows() { return wide_rows; }

}  // namespace lamina::hip_emulator
