// Runs a grid of workgroups on the machine's processors.
#pragma once
#include <array>
#include <vector>

#include "conformance/hip_emulator/code_object.h"

namespace lamina::hip_emulator {

struct Checks {
  bool races = true;     // of LDS
  bool aligned = false;  // accesses of global memory must be at multiples of 4 bytes, those of LDS at multiples of their size
  int threads = 0;       // 0: one a processor
  u64 most_instructions = u64{1} << 36;  // of one wave: past them it hangs
};

struct Grid {
  std::array<u32, 3> groups, threads;  // workgroups, and threads of each
  u32 dynamic_bytes = 0;               // LDS beyond what the kernel declares
};

struct Result {
  u64 instructions = 0;  // of waves
  double seconds = 0;
};

// `arguments`: the kernel's whole argument segment.  Throws Trap.
Result run_grid(const Kernel &, const Grid &, const std::vector<u8> &arguments, const Checks &);

}  // namespace lamina::hip_emulator
