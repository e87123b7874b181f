// The note that a code object carries about its kernels: MessagePack, keys as LLVM's "User Guide for AMDGPU Backend" lists them.
#pragma once
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "conformance/hip_emulator/types.h"

namespace lamina::hip_emulator {

struct Argument {
  std::string name, kind;  // kind: "by_value", "global_buffer", "hidden_group_size_x", ...
  u32 offset = 0, bytes = 0;
  bool hidden() const { return kind.starts_with("hidden_"); }
};

struct KernelFacts {
  std::string name, symbol;
  u32 argument_bytes = 0, group_bytes = 0, private_bytes = 0, most_threads = 0, wave_lanes = 0;
  std::vector<Argument> arguments;
};

// Throws Refusal where the bytes are not such a note.
std::vector<KernelFacts> read_metadata(std::span<const u8> note);

}  // namespace lamina::hip_emulator
