// One wave with every register defined and LDS of its own, for tests of single instructions.
#pragma once
#include <algorithm>
#include <iterator>
#include <memory>
#include <vector>

#include "conformance/hip_emulator/local_memory.h"
#include "conformance/hip_emulator/program.h"
#include "conformance/hip_emulator/wave.h"

namespace lamina::hip_emulator {

struct Machine {
  LocalMemory local;
  std::unique_ptr<Wave> wave = std::make_unique<Wave>();
  explicit Machine(Arch arch = Arch::gfx942) {
    std::fill(std::begin(wave->defined), std::end(wave->defined), all_lanes);
    std::fill(std::begin(wave->scalar_defined), std::end(wave->scalar_defined), ~0u);
    wave->scc_defined = true, wave->arch = arch, wave->local = &local;
    wave->set_scalar64(code::exec, all_lanes);
    local.begin(65536, true);
  }
  // Instructions one after the other; a branch goes to instruction `target`.
  void run(const std::vector<std::vector<u32>> &instructions, u32 target = 0) {
    Program program;
    for (const std::vector<u32> &words : instructions) {
      Instruction i = decode_instruction(words, 0, wave->arch, program);
      i.target = target;
      i.run(*wave, i);
    }
  }
  // One, and what it asked of LDS.
  void finish(const std::vector<u32> &words) {
    run({words});
    wave->outstanding.wait_local(0);
  }
};

}  // namespace lamina::hip_emulator
