// Warpgroup matrix products (wgmma, sm_90a) of bf16 or fp16, either operand along k or along its rows: 64 rows by `columns` by 16 deep.
// Sums lie as wgmma.cuh says; columns = twice the number of sums of a thread.
#pragma once
#include "kernels/gpu/element.cuh"
#include "wgmma.cuh"

namespace lamina::cuda {

// clang-format off
#define LAMINA_SUMS_4(s, i) "+f"(s[i]), "+f"(s[i + 1]), "+f"(s[i + 2]), "+f"(s[i + 3])
#define LAMINA_SUMS_16(s, i) LAMINA_SUMS_4(s, i), LAMINA_SUMS_4(s, i + 4), LAMINA_SUMS_4(s, i + 8), LAMINA_SUMS_4(s, i + 12)
#define LAMINA_SUMS_32(s, i) LAMINA_SUMS_16(s, i), LAMINA_SUMS_16(s, i + 16)
#define LAMINA_SUMS_64(s, i) LAMINA_SUMS_32(s, i), LAMINA_SUMS_32(s, i + 32)
#define LAMINA_SUMS_128(s, i) LAMINA_SUMS_64(s, i), LAMINA_SUMS_64(s, i + 64)
#define LAMINA_NAMES_32 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define LAMINA_NAMES_64 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define LAMINA_NAMES_96 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define LAMINA_NAMES_128 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define LAMINA_SHARED_32(type) \
  asm volatile("{\n .reg .pred add;\n setp.ne.b32 add, %34, 0;\n" \
               "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " {" LAMINA_NAMES_32 "}, %32, %33, add, 1, 1, %35, %36;\n}" \
               : LAMINA_SUMS_32(sum, 0) : "l"(a), "l"(b), "r"(int{add}), "n"(static_cast<int>(a_lines)), "n"(static_cast<int>(b_lines)))
#define LAMINA_SHARED_64(type) \
  asm volatile("{\n .reg .pred add;\n setp.ne.b32 add, %66, 0;\n" \
               "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" LAMINA_NAMES_64 "}, %64, %65, add, 1, 1, %67, %68;\n}" \
               : LAMINA_SUMS_64(sum, 0) : "l"(a), "l"(b), "r"(int{add}), "n"(static_cast<int>(a_lines)), "n"(static_cast<int>(b_lines)))
#define LAMINA_SHARED_96(type) \
  asm volatile("{\n .reg .pred add;\n setp.ne.b32 add, %98, 0;\n" \
               "wgmma.mma_async.sync.aligned.m64n192k16.f32." type "." type " {" LAMINA_NAMES_96 "}, %96, %97, add, 1, 1, %99, %100;\n}" \
               : LAMINA_SUMS_64(sum, 0), LAMINA_SUMS_32(sum, 64) \
               : "l"(a), "l"(b), "r"(int{add}), "n"(static_cast<int>(a_lines)), "n"(static_cast<int>(b_lines)))
#define LAMINA_SHARED_128(type) \
  asm volatile("{\n .reg .pred add;\n setp.ne.b32 add, %130, 0;\n" \
               "wgmma.mma_async.sync.aligned.m64n256k16.f32." type "." type " {" LAMINA_NAMES_128 "}, %128, %129, add, 1, 1, %131, %132;\n}" \
               : LAMINA_SUMS_128(sum, 0) : "l"(a), "l"(b), "r"(int{add}), "n"(static_cast<int>(a_lines)), "n"(static_cast<int>(b_lines)))
#define LAMINA_REGISTERS_64(type) \
  asm volatile("{\n .reg .pred add;\n setp.ne.b32 add, %69, 0;\n" \
               "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" LAMINA_NAMES_64 "}, {%64, %65, %66, %67}, %68, add, 1, 1, %70;\n}" \
               : LAMINA_SUMS_64(sum, 0) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{add}), "n"(static_cast<int>(b_lines)))
// clang-format on

// sum = a b' or += a b'; both operands in shared memory, as operand() of wgmma.cuh makes them.
template <class T, Lines a_lines, Lines b_lines, int sums>
__device__ void product(float (&sum)[sums], uint64_t a, uint64_t b, bool add) {
  constexpr bool half = sizeof(T) == 2 && __is_same(T, gpu::float16);
  if constexpr (sums == 32) {
    if constexpr (half) LAMINA_SHARED_32("f16");
    else LAMINA_SHARED_32("bf16");
  } else if constexpr (sums == 64) {
    if constexpr (half) LAMINA_SHARED_64("f16");
    else LAMINA_SHARED_64("bf16");
  } else if constexpr (sums == 96) {
    if constexpr (half) LAMINA_SHARED_96("f16");
    else LAMINA_SHARED_96("bf16");
  } else {
    static_assert(sums == 128, "64, 128, 192 or 256 columns");
    if constexpr (half) LAMINA_SHARED_128("f16");
    else LAMINA_SHARED_128("bf16");
  }
}

// a in registers: of k pair column 2*(lane%4): rows lane/4 and +8, then the same 8 deeper.
template <class T, Lines b_lines>
__device__ void product(float (&sum)[64], const uint32_t (&a)[4], uint64_t b, bool add) {
  if constexpr (__is_same(T, gpu::float16)) LAMINA_REGISTERS_64("f16");
  else LAMINA_REGISTERS_64("bf16");
}

#undef LAMINA_REGISTERS_64
#undef LAMINA_SHARED_128
#undef LAMINA_SHARED_96
#undef LAMINA_SHARED_64
#undef LAMINA_SHARED_32
#undef LAMINA_NAMES_128
#undef LAMINA_NAMES_96
#undef LAMINA_NAMES_64
#undef LAMINA_NAMES_32
#undef LAMINA_SUMS_128
#undef LAMINA_SUMS_64
#undef LAMINA_SUMS_32
#undef LAMINA_SUMS_16
#undef LAMINA_SUMS_4

// Two floats as a pair of T, the first in the low half; and back.
template <class T>
__device__ uint32_t pack_pair(float low, float high) {
  if constexpr (__is_same(T, gpu::float16)) {
    uint32_t pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
  } else {
    return pack(low, high);
  }
}
template <class T>
__device__ float2 unpack_pair(uint32_t pair) {
  if constexpr (__is_same(T, gpu::float16)) return __half22float2(*reinterpret_cast<const __half2 *>(&pair));
  else return {low_half(pair), high_half(pair)};
}

}  // namespace lamina::cuda
