// Matrix instructions: D = A * B + C on blocks of side x side, spread over the 64 lanes whatever EXEC says.
//
// With groups = 64 / side, lane l belongs to row (of A) or column (of B and D) l % side and to group l / side.  A group holds either a
// slice of K or, where an instruction has several blocks, a block.  Part of a register of D that belongs to one group is one row of D.
#include "conformance/hip_emulator/lane_rows.h"

namespace lamina::hip_emulator {
namespace {

using Vector = float __attribute__((vector_size(64)));
constexpr int width = 16;  // floats of one Vector

enum class Element { f32, f16, bf16 };

template <int side, int depth, int blocks>
struct Shape {
  static constexpr int groups = lane_count / side, slices = groups / blocks;  // slices of K
  static constexpr int per_lane = depth / slices, registers = side * side * blocks / lane_count;
  static int row(int block_register, int group) {
    if constexpr (side == 32) return 8 * (block_register / 4) + 4 * group + block_register % 4;
    return 4 * group + block_register;
  }
};

// Element `which` of a lane, as float.
template <Element element>
float element_of(const u32 (*registers)[lane_count], int which, int lane, bool flushes) {
  float value;
  if constexpr (element == Element::f32) return as_float(registers[which][lane]);
  const u32 bits = registers[which / 2][lane] >> (which % 2 ? 16 : 0) & 0xffff;
  if constexpr (element == Element::bf16) value = bfloat_to_float(bits);
  else value = half_to_float(flushes && !(bits & 0x7c00) ? bits & 0x8000 : bits);
  return flushes ? flush(value) : value;
}

template <class S, Element element>
struct Factor {
  // [block][k][row or column]
  alignas(64) float at[lane_count / 16][S::per_lane * S::slices][S::groups == 2 ? 32 : 16];
  void unpack(const u32 (*registers)[lane_count], int side, int blocks, bool flushes) {
    for (int group = 0; group < S::groups; ++group) {
      const int block = blocks == 1 ? 0 : group, slice = blocks == 1 ? group : 0;
      for (int j = 0; j < S::per_lane; ++j) {
        float *to = at[block][S::per_lane * slice + j];
        for (int i = 0; i < side; ++i) to[i] = element_of<element>(registers, j, side * group + i, flushes);
      }
    }
  }
};

// Lanes of D that depend on something undefined in A (a row), B (a column) or C.
template <class S, int side, int blocks>
u64 undefined_of(const Wave &wave, const Instruction &i, int d_register, int operand_registers) {
  u64 a = 0, b = 0;
  for (int r = 0; r < operand_registers; ++r) {
    a |= ~wave.defined[i.source[0].index + r];
    b |= ~wave.defined[i.source[1].index + r];
  }
  u64 result = 0;
  const int block_of_register = blocks == 1 ? 0 : d_register / (S::registers / blocks), inner = d_register % (S::registers / blocks);
  for (int lane = 0; lane < lane_count; ++lane) {
    const int row = S::row(inner, lane / side), column = lane % side;
    for (int group = 0; group < S::groups; ++group) {
      if (blocks > 1 && group != block_of_register) continue;
      if ((a >> (side * group + row) & 1) || (b >> (side * group + column) & 1)) result |= u64{1} << lane;
    }
  }
  return result;
}

template <int side, int depth, int blocks, Element element>
void run_matrix(Wave &wave, const Instruction &i) {
  using S = Shape<side, depth, blocks>;
  const bool flushes = wave.arch == Arch::gfx90a && element != Element::f32;  // CDNA 2: denormals of 16-bit factors, and of what they give
  Factor<S, element> a, b;
  a.unpack(&wave.v[i.source[0].index], side, blocks, flushes);
  b.unpack(&wave.v[i.source[1].index], side, blocks, flushes);
  const Operand &c = i.source[2];
  const bool constant = c.kind != Operand::vector;
  const float everywhere = constant ? as_float(static_cast<u32>(c.value)) : 0.f;
  const int operand_registers = element == Element::f32 ? S::per_lane : S::per_lane / 2;
  u64 known = all_lanes;
  for (int r = 0; r < operand_registers; ++r) known &= wave.defined[i.source[0].index + r] & wave.defined[i.source[1].index + r];
  constexpr int parts = side / width, in_block = S::registers / blocks;
  for (int r = 0; r < S::registers; ++r) {
    const int block = r / in_block;
    float *to = reinterpret_cast<float *>(wave.v[i.destination.index + r]);
    const float *from = constant ? nullptr : reinterpret_cast<const float *>(wave.v[c.index + r]);
    u64 undefined = constant ? 0 : ~wave.defined[c.index + r];
    if (known != all_lanes) undefined |= undefined_of<S, side, blocks>(wave, i, r, operand_registers);
    Vector sum[S::groups][parts];
    for (int group = 0; group < S::groups; ++group)
      for (int part = 0; part < parts; ++part) {
        if (from) std::memcpy(&sum[group][part], from + side * group + width * part, sizeof(Vector));
        else sum[group][part] = Vector{} + everywhere;
      }
    for (int k = 0; k < depth; ++k) {
      Vector row_of_b[parts];
      std::memcpy(row_of_b, b.at[block][k], sizeof row_of_b);
      for (int group = 0; group < S::groups; ++group) {
        const float factor = a.at[block][k][S::row(r % in_block, group)];
        for (int part = 0; part < parts; ++part) sum[group][part] += factor * row_of_b[part];
      }
    }
    std::memcpy(to, sum, sizeof(Lanes));
    if (flushes)
      for (int lane = 0; lane < lane_count; ++lane) to[lane] = flush(to[lane]);
    wave.defined[i.destination.index + r] = ~undefined;
  }
}

template <int side, int depth, int blocks, Element element>
constexpr Row matrix(u16 opcode, const char *name) {
  using S = Shape<side, depth, blocks>;
  constexpr int registers = element == Element::f32 ? S::per_lane : S::per_lane / 2;
  constexpr Type factor = registers == 1 ? Type::b32 : registers == 2 ? Type::b64 : Type::b128;
  constexpr Type sum = S::registers == 4 ? Type::b128 : S::registers == 16 ? Type::b512 : Type::none;
  return {Format::vop3p, opcode, name, run_matrix<side, depth, blocks, element>, sum, {factor, factor, sum}, Layout::matrix};
}

using enum Element;
constexpr Row rows[] = {
    matrix<32, 2, 1, f32>(0x44, "v_mfma_f32_32x32x2f32").on(Arch::gfx90a),
    matrix<16, 4, 1, f32>(0x45, "v_mfma_f32_16x16x4f32").on(Arch::gfx90a),
    matrix<32, 8, 1, f16>(0x4c, "v_mfma_f32_32x32x8f16").on(Arch::gfx90a),
    matrix<16, 16, 1, f16>(0x4d, "v_mfma_f32_16x16x16f16").on(Arch::gfx90a),
    matrix<32, 8, 1, bf16>(0x66, "v_mfma_f32_32x32x8bf16_1k").on(Arch::gfx90a),
    matrix<16, 16, 1, bf16>(0x67, "v_mfma_f32_16x16x16bf16_1k").on(Arch::gfx90a),
    matrix<32, 4, 1, bf16>(0x6c, "v_mfma_f32_32x32x4bf16").on(Arch::gfx90a),
    matrix<16, 8, 1, bf16>(0x6d, "v_mfma_f32_16x16x8bf16").on(Arch::gfx90a),
    matrix<16, 1, 4, f32>(0x41, "v_mfma_f32_16x16x1f32").on(Arch::gfx90a),
    matrix<16, 4, 4, f16>(0x49, "v_mfma_f32_16x16x4f16").on(Arch::gfx90a),
    matrix<16, 4, 4, bf16>(0x64, "v_mfma_f32_16x16x4bf16_1k").on(Arch::gfx90a),
    matrix<32, 2, 1, f32>(0x44, "v_mfma_f32_32x32x2_f32").on(Arch::gfx942, Arch::gfx950),
    matrix<16, 4, 1, f32>(0x45, "v_mfma_f32_16x16x4_f32").on(Arch::gfx942, Arch::gfx950),
    matrix<32, 8, 1, f16>(0x4c, "v_mfma_f32_32x32x8_f16").on(Arch::gfx942, Arch::gfx950),
    matrix<16, 16, 1, f16>(0x4d, "v_mfma_f32_16x16x16_f16").on(Arch::gfx942, Arch::gfx950),
    matrix<32, 8, 1, bf16>(0x60, "v_mfma_f32_32x32x8_bf16").on(Arch::gfx942, Arch::gfx950),
    matrix<16, 16, 1, bf16>(0x61, "v_mfma_f32_16x16x16_bf16").on(Arch::gfx942, Arch::gfx950),
    matrix<16, 1, 4, f32>(0x41, "v_mfma_f32_16x16x1_4b_f32").on(Arch::gfx942, Arch::gfx950),
    matrix<16, 4, 4, f16>(0x49, "v_mfma_f32_16x16x4_4b_f16").on(Arch::gfx942, Arch::gfx950),
    matrix<16, 4, 4, bf16>(0x5e, "v_mfma_f32_16x16x4_4b_bf16").on(Arch::gfx942, Arch::gfx950),
    matrix<16, 32, 1, bf16>(0x35, "v_mfma_f32_16x16x32_bf16").on(Arch::gfx950),
    matrix<32, 16, 1, bf16>(0x37, "v_mfma_f32_32x32x16_bf16").on(Arch::gfx950),
    matrix<16, 32, 1, f16>(0x54, "v_mfma_f32_16x16x32_f16").on(Arch::gfx950),
    matrix<32, 16, 1, f16>(0x55, "v_mfma_f32_32x32x16_f16").on(Arch::gfx950),
};

}  // namespace

std::span<const Row> matrix_rows() { return rows; }

}  // namespace lamina::hip_emulator
