// Scalar compares, one line an instruction: the result is SCC.
#include "conformance/hip_emulator/scalar_rows.h"

namespace lamina::hip_emulator {
namespace {

using enum Format;

constexpr Row rows[] = {
    compare<[](i32 a, i32 b) { return a == b; }>(sopc, 0x00, "s_cmp_eq_i32"),
    compare<[](i32 a, i32 b) { return a != b; }>(sopc, 0x01, "s_cmp_lg_i32"),
    compare<[](i32 a, i32 b) { return (a > b); }>(sopc, 0x02, "s_cmp_gt_i32"),
    compare<[](i32 a, i32 b) { return (a >= b); }>(sopc, 0x03, "s_cmp_ge_i32"),
    compare<[](i32 a, i32 b) { return (a < b); }>(sopc, 0x04, "s_cmp_lt_i32"),
    compare<[](i32 a, i32 b) { return (a <= b); }>(sopc, 0x05, "s_cmp_le_i32"),
    compare<[](u32 a, u32 b) { return a == b; }>(sopc, 0x06, "s_cmp_eq_u32"),
    compare<[](u32 a, u32 b) { return a != b; }>(sopc, 0x07, "s_cmp_lg_u32"),
    compare<[](u32 a, u32 b) { return (a > b); }>(sopc, 0x08, "s_cmp_gt_u32"),
    compare<[](u32 a, u32 b) { return (a >= b); }>(sopc, 0x09, "s_cmp_ge_u32"),
    compare<[](u32 a, u32 b) { return (a < b); }>(sopc, 0x0a, "s_cmp_lt_u32"),
    compare<[](u32 a, u32 b) { return (a <= b); }>(sopc, 0x0b, "s_cmp_le_u32"),
    compare<[](u32 a, u32 b) { return !((a >> (b & 31)) & 1); }>(sopc, 0x0c, "s_bitcmp0_b32"),
    compare<[](u32 a, u32 b) { return ((a >> (b & 31)) & 1) != 0; }>(sopc, 0x0d, "s_bitcmp1_b32"),
    compare<[](u64 a, u32 b) { return !((a >> (b & 63)) & 1); }>(sopc, 0x0e, "s_bitcmp0_b64"),
    compare<[](u64 a, u32 b) { return ((a >> (b & 63)) & 1) != 0; }>(sopc, 0x0f, "s_bitcmp1_b64"),
    compare<[](u64 a, u64 b) { return a == b; }>(sopc, 0x12, "s_cmp_eq_u64"),
    compare<[](u64 a, u64 b) { return a != b; }>(sopc, 0x13, "s_cmp_lg_u64"),

    // A register and a 16-bit constant.
    compare<[](i32 a, i32 k) { return a == k; }>(sopk, 0x02, "s_cmpk_eq_i32"),
    compare<[](i32 a, i32 k) { return a != k; }>(sopk, 0x03, "s_cmpk_lg_i32"),
    compare<[](i32 a, i32 k) { return (a > k); }>(sopk, 0x04, "s_cmpk_gt_i32"),
    compare<[](i32 a, i32 k) { return (a >= k); }>(sopk, 0x05, "s_cmpk_ge_i32"),
    compare<[](i32 a, i32 k) { return (a < k); }>(sopk, 0x06, "s_cmpk_lt_i32"),
    compare<[](i32 a, i32 k) { return (a <= k); }>(sopk, 0x07, "s_cmpk_le_i32"),
    compare<[](u32 a, u32 k) { return a == (k & 0xffff); }>(sopk, 0x08, "s_cmpk_eq_u32"),
    compare<[](u32 a, u32 k) { return a != (k & 0xffff); }>(sopk, 0x09, "s_cmpk_lg_u32"),
    compare<[](u32 a, u32 k) { return (a > (k & 0xffff)); }>(sopk, 0x0a, "s_cmpk_gt_u32"),
    compare<[](u32 a, u32 k) { return (a >= (k & 0xffff)); }>(sopk, 0x0b, "s_cmpk_ge_u32"),
    compare<[](u32 a, u32 k) { return (a < (k & 0xffff)); }>(sopk, 0x0c, "s_cmpk_lt_u32"),
    compare<[](u32 a, u32 k) { return (a <= (k & 0xffff)); }>(sopk, 0x0d, "s_cmpk_le_u32"),
};

}  // namespace

std::span<const Row> scalar_compare_rows() { return rows; }

}  // namespace lamina::hip_emulator
