#include "bench/peaks.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "manifest/error.h"

namespace lamina::bench {
namespace {

bool is_here(Instruction instruction) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  switch (instruction) {
    case Instruction::fma_avx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Instruction::fma_avx512: return __builtin_cpu_supports("avx512f");
    case Instruction::dot_bf16: return __builtin_cpu_supports("avx512bf16");
  }
#endif
  return false;
}

}  // namespace

const char *name_of(Instruction instruction) {
  switch (instruction) {
    case Instruction::fma_avx2: return "vfmadd231ps ymm";
    case Instruction::fma_avx512: return "vfmadd231ps zmm";
    case Instruction::dot_bf16: return "vdpbf16ps zmm";
  }
  return "";
}

bool instruction_of(const std::string &target, const std::string &dtype, Instruction &instruction) {
  if (target == "cpu_avx2") instruction = Instruction::fma_avx2;
  else if (target == "cpu_avx512") {
    const bool dot = dtype == "bfloat16" && is_here(Instruction::dot_bf16);
    instruction = dot ? Instruction::dot_bf16 : Instruction::fma_avx512;
  } else return false;
  return is_here(instruction);
}

double measure_peak(Instruction instruction, int threads) {
  if (!is_here(instruction)) throw Error(ErrorKind::unsupported, std::string("this processor lacks ") + name_of(instruction));
  const auto spend = instruction == Instruction::fma_avx2     ? spend_fma_avx2
                     : instruction == Instruction::fma_avx512 ? spend_fma_avx512
                                                              : spend_dot_bf16;
  constexpr int64_t rounds = 1500000;  // about 10 ms
  double best = 0;
  for (int attempt = 0; attempt < 10; ++attempt) {
    std::vector<double> rates(static_cast<size_t>(threads));
    std::vector<std::thread> workers;
    for (double &rate : rates)
      workers.emplace_back([&rate, spend] {
        using Clock = std::chrono::steady_clock;
        spend(rounds / 8);  // the clock rate settles
        const Clock::time_point begin = Clock::now();
        const double operations = spend(rounds);
        rate = operations / std::chrono::duration<double>(Clock::now() - begin).count();
      });
    for (std::thread &worker : workers) worker.join();
    double total = 0;
    for (const double rate : rates) total += rate;
    best = std::max(best, total);
  }
  return best;
}

}  // namespace lamina::bench
