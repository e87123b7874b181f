// The transition on AVX-512: fp32 by FMA, bfloat16 by vdpbf16ps where the machine has it, else fp32 arithmetic.
#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/microkernel.h"
#include "kernels/cpu/rownorm.h"
#include "kernels/cpu/machine.h"
#include "kernels/cpu/pool.h"
#include "cpu_backward.h"

namespace lamina::transition {
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

}  // namespace

const Build build = {"transition/cpu_avx512/1",
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
                     cpu_forward,
                     cpu::own_threads,
                     cpu_saved_bytes,
                     cpu_backward_workspace_bytes,
                     cpu_backward};

}  // namespace lamina::transition
