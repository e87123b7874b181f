// The state of one wave: registers, which of their bits were ever written, and what is still on its way to them.
#pragma once
#include "conformance/hip_emulator/outstanding.h"

namespace lamina::hip_emulator {

class Reach;

struct Wave {
  alignas(64) u32 v[512][lane_count];
  u64 defined[512];  // lanes of each register that hold something
  alignas(64) u32 s[128];
  u32 scalar_defined[128];  // bits
  bool scc = false, scc_defined = false, done = false, at_barrier = false, strictly_aligned = false;
  u32 next = 0;  // index of the next instruction
  int id = 0;    // within the workgroup
  u64 code = 0;  // where the code object lies: added to instructions' addresses
  LocalMemory *local = nullptr;
  Reach *reach = nullptr;
  Outstanding outstanding;
  Arch arch = Arch::gfx942;

  u64 scalar64(int index) const { return join(s[index], s[index + 1]); }
  u64 exec() const { return scalar64(code::exec); }
  u64 vcc() const { return scalar64(code::vcc); }
  void set_scalar(int index, u32 value, u32 known = ~0u) { s[index] = value, scalar_defined[index] = known; }
  void set_scalar64(int index, u64 value, u64 known = all_lanes) {
    set_scalar(index, static_cast<u32>(value), static_cast<u32>(known));
    set_scalar(index + 1, static_cast<u32>(value >> 32), static_cast<u32>(known >> 32));
  }
  u64 scalar64_defined(int index) const { return join(scalar_defined[index], scalar_defined[index + 1]); }
  void define(int index, u64 active, u64 undefined) { defined[index] = (defined[index] & ~active) | (active & ~undefined); }
};

}  // namespace lamina::hip_emulator
