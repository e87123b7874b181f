// What is still on its way between memory and a wave.  Loaded values lie in their registers at once; touching them before the right
// s_waitcnt is an error all the same.
#pragma once
#include <deque>
#include <vector>

#include "conformance/hip_emulator/instruction.h"

namespace lamina::hip_emulator {

class LocalMemory;

class Outstanding {
 public:
  // A load from memory past the registers into LDS: the bytes arrive with the wait.
  struct Transfer {
    u32 address, value;
  };
  void add_vector(const RegisterSet &loads, LocalMemory &, int wave);
  void add_transfer(std::vector<Transfer>, LocalMemory &, int wave);
  void add_local(const RegisterSet &loads);
  void add_scalar(const RegisterSet &loads);  // returns in any order
  // s_waitcnt vmcnt(left) and lgkmcnt(left).
  void wait_vector(size_t left, LocalMemory &, int wave);
  void wait_local(size_t left);
  // Throws Trap where the instruction touches what has not arrived.
  void check(const Instruction &i) const {
    if (pending_) refuse(i);
  }
  bool local() const { return !local_.empty(); }
  void clear();

 private:
  struct Access {
    RegisterSet loads;
    bool scalar = false;
    std::vector<Transfer> transfers;
  };
  void refuse(const Instruction &) const;
  void rebuild();
  std::deque<Access> vector_, local_;  // oldest first
  RegisterSet from_vector_, from_local_;
  bool pending_ = false;
};

}  // namespace lamina::hip_emulator
