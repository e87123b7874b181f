#include "conformance/cuda_emulator/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

// Both follow the System V ABI for x86-64: what a function must preserve goes on the stack that is left, and comes from the one that is
// entered.
extern "C" void lamina_emulator_switch(void **left, void *entered);
extern "C" void lamina_emulator_call(void (*function)(), const void *structure, size_t bytes);
extern "C" void lamina_emulator_begin();
asm(R"(
.text
.type lamina_emulator_switch, @function
lamina_emulator_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.type lamina_emulator_begin, @function
lamina_emulator_begin:
  mov %r12, %rdi
  call *%rbx
  ud2
.type lamina_emulator_call, @function
lamina_emulator_call:
  push %rbp
  mov %rsp, %rbp
  sub %rdx, %rsp
  and $-128, %rsp
  mov %rdi, %rax
  mov %rsp, %rdi
  mov %rdx, %rcx
  rep movsb
  call *%rax
  mov %rbp, %rsp
  pop %rbp
  ret
)");

namespace lamina::cuda_emulator {
namespace {
constexpr size_t guard_bytes = 4096;
}

Stacks::~Stacks() {
  for (void *stack : stacks_) munmap(stack, bytes);
}

void *Stacks::top(size_t index) {
  while (stacks_.size() <= index) {
    void *stack = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) throw std::bad_alloc();
    mprotect(stack, guard_bytes, PROT_NONE);
    stacks_.push_back(stack);
  }
  return static_cast<char *>(stacks_[index]) + bytes;
}

void Fiber::prepare(void *top, void (*entry)(void *), void *argument) {
  // What lamina_emulator_switch pops: r15, r14, r13, r12, rbx, rbp, and where it returns to.
  void **stack = static_cast<void **>(top) - 9;  // the stack is aligned to 16 where it calls
  for (int i = 0; i < 8; ++i) stack[i] = nullptr;
  stack[3] = argument;
  stack[4] = reinterpret_cast<void *>(entry);
  stack[6] = reinterpret_cast<void *>(lamina_emulator_begin);
  own_ = stack;
}

void Fiber::resume() { lamina_emulator_switch(&resumer_, own_); }
void Fiber::leave() { lamina_emulator_switch(&own_, resumer_); }

void call_with_structure(void (*function)(), const void *structure, size_t bytes) { lamina_emulator_call(function, structure, bytes); }

}  // namespace lamina::cuda_emulator
