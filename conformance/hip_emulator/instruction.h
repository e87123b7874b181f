// A decoded instruction, and the row of the table that says what it means.
#pragma once
#include <array>

#include "conformance/hip_emulator/encoding.h"

namespace lamina::hip_emulator {

struct Wave;
struct Instruction;
// Does the whole instruction.
using Run = void (*)(Wave &, const Instruction &);
// The arithmetic alone: sources and result are 64 values of the types that the row names.
using LaneFunction = void (*)(void *result, const void *const *sources);

enum class Type : u8 { none, b16, b32, b64, b96, b128, b256, b512, f16, f32, f64, i64, bf16x2, f16x2, f32x2 };
constexpr int dwords_of(Type type) {
  switch (type) {
    case Type::none: return 0;
    case Type::b64:
    case Type::f64:
    case Type::i64:
    case Type::f32x2: return 2;
    case Type::b96: return 3;
    case Type::b128: return 4;
    case Type::b256: return 8;
    case Type::b512: return 16;
    default: return 1;
  }
}

// How the operands of an instruction are arranged beside "destination, sources".
enum class Layout : u8 {
  plain,
  accumulates,     // the last source is the destination
  literal_last,    // the last source is a literal
  literal_middle,  // the second source is a literal
  selects,         // the last source is a mask: VCC, or an SGPR pair in long form
  carries,         // a mask is written too
  carries_on,      // ... and one is read
  compares,        // the destination is a mask
  reads_lane,      // the destination is an SGPR
  packed,          // two values a register: op_sel, op_sel_hi, neg_lo, neg_hi
  mixed,           // each source is f32 or half a register: v_fma_mix
  matrix,
  swaps,        // the source is written too
  truth_table,  // the modifiers' bits are a table of a bit's eight cases
};

struct Row {
  Format format;
  u16 opcode;
  const char *name;
  Run run;
  Type result = Type::none;
  std::array<Type, 3> source{};
  Layout layout = Layout::plain;
  LaneFunction function = nullptr;
  u8 detail = 0;  // what `run` wants to know more
  u8 archs = 7;
  constexpr int sources() const { return (source[0] != Type::none) + (source[1] != Type::none) + (source[2] != Type::none); }
  constexpr Row on(Arch first, Arch second) const { return with_archs(u8(first) | u8(second)); }
  constexpr Row on(Arch only) const { return with_archs(u8(only)); }

 private:
  constexpr Row with_archs(u8 mask) const {
    Row row = *this;
    row.archs = mask;
    return row;
  }
};

// Null where no row has it on that arch.
const Row *find_row(Format, u16 opcode, Arch);

struct Operand {
  enum Kind : u8 { none, scalar, vector, constant } kind = none;
  u8 dwords = 1;
  Type type = Type::b32;
  u16 index = 0;  // of the first register; vectors from 256 on are accumulators
  bool negative = false, absolute = false, negative_high = false, select = false, select_high = false, sign_extend = false;
  bool modified = false;  // any of these, or a part
  Part part = Part::whole;
  u64 value = 0;               // of a constant
  const u32 *lanes = nullptr;  // a constant in every lane, 4 bytes each
};

// Registers as one bitmap: vector registers 0..511, then scalars 512..639.
struct RegisterSet {
  static constexpr int scalars = 512;
  std::array<u64, 10> words{};
  void add(int first, int count) {
    for (int i = first; i < first + count; ++i) words[i >> 6] |= u64{1} << (i & 63);
  }
  bool has(int i) const { return words[i >> 6] >> (i & 63) & 1; }
  void add(const RegisterSet &other) {
    for (size_t i = 0; i < words.size(); ++i) words[i] |= other.words[i];
  }
  bool empty() const {
    u64 all = 0;
    for (const u64 word : words) all |= word;
    return all == 0;
  }
  bool meets(const RegisterSet &other) const {
    u64 common = 0;
    for (size_t i = 0; i < words.size(); ++i) common |= words[i] & other.words[i];
    return common != 0;
  }
};

struct Instruction {
  Run run = nullptr;
  LaneFunction function = nullptr;
  const Row *row = nullptr;
  u32 address = 0, bytes = 4;
  u32 target = 0;  // of a branch: an index of the program
  Operand destination, mask_destination;
  std::array<Operand, 3> source;
  Operand mask_source;
  bool has_dpp = false, plain_result = true, clamp = false, high_half = false;
  u8 output_modifier = 0;
  Dpp dpp;
  Sdwa sdwa;
  // Memory: address register, data, base, further scalar.
  Operand memory_address, data, data1, base, scalar_offset;
  i32 offset = 0, offset1 = 0;
  bool offset_enabled = false, to_lds = false;
  i32 immediate = 0;
  RegisterSet touches;  // what it reads and writes now
  RegisterSet loads;    // what it writes later
};

}  // namespace lamina::hip_emulator
