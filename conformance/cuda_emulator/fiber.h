// A fiber: a stack of its own on which one thread of a CTA runs until it lets the others run.  x86-64.
#pragma once
#include <cstddef>
#include <memory>
#include <vector>

namespace lamina::cuda_emulator {

// Memory for stacks, kept from launch to launch.  A stack that runs over meets a page that may not be touched.
class Stacks {
 public:
  ~Stacks();
  static constexpr size_t bytes = 256 << 10;
  void *top(size_t index);  // one past the last byte of stack `index`

 private:
  std::vector<void *> stacks_;
};

class Fiber {
 public:
  // On the stack below `top`: the first resume() calls entry(argument), which ends in leave() and never returns.
  void prepare(void *top, void (*entry)(void *), void *argument);
  void resume();  // until it leaves
  void leave();   // by the fiber itself

 private:
  void *own_ = nullptr, *resumer_ = nullptr;  // stack pointers
};

// Calls a function that takes one structure of `bytes` (more than 16) by value, as the C++ compiler would: on the stack, aligned to 128.
void call_with_structure(void (*function)(), const void *structure, size_t bytes);

}  // namespace lamina::cuda_emulator
