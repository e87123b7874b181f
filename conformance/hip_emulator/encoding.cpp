#include "conformance/hip_emulator/encoding.h"

#include <cstdio>

namespace lamina::hip_emulator {
namespace {

constexpr u16 source_is_sdwa = 249, source_is_dpp = 250;

u32 bits(u32 word, int high, int low) { return word >> low & ((2u << (high - low)) - 1); }
i32 signed_bits(u32 word, int high, int low) { return static_cast<i32>(word << (31 - high)) >> (31 - high + low); }

class Reader {
 public:
  explicit Reader(std::span<const u32> words) : words_(words) {
    if (words.empty()) throw Refusal("the code ends within an instruction");
  }
  Fields read();

 private:
  u32 second() {
    if (words_.size() < 2) throw Refusal("the code ends within an instruction");
    f.words = 2;
    return words_[1];
  }
  void scalar();
  void scalar_memory();
  void vector();
  void data_parallel();
  void sub_dword();
  void vector3();
  void vector3_packed();
  void local();
  void flat();
  void buffer();
  void literal();
  [[noreturn]] void unknown() const {
    char text[80];
    std::snprintf(text, sizeof text, "no instruction format is known for the word 0x%08x", words_[0]);
    throw Refusal(text);
  }

  std::span<const u32> words_;
  Fields f;
};

void Reader::literal() {
  for (const u16 source : f.source)
    if (source == code::literal) f.has_literal = true;
  if (f.has_literal) f.literal = second();
}

void Reader::scalar() {
  const u32 w = words_[0];
  f.destination = bits(w, 22, 16);
  if (bits(w, 31, 23) == 0x17d) {
    f.format = Format::sop1, f.opcode = bits(w, 15, 8), f.source[0] = bits(w, 7, 0);
  } else if (bits(w, 31, 23) == 0x17e) {
    f.format = Format::sopc, f.opcode = bits(w, 22, 16), f.source[0] = bits(w, 7, 0), f.source[1] = bits(w, 15, 8);
  } else if (bits(w, 31, 23) == 0x17f) {
    f.format = Format::sopp, f.opcode = bits(w, 22, 16), f.immediate = signed_bits(w, 15, 0);
  } else if (bits(w, 31, 28) == 0xb) {
    f.format = Format::sopk, f.opcode = bits(w, 27, 23), f.immediate = signed_bits(w, 15, 0);
    if (f.opcode == 0x14) f.has_literal = true, f.literal = second();  // s_setreg_imm32_b32
  } else {
    f.format = Format::sop2, f.opcode = bits(w, 29, 23), f.source[0] = bits(w, 7, 0), f.source[1] = bits(w, 15, 8);
  }
  if (f.format != Format::sopp && f.format != Format::sopk) literal();
}

void Reader::scalar_memory() {
  const u32 w = words_[0], w1 = second();
  f.format = Format::smem, f.opcode = bits(w, 25, 18), f.data = bits(w, 12, 6), f.base = bits(w, 5, 0) * 2;
  f.cache_policy = bits(w, 16, 16);
  const bool immediate = bits(w, 17, 17);
  f.has_scalar_offset = bits(w, 14, 14);
  if (immediate) f.has_offset = true, f.offset = signed_bits(w1, 20, 0), f.scalar_offset = bits(w1, 31, 25);
  else f.has_scalar_offset = true, f.scalar_offset = bits(w1, 6, 0);
}

void Reader::data_parallel() {
  const u32 w = second();
  f.has_dpp = true, f.source[0] = code::vector + bits(w, 7, 0);
  f.dpp = {static_cast<u16>(bits(w, 16, 8)), static_cast<u8>(bits(w, 31, 28)), static_cast<u8>(bits(w, 27, 24)), bits(w, 19, 19) != 0};
  f.negative = bits(w, 20, 20) | bits(w, 22, 22) << 1, f.absolute = bits(w, 21, 21) | bits(w, 23, 23) << 1;
}

void Reader::sub_dword() {
  const u32 w = second();
  f.has_sdwa = true;
  f.source[0] = bits(w, 7, 0) + (bits(w, 23, 23) ? 0 : code::vector);
  if (f.format != Format::vop1 && bits(w, 31, 31)) f.source[1] -= code::vector;
  f.sdwa.source = {static_cast<Part>(bits(w, 18, 16)), static_cast<Part>(bits(w, 26, 24))};
  f.sdwa.sign_extend = {bits(w, 19, 19) != 0, bits(w, 27, 27) != 0};
  f.negative = bits(w, 20, 20) | bits(w, 28, 28) << 1, f.absolute = bits(w, 21, 21) | bits(w, 29, 29) << 1;
  if (f.format == Format::vopc) {
    f.has_scalar_destination = true;
    f.scalar_destination = bits(w, 15, 15) ? bits(w, 14, 8) : code::vcc;
  } else {
    f.sdwa.destination = static_cast<Part>(bits(w, 10, 8)), f.sdwa.unused = bits(w, 12, 11);
    f.clamp = bits(w, 13, 13), f.output_modifier = bits(w, 15, 14);
  }
  for (const Part part : f.sdwa.source)
    if (part > Part::whole) throw Refusal("a reserved SDWA selection");
}

void Reader::vector() {
  const u32 w = words_[0];
  f.source[0] = bits(w, 8, 0);
  if (bits(w, 31, 25) == 0x3f) {
    f.format = Format::vop1, f.opcode = bits(w, 16, 9), f.destination = bits(w, 24, 17);
  } else if (bits(w, 31, 25) == 0x3e) {
    f.format = Format::vopc, f.opcode = bits(w, 24, 17), f.source[1] = code::vector + bits(w, 16, 9), f.scalar_destination = code::vcc;
  } else {
    f.format = Format::vop2, f.opcode = bits(w, 30, 25), f.destination = bits(w, 24, 17), f.source[1] = code::vector + bits(w, 16, 9);
    f.scalar_destination = code::vcc;
    const bool constant_in_the_code = f.opcode == 0x17 || f.opcode == 0x18 || f.opcode == 0x24 || f.opcode == 0x25;  // v_fmamk, v_fmaak
    if (constant_in_the_code) {
      f.has_literal = true, f.literal = second();
      return;
    }
  }
  if (f.source[0] == source_is_dpp) return data_parallel();
  if (f.source[0] == source_is_sdwa) return sub_dword();
  literal();
}

void Reader::vector3() {
  const u32 w = words_[0], w1 = second();
  f.opcode = bits(w, 25, 16);
  f.destination = bits(w, 7, 0),
  f.source = {static_cast<u16>(bits(w1, 8, 0)), static_cast<u16>(bits(w1, 17, 9)), static_cast<u16>(bits(w1, 26, 18))};
  f.negative = bits(w1, 31, 29), f.output_modifier = bits(w1, 28, 27), f.clamp = bits(w, 15, 15);
  const u16 op = f.opcode;
  // VOP3B: a second, scalar destination stands where VOP3A has its modifiers.
  const bool scalar_too = (op >= 0x119 && op <= 0x11e) || op == 0x1e0 || op == 0x1e1 || op == 0x1e8 || op == 0x1e9;
  if (scalar_too) f.has_scalar_destination = true, f.scalar_destination = bits(w, 14, 8);
  else f.absolute = bits(w, 10, 8), f.select = bits(w, 14, 11);
  f.long_form = op < 0x1c0;
  if (op < 0x100) f.format = Format::vopc, f.scalar_destination = f.destination, f.has_scalar_destination = true;
  else if (op < 0x140) f.format = Format::vop2, f.opcode = op - 0x100;
  else if (op < 0x1c0) f.format = Format::vop1, f.opcode = op - 0x140;
  else f.format = Format::vop3;
  for (const u16 source : f.source)
    if (source == code::literal) throw Refusal("a literal in a VOP3 instruction, which these GPUs do not have");
}

void Reader::vector3_packed() {
  const u32 w = words_[0], w1 = second();
  f.format = Format::vop3p, f.opcode = bits(w, 22, 16), f.destination = bits(w, 7, 0);
  f.source = {static_cast<u16>(bits(w1, 8, 0)), static_cast<u16>(bits(w1, 17, 9)), static_cast<u16>(bits(w1, 26, 18))};
  f.negative = bits(w1, 31, 29), f.negative_high = bits(w, 10, 8), f.select = bits(w, 13, 11), f.clamp = bits(w, 15, 15);
  f.select_high = bits(w1, 28, 27) | bits(w, 14, 14) << 2;
  // The same bits as the matrix instructions name them.
  f.broadcast_size = bits(w, 10, 8), f.broadcast_block = bits(w, 14, 11), f.broadcast_lanes = bits(w1, 31, 29);
  f.accumulator_destination = bits(w, 15, 15), f.accumulator_source = {bits(w1, 27, 27) != 0, bits(w1, 28, 28) != 0};
}

void Reader::local() {
  const u32 w = words_[0], w1 = second();
  f.format = Format::ds, f.opcode = bits(w, 24, 17), f.accumulator = bits(w, 25, 25);
  f.offset = bits(w, 7, 0), f.offset1 = bits(w, 15, 8);
  if (bits(w, 16, 16)) throw Refusal("global data share");
  f.address = bits(w1, 7, 0), f.data = bits(w1, 15, 8), f.data1 = bits(w1, 23, 16), f.destination = bits(w1, 31, 24);
}

void Reader::flat() {
  const u32 w = words_[0], w1 = second();
  const u32 segment = bits(w, 15, 14);
  f.format = segment == 2 ? Format::global : Format::flat, f.opcode = bits(w, 24, 18);
  if (segment == 1) throw Refusal("scratch memory: the kernel spills or has a private array");
  f.offset = segment == 2 ? signed_bits(w, 12, 0) : static_cast<i32>(bits(w, 11, 0));
  f.to_lds = bits(w, 13, 13), f.cache_policy = bits(w, 16, 16) | bits(w, 17, 17) << 1 | bits(w, 25, 25) << 2;
  f.address = bits(w1, 7, 0), f.data = bits(w1, 15, 8), f.base = bits(w1, 22, 16), f.accumulator = bits(w1, 23, 23),
  f.destination = bits(w1, 31, 24);
}

void Reader::buffer() {
  const u32 w = words_[0], w1 = second();
  f.format = Format::mubuf, f.opcode = bits(w, 24, 18), f.offset = bits(w, 11, 0);
  f.offset_enabled = bits(w, 12, 12), f.index_enabled = bits(w, 13, 13), f.to_lds = bits(w, 16, 16);
  f.cache_policy = bits(w, 14, 14) | bits(w, 17, 17) << 1 | bits(w, 15, 15) << 2;
  f.address = bits(w1, 7, 0), f.data = f.destination = bits(w1, 15, 8), f.base = bits(w1, 20, 16) * 4, f.accumulator = bits(w1, 23, 23);
  f.scalar_offset = bits(w1, 31, 24);
}

Fields Reader::read() {
  const u32 w = words_[0];
  if (bits(w, 31, 31) == 0) vector();
  else if (bits(w, 31, 30) == 2) scalar();
  else if (bits(w, 31, 26) == 0x30) scalar_memory();
  else if (bits(w, 31, 23) == 0x1a7) vector3_packed();
  else if (bits(w, 31, 26) == 0x34) vector3();
  else if (bits(w, 31, 26) == 0x36) local();
  else if (bits(w, 31, 26) == 0x37) flat();
  else if (bits(w, 31, 26) == 0x38) buffer();
  else unknown();
  return f;
}

}  // namespace

Fields read_fields(std::span<const u32> words) { return Reader(words).read(); }

}  // namespace lamina::hip_emulator
