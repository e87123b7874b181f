// The AVX2 build of a layer that is one linear map over rows.  Include from the layer's cpu_avx2.cpp alone.
#pragma once
#include "machine.h"
#include "pool.h"
#include "simd_avx2.h"
#include "microkernel.h"
#include "rownorm.h"
#include "row_linear_backward.h"

namespace lamina::cpu {

inline constinit const RowLinearState without_pair_dot{false};

inline Status create_row_linear(const RowLinearSettings &, int32_t, void **state, Failure &failure) {
  const Features has = features();
  const char *missing = !has.avx2 ? "AVX2" : !has.fma ? "FMA" : !has.f16c ? "F16C" : nullptr;
  if (missing)
    return fail(failure, Status::unsupported, "cpu_avx2: this processor or its system lacks %s; use the reference build", missing);
  *state = const_cast<RowLinearState *>(&without_pair_dot);
  return Status::ok;
}

// packed_format: "<layer>/cpu_avx2/<revision>".
constexpr RowLinearBuild row_linear_build(const char *packed_format) {
  return {packed_format,
          1,
          64,
          true,
          false,
          create_row_linear,
          row_linear_destroy,
          row_linear_check,
          row_linear_packed_bytes,
          row_linear_workspace_bytes,
          row_linear_pack,
          row_linear_forward,
          own_threads,
          row_linear_saved_bytes,
          row_linear_forward,
          row_linear_backward_workspace_bytes,
          row_linear_backward};
}

}  // namespace lamina::cpu
