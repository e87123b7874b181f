// The fields of an encoded instruction, as the ISA documents of CDNA 2 and 3 lay them out (chapter "Microcode formats").
#pragma once
#include <array>
#include <span>

#include "conformance/hip_emulator/types.h"

namespace lamina::hip_emulator {

enum class Format : u8 { sop1, sop2, sopk, sopc, sopp, smem, vop1, vop2, vopc, vop3, vop3p, ds, flat, global, mubuf };

// Codes of scalar and vector sources.
namespace code {
constexpr u16 flat_scratch = 102, vcc = 106, m0 = 124, exec = 126, inline_integer = 128, inline_negative = 193, inline_float = 240;
constexpr u16 shared_base = 235, vcc_is_zero = 251, exec_is_zero = 252, scc = 253, literal = 255, vector = 256;
}  // namespace code

struct Dpp {
  u16 control = 0;
  u8 row_mask = 0xf, bank_mask = 0xf;
  bool bound_control = false;
};

// Which part of a register an operand means.
enum class Part : u8 { byte0, byte1, byte2, byte3, word0, word1, whole };
struct Sdwa {
  std::array<Part, 2> source{Part::whole, Part::whole};
  std::array<bool, 2> sign_extend{};
  Part destination = Part::whole;
  u8 unused = 0;  // of the destination: 0 zeros, 1 sign, 2 kept
};

struct Fields {
  Format format{};
  u16 opcode = 0;
  u8 words = 1;
  bool long_form = false;  // VOP1, VOP2 or VOPC in the encoding of VOP3
  bool has_dpp = false, has_sdwa = false, has_literal = false;
  u16 destination = 0;         // a scalar's code, or a vector register's number
  u16 scalar_destination = 0;  // VOP3B, and compares in SDWA form
  bool has_scalar_destination = false;
  std::array<u16, 3> source{};  // codes
  u32 literal = 0;
  i32 immediate = 0;  // of SOPK and SOPP
  u8 absolute = 0, negative = 0, negative_high = 0, select = 0, select_high = 7;
  u8 output_modifier = 0;
  bool clamp = false;
  Dpp dpp;
  Sdwa sdwa;
  // Memory.
  i32 offset = 0, offset1 = 0;
  u16 address = 0, data = 0, data1 = 0, base = 0, scalar_offset = 0;
  bool has_offset = false, has_scalar_offset = false;
  bool offset_enabled = false, index_enabled = false, to_lds = false;
  u8 cache_policy = 0;  // glc, slc, scc: sc0, nt, sc1
  bool accumulator = false;
  // Matrix instructions.
  bool accumulator_destination = false;
  std::array<bool, 2> accumulator_source{};
  u8 broadcast_size = 0, broadcast_block = 0, broadcast_lanes = 0;
};

// Reads one instruction.  Throws Refusal where the words are no format of these archs or end too early.
Fields read_fields(std::span<const u32> words);

}  // namespace lamina::hip_emulator
