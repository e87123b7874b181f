#include "machine.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace lamina::cpu {
namespace {

unsigned long long saved_states() {
  unsigned low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<unsigned long long>(high) << 32) | low;
}

}  // namespace

Features features() {
  Features found{};
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return found;  // no OSXSAVE: nothing wider than xmm is saved
  const unsigned long long saved = saved_states();
  const bool ymm = (saved & 0x6) == 0x6, zmm = (saved & 0xe6) == 0xe6, tiles = (saved & 0x60000) == 0x60000;
  found.fma = ymm && (c >> 12 & 1);
  found.f16c = ymm && (c >> 29 & 1);
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
  found.avx2 = ymm && (b >> 5 & 1);
  found.avx512f = zmm && (b >> 16 & 1);
  found.avx512dq = zmm && (b >> 17 & 1);
  found.avx512bw = zmm && (b >> 30 & 1);
  found.avx512vl = zmm && (b >> 31 & 1);
  if (tiles && (d >> 24 & 1)) {
    constexpr int request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    found.amx_tile = syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
    found.amx_bf16 = found.amx_tile && (d >> 22 & 1);
  }
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) found.avx512bf16 = zmm && (a >> 5 & 1);
#ifdef LAMINA_WITHOUT_AVX512BF16  // a test's build: it goes the way of processors that lack it
  found.avx512bf16 = false;
#endif
  return found;
}

}  // namespace lamina::cpu
#else
namespace lamina::cpu {
Features features() { return {}; }
}  // namespace lamina::cpu
#endif
