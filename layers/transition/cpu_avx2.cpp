// The transition on AVX2: fp32 arithmetic for every dtype.
#include "kernels/cpu/simd_avx2.h"
#include "kernels/cpu/microkernel.h"
#include "kernels/cpu/rownorm.h"
#include "kernels/cpu/machine.h"
#include "kernels/cpu/pool.h"
#include "cpu_backward.h"

namespace lamina::transition {
namespace {

constinit const CpuState fp32_arithmetic{false};

Status create_cpu_avx2(const Settings &, Device, void **state, Failure &failure) {
  const cpu::Features has = cpu::features();
  const char *missing = !has.avx2 ? "AVX2" : !has.fma ? "FMA" : !has.f16c ? "F16C" : nullptr;
  if (missing) return fail(failure, Status::unsupported, "cpu_avx2: this processor or its system lacks %s; use reference", missing);
  *state = const_cast<CpuState *>(&fp32_arithmetic);
  return Status::ok;
}

}  // namespace

const Build build = {"transition/cpu_avx2/1",
                     1,
                     64,
                     true,
                     false,
                     create_cpu_avx2,
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
