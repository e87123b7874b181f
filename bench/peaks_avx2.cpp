// Compiled with AVX2 and FMA; reached only after the processor was asked.
#include <immintrin.h>

#include "bench/peaks.h"

namespace lamina::bench {

double spend_fma_avx2(int64_t rounds) {
  constexpr int registers = 10;
  __m256 sum[registers], factor = _mm256_set1_ps(1e-3f), one = _mm256_set1_ps(1.f);
#pragma GCC unroll 16
  for (int i = 0; i < registers; ++i) sum[i] = _mm256_setzero_ps();
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < registers; ++i) {
      sum[i] = _mm256_fmadd_ps(factor, one, sum[i]);
      asm volatile("" : "+x"(sum[i]));  // every round counts
    }
  }
  return static_cast<double>(rounds) * registers * 8 * 2;
}

}  // namespace lamina::bench
