// One product of a warp: 16 rows by 8 columns by 16 deep (mma.sync m16n8k16, sm_80 and newer), 16-bit operands, float sums.
#pragma once
#include "kernels/gpu/element.cuh"

namespace lamina::cuda {

__device__ inline void mma(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, gpu::bfloat16) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ inline void mma(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, gpu::float16) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace lamina::cuda
