// Compiled with AVX-512 and its bfloat16 dot product; reached only after the processor was asked.
#include <immintrin.h>

#include "bench/peaks.h"

namespace lamina::bench {
namespace {

template <bool dot>
double spend(int64_t rounds) {
  constexpr int registers = 16;  // vdpbf16ps needs as many to hide its latency
  __m512 sum[registers], factor = _mm512_set1_ps(1e-3f), one = _mm512_set1_ps(1.f);
#pragma GCC unroll 16
  for (int i = 0; i < registers; ++i) sum[i] = _mm512_setzero_ps();
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < registers; ++i) {
      if constexpr (dot) sum[i] = _mm512_dpbf16_ps(sum[i], (__m512bh)factor, (__m512bh)one);
      else sum[i] = _mm512_fmadd_ps(factor, one, sum[i]);
      asm volatile("" : "+v"(sum[i]));  // every round counts
    }
  }
  return static_cast<double>(rounds) * registers * 16 * (dot ? 4 : 2);
}

}  // namespace

double spend_fma_avx512(int64_t rounds) { return spend<false>(rounds); }
double spend_dot_bf16(int64_t rounds) { return spend<true>(rounds); }

}  // namespace lamina::bench
