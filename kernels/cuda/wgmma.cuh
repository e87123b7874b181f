// Warpgroup matrix products (wgmma, sm_90a): 64 rows by n columns by 16 deep, bf16 or fp16 operands, float sums.
//
// Sums of one warpgroup, for column tile j of 8: sum[4j], sum[4j + 1] are row 16*warp + lane/4, columns 8j + 2*(lane%4) and the next;
// sum[4j + 2], sum[4j + 3] are eight rows below.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "tensor_copy.cuh"

namespace lamina::cuda {

template <class T>
constexpr bool is_half = false;  // else bf16
template <>
constexpr bool is_half<__half> = true;

// How an operand lies in shared memory, in swizzled lines of 64 elements: along k (a line is one row), or along the rows (a line is one k).
enum class Lines : int { along_k = 0, along_rows = 1 };

// Operand whose groups of 8 lines lie 1024 bytes apart.  along_rows: the next 64 rows begin `box_bytes` further on.
__device__ inline uint64_t operand(uint32_t address, int box_bytes = 16) {
  constexpr uint64_t swizzle_128 = uint64_t{1} << 62, group = uint64_t{1024 >> 4} << 32;
  return uint64_t{(address & 0x3ffff) >> 4} | uint64_t(box_bytes >> 4) << 16 | group | swizzle_128;
}
// The operand 16 deeper.
template <Lines lines>
__device__ uint64_t deeper(uint64_t operand, int steps) {
  return operand + steps * (lines == Lines::along_k ? 32 >> 4 : 16 * line_bytes >> 4);
}

__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until at most `pending` committed groups run.
template <int pending>
__device__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

// clang-format off
#define LAMINA_SUMS_4(s, i) "+f"(s[i]), "+f"(s[i + 1]), "+f"(s[i + 2]), "+f"(s[i + 3])
#define LAMINA_SUMS_16(s, i) LAMINA_SUMS_4(s, i), LAMINA_SUMS_4(s, i + 4), LAMINA_SUMS_4(s, i + 8), LAMINA_SUMS_4(s, i + 12)
#define LAMINA_SUMS_64(s, i) LAMINA_SUMS_16(s, i), LAMINA_SUMS_16(s, i + 16), LAMINA_SUMS_16(s, i + 32), LAMINA_SUMS_16(s, i + 48)
#define LAMINA_SUMS_32(s, i) LAMINA_SUMS_16(s, i), LAMINA_SUMS_16(s, i + 16)
#define LAMINA_NAMES_32 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define LAMINA_NAMES_64 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define LAMINA_NAMES_128 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
// clang-format on

// sum[64 x 128] = a b' or += a b'; a in registers: of k pair column 2*(lane%4): rows lane/4 and +8, then the same 8 deeper.
template <class T = __nv_bfloat16>
__device__ void multiply(float (&sum)[64], const uint32_t (&a)[4], uint64_t b, bool add) {
#define LAMINA_PRODUCT(type)                                                                                                             \
  asm volatile(                                                                                                                          \
      "{\n .reg .pred add;\n setp.ne.b32 add, %69, 0;\n"                                                                                 \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" LAMINA_NAMES_64 "}, {%64, %65, %66, %67}, %68, add, 1, 1, 0;\n}" \
      : LAMINA_SUMS_64(sum, 0)                                                                                                           \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{add}))
  if constexpr (is_half<T>) LAMINA_PRODUCT("f16");
  else LAMINA_PRODUCT("bf16");
#undef LAMINA_PRODUCT
}
// The same for 64 columns.
template <class T = __nv_bfloat16>
__device__ void multiply(float (&sum)[32], const uint32_t (&a)[4], uint64_t b, bool add) {
#define LAMINA_PRODUCT(type)                                                                                                            \
  asm volatile(                                                                                                                         \
      "{\n .reg .pred add;\n setp.ne.b32 add, %37, 0;\n"                                                                                \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " {" LAMINA_NAMES_32 "}, {%32, %33, %34, %35}, %36, add, 1, 1, 0;\n}" \
      : LAMINA_SUMS_32(sum, 0)                                                                                                          \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{add}))
  if constexpr (is_half<T>) LAMINA_PRODUCT("f16");
  else LAMINA_PRODUCT("bf16");
#undef LAMINA_PRODUCT
}
// Both operands in shared memory.
template <Lines lines, class T = __nv_bfloat16>
__device__ void multiply(float (&sum)[64], uint64_t a, uint64_t b, bool add) {
#define LAMINA_PRODUCT(type)                                                                                                   \
  asm volatile(                                                                                                                \
      "{\n .reg .pred add;\n setp.ne.b32 add, %66, 0;\n"                                                                       \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" LAMINA_NAMES_64 "}, %64, %65, add, 1, 1, %67, %67;\n}" \
      : LAMINA_SUMS_64(sum, 0)                                                                                                 \
      : "l"(a), "l"(b), "r"(int{add}), "n"(static_cast<int>(lines)))
  if constexpr (is_half<T>) LAMINA_PRODUCT("f16");
  else LAMINA_PRODUCT("bf16");
#undef LAMINA_PRODUCT
}
template <Lines lines, class T = __nv_bfloat16>
__device__ void multiply(float (&sum)[128], uint64_t a, uint64_t b, bool add) {
#define LAMINA_PRODUCT(type)                                                                                                        \
  asm volatile(                                                                                                                     \
      "{\n .reg .pred add;\n setp.ne.b32 add, %130, 0;\n"                                                                           \
      "wgmma.mma_async.sync.aligned.m64n256k16.f32." type "." type " {" LAMINA_NAMES_128 "}, %128, %129, add, 1, 1, %131, %131;\n}" \
      : LAMINA_SUMS_64(sum, 0), LAMINA_SUMS_64(sum, 64)                                                                             \
      : "l"(a), "l"(b), "r"(int{add}), "n"(static_cast<int>(lines)))
  if constexpr (is_half<T>) LAMINA_PRODUCT("f16");
  else LAMINA_PRODUCT("bf16");
#undef LAMINA_PRODUCT
}

#undef LAMINA_NAMES_128
#undef LAMINA_NAMES_64
#undef LAMINA_NAMES_32
#undef LAMINA_SUMS_64
#undef LAMINA_SUMS_32
#undef LAMINA_SUMS_16
#undef LAMINA_SUMS_4

// 8 x 8 matrices between registers and shared memory; each lane gives the address of one line of 16 bytes.
__device__ inline void store_matrices(uint32_t line, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(line), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}
__device__ inline void store_matrices_transposed(uint32_t line, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(line), "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
}

// Two floats as a pair of bf16 or fp16, and back.
template <class T = __nv_bfloat16>
__device__ uint32_t pack(float low, float high) {
  uint32_t pair;
  if constexpr (is_half<T>) asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  else asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
template <class T = __nv_bfloat16>
__device__ float low_half(uint32_t pair) {
  if constexpr (is_half<T>) return __half2float(__ushort_as_half(static_cast<unsigned short>(pair)));
  else return __uint_as_float(pair << 16);
}
template <class T = __nv_bfloat16>
__device__ float high_half(uint32_t pair) {
  if constexpr (is_half<T>) return __half2float(__ushort_as_half(static_cast<unsigned short>(pair >> 16)));
  else return __uint_as_float(pair & 0xffff0000u);
}

__device__ inline float tanh_approximate(float x) {
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace lamina::cuda
