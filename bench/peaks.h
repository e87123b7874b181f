// The arithmetic rates that this machine really reaches: a loop of one instruction on enough registers, on all threads at once.
#pragma once
#include <cstdint>
#include <string>

namespace lamina::bench {

enum class Instruction { fma_avx2, fma_avx512, dot_bf16 };
const char *name_of(Instruction instruction);

// The instruction that a build of this target spends its time in, for tensors of this dtype.  False when the target is no CPU arch
// that has one.  A plug-in may take the slower one of two; then its share of the peak is the smaller, never the larger.
bool instruction_of(const std::string &target, const std::string &dtype, Instruction &instruction);

// Operations per second of `threads` threads, the best of several tries.  Errors: unsupported.
double measure_peak(Instruction instruction, int threads);

// One thread's share: runs `rounds` rounds and returns the operations done.
double spend_fma_avx2(int64_t rounds);
double spend_fma_avx512(int64_t rounds);
double spend_dot_bf16(int64_t rounds);

}  // namespace lamina::bench
