// Triangle multiplication on AVX2: fp32 arithmetic for every dtype; 16-bit tensors keep a and b in 16 bits.
#include "kernels/cpu/simd_avx2.h"
#include "kernels/cpu/microkernel.h"
#include "kernels/cpu/rownorm.h"
#include "kernels/cpu/machine.h"
#include "kernels/cpu/pool.h"
#include "cpu_backward.h"

namespace lamina::triangle_multiplication {
namespace {

constinit const CpuState fp32_arithmetic{false};

Status create_cpu_avx2(const Settings &, Device, void **state, Failure &failure) {
  const cpu::Features has = cpu::features();
  const char *missing = !has.avx2 ? "AVX2" : !has.fma ? "FMA" : !has.f16c ? "F16C" : nullptr;
  if (missing) return fail(failure, Status::unsupported, "cpu_avx2: this processor or its system lacks %s; use reference", missing);
  *state = const_cast<CpuState *>(&fp32_arithmetic);
  return Status::ok;
}

Status run_cpu_avx2(const Problem &p, const Run &run, Failure &failure) { return cpu_forward(p, run, failure); }

Status create_training(const Settings &settings, Pass, Save, Device device, void **state, Failure &failure) {
  return create_cpu_avx2(settings, device, state, failure);
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

const Build build = {"triangle_multiplication/cpu_avx2/1",
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
                     run_cpu_avx2,
                     cpu::own_threads,
                     &training};

}  // namespace lamina::triangle_multiplication
