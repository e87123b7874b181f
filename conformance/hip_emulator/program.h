// The code of one kernel, decoded once: what can be reached from its entry.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "conformance/hip_emulator/instruction.h"

namespace lamina::hip_emulator {

struct Program {
  std::vector<Instruction> code;
  u32 entry = 0;  // an index
  struct alignas(64) Constant {
    u32 lanes[lane_count];
  };
  std::map<u32, Constant> constants;  // what operands point to
};

// `image`: the code object as loaded, `entry` an offset into it.  Throws Refusal that lists every instruction which the emulator does not know.
Program decode_program(std::span<const u8> image, u32 entry, Arch);

// One instruction; `program` keeps its constants.
Instruction decode_instruction(std::span<const u32> words, u32 address, Arch, Program &program);

// The instruction as assemblers write it.
std::string text_of(std::span<const u32> words, u32 address, Arch);
std::string hexadecimal(u64 value);  // with its 0x

}  // namespace lamina::hip_emulator
