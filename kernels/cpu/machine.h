// What this processor and its operating system can run.  Asked once; cpuid and xgetbv only.
#pragma once

namespace lamina::cpu {

struct Features {
  bool avx2, fma, f16c;                                    // and the system saves ymm
  bool avx512f, avx512bw, avx512vl, avx512dq, avx512bf16;  // and the system saves zmm
  bool amx_tile, amx_bf16;                                 // and the system gives tile data on request
};

// [pure] [thread-safe]
Features features();

}  // namespace lamina::cpu
