// What is still on its way between memory and a wave.  Loaded values lie in their registers at once; touching them before the right
// s_waitcnt is an error all the same.
#pragma once
#include <array>
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
    if (pending_ && (i.touches.meets(pending_registers_) || i.loads.meets(pending_registers_))) refuse(i);
  }
  bool local() const { return local_.count != 0; }
  void clear();

 private:
  struct Access {
    RegisterSet loads;
    bool scalar = false, transfers = false;
  };
  // The oldest first; never longer than a counter counts.
  struct Queue {
    std::array<Access, 64> entries;
    size_t first = 0, count = 0;
    Access &operator[](size_t i) { return entries[(first + i) % entries.size()]; }
    const Access &operator[](size_t i) const { return entries[(first + i) % entries.size()]; }
    void push(const RegisterSet &loads, bool scalar) { (*this)[count++] = {loads, scalar, false}; }
    void pop() { first = (first + 1) % entries.size(), --count; }
  };
  void refuse(const Instruction &) const;
  void rebuild();
  void push_local(const RegisterSet &loads, bool scalar);
  Queue vector_, local_;
  std::deque<std::vector<Transfer>> transfers_;  // of the accesses in vector_ that have some
  RegisterSet from_vector_, from_local_, pending_registers_;
  bool pending_ = false;
};

}  // namespace lamina::hip_emulator
