// Triangle multiplication on AVX-512: fp32 by FMA, bfloat16 by vdpbf16ps where the machine has it, else 16 bits in memory and fp32 arithmetic.
#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/microkernel.h"
#include "kernels/cpu/rownorm.h"
#include "kernels/cpu/machine.h"
#include "kernels/cpu/pool.h"
#include "cpu_backward.h"

namespace lamina::triangle_multiplication {
namespace {

constinit const CpuState with_pair_dot{true}, without_pair_dot{false};

Status create_cpu_avx512(const Settings &, Device, void **state, Failure &failure) {
  const cpu::Features has = cpu::features();
  const char *missing = !has.avx512f    ? "AVX512F"
                        : !has.avx512bw ? "AVX512BW"
                        : !has.avx512vl ? "AVX512VL"
                        : !has.avx512dq ? "AVX512DQ"
                                        : nullptr;
  if (!missing && (!has.fma || !has.f16c)) missing = "FMA and F16C";
  if (missing) return fail(failure, Status::unsupported, "cpu_avx512: this processor or its system lacks %s; use cpu_avx2", missing);
  *state = const_cast<CpuState *>(has.avx512bf16 ? &with_pair_dot : &without_pair_dot);
  return Status::ok;
}

Status run_cpu_avx512(const Problem &p, const Run &run, Failure &failure) { return cpu_forward(p, run, failure); }

Status create_training(const Settings &settings, Pass, Save, Device device, void **state, Failure &failure) {
  return create_cpu_avx512(settings, device, state, failure);
}

constexpr Training training = {create_training,
                               cpu_destroy,
                               cpu_training_check,
                               cpu_saved_bytes,
                               cpu_training_forward_workspace_bytes,
                               cpu_forward_saving,
                               cpu_backward_workspace_bytes,
                               cpu_backward};

}  // namespace

const Build build = {"triangle_multiplication/cpu_avx512/1",
                     1,
                     64,
                     true,
                     false,
                     create_cpu_avx512,
                     cpu_destroy,
                     cpu_check,
                     cpu_packed_bytes,
                     cpu_workspace_bytes,
                     cpu_pack,
                     run_cpu_avx512,
                     cpu::own_threads,
                     &training};

}  // namespace lamina::triangle_multiplication
