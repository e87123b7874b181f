// Warpgroup matrix products with each operand along k or along its rows by itself (wgmma, sm_90a); wgmma.cuh has those of one kind.
//
// 64 rows by n columns by 16 deep; sum has n / 2 floats a thread, laid out as wgmma.cuh says.  Along its rows, an operand's next 64 rows begin
// `box_bytes` of operand() further on.
#pragma once
#include "wgmma.cuh"

namespace lamina::cuda {

// clang-format off
#define LAMINA_SUM_4(s, i) "+f"(s[i]), "+f"(s[i + 1]), "+f"(s[i + 2]), "+f"(s[i + 3])
#define LAMINA_SUM_16(s, i) LAMINA_SUM_4(s, i), LAMINA_SUM_4(s, i + 4), LAMINA_SUM_4(s, i + 8), LAMINA_SUM_4(s, i + 12)
#define LAMINA_SUM_32(s, i) LAMINA_SUM_16(s, i), LAMINA_SUM_16(s, i + 16)
#define LAMINA_SUM_64(s, i) LAMINA_SUM_32(s, i), LAMINA_SUM_32(s, i + 32)
#define LAMINA_SUM_128(s, i) LAMINA_SUM_64(s, i), LAMINA_SUM_64(s, i + 64)
#define LAMINA_SUM_NAMES_4 \
  "%0, %1, %2, %3"
#define LAMINA_SUM_NAMES_32 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define LAMINA_SUM_NAMES_64 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define LAMINA_SUM_NAMES_128 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
// clang-format on

// Both operands in shared memory, of T: bf16 or fp16.
#define LAMINA_PRODUCT(type, columns, names, sums, a_register, b_register, add_register, a_turned, b_turned)                    \
  asm volatile("{\n .reg .pred add;\n setp.ne.b32 add, " add_register                                                           \
               ", 0;\n"                                                                                                         \
               "wgmma.mma_async.sync.aligned.m64n" columns "k16.f32." type "." type " {" names "}, " a_register ", " b_register \
               ", add, 1, 1, " a_turned ", " b_turned ";\n}"                                                                    \
               : sums                                                                                                           \
               : "l"(a), "l"(b), "r"(int{add}), "n"(static_cast<int>(a_lines)), "n"(static_cast<int>(b_lines)))
template <Lines a_lines, Lines b_lines, class T = __nv_bfloat16>
__device__ void multiply_mixed(float (&sum)[4], uint64_t a, uint64_t b, bool add) {
#define LAMINA_PRODUCT_OF(type) LAMINA_PRODUCT(type, "8", LAMINA_SUM_NAMES_4, LAMINA_SUM_4(sum, 0), "%4", "%5", "%6", "%7", "%8")
  if constexpr (is_half<T>) LAMINA_PRODUCT_OF("f16");
  else LAMINA_PRODUCT_OF("bf16");
#undef LAMINA_PRODUCT_OF
}
template <Lines a_lines, Lines b_lines, class T = __nv_bfloat16>
__device__ void multiply_mixed(float (&sum)[32], uint64_t a, uint64_t b, bool add) {
#define LAMINA_PRODUCT_OF(type) LAMINA_PRODUCT(type, "64", LAMINA_SUM_NAMES_32, LAMINA_SUM_32(sum, 0), "%32", "%33", "%34", "%35", "%36")
  if constexpr (is_half<T>) LAMINA_PRODUCT_OF("f16");
  else LAMINA_PRODUCT_OF("bf16");
#undef LAMINA_PRODUCT_OF
}
template <Lines a_lines, Lines b_lines, class T = __nv_bfloat16>
__device__ void multiply_mixed(float (&sum)[64], uint64_t a, uint64_t b, bool add) {
#define LAMINA_PRODUCT_OF(type) LAMINA_PRODUCT(type, "128", LAMINA_SUM_NAMES_64, LAMINA_SUM_64(sum, 0), "%64", "%65", "%66", "%67", "%68")
  if constexpr (is_half<T>) LAMINA_PRODUCT_OF("f16");
  else LAMINA_PRODUCT_OF("bf16");
#undef LAMINA_PRODUCT_OF
}
template <Lines a_lines, Lines b_lines, class T = __nv_bfloat16>
__device__ void multiply_mixed(float (&sum)[128], uint64_t a, uint64_t b, bool add) {
#define LAMINA_PRODUCT_OF(type) \
  LAMINA_PRODUCT(type, "256", LAMINA_SUM_NAMES_128, LAMINA_SUM_128(sum, 0), "%128", "%129", "%130", "%131", "%132")
  if constexpr (is_half<T>) LAMINA_PRODUCT_OF("f16");
  else LAMINA_PRODUCT_OF("bf16");
#undef LAMINA_PRODUCT_OF
}
#undef LAMINA_PRODUCT

// a in registers, as multiply() of wgmma.cuh has it; b along its rows, 128 columns.
template <class T = __nv_bfloat16>
__device__ void multiply_by_rows(float (&sum)[64], const uint32_t (&a)[4], uint64_t b, bool add) {
#define LAMINA_PRODUCT(type)                                                                \
  asm volatile(                                                                             \
      "{\n .reg .pred add;\n setp.ne.b32 add, %69, 0;\n"                                    \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" LAMINA_SUM_NAMES_64 \
      "}, {%64, %65, %66, %67}, %68, add, 1, 1, 1;\n}"                                      \
      : LAMINA_SUM_64(sum, 0)                                                               \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{add}))
  if constexpr (is_half<T>) LAMINA_PRODUCT("f16");
  else LAMINA_PRODUCT("bf16");
#undef LAMINA_PRODUCT
}

#undef LAMINA_SUM_NAMES_128
#undef LAMINA_SUM_NAMES_64
#undef LAMINA_SUM_NAMES_32
#undef LAMINA_SUM_NAMES_4
#undef LAMINA_SUM_128
#undef LAMINA_SUM_64
#undef LAMINA_SUM_32
#undef LAMINA_SUM_16
#undef LAMINA_SUM_4

}  // namespace lamina::cuda
