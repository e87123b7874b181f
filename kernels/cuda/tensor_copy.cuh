// Boxes of a tensor between device and shared memory by the tensor memory accelerator (sm_90), one thread for all.
//
// Maps use the 128-byte swizzle: a line of a box is 128 bytes, lines lie behind each other, boxes start at multiples of 1024
// bytes, and of line r the 16-byte piece p lies at piece p ^ (r % 8).  Those of half lines, 64 bytes: at piece p ^ (r / 2 % 4).
#pragma once
#include <cuda.h>

#include "barrier.cuh"

namespace lamina::cuda {

constexpr int line_bytes = 128;

__device__ inline uint32_t swizzled(uint32_t box, int line, int piece) { return box + line * line_bytes + ((piece ^ (line & 7)) << 4); }
__device__ inline uint32_t swizzled_half(uint32_t box, int line, int piece) { return box + line * 64 + ((piece ^ (line >> 1 & 3)) << 4); }

// Fetches the map itself, a kernel parameter: without it, the first copy waits for that.
__device__ inline void prefetch_map(const CUtensorMap &map) { asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory"); }

__device__ inline void load_box(const CUtensorMap &map, Barrier &full, void *to, int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(to)),
      "l"(&map), "r"(full.address()), "r"(x), "r"(y)
      : "memory");
}
__device__ inline void load_box(const CUtensorMap &map, Barrier &full, void *to, int x, int y, int z) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(
                   shared_address(to)),
               "l"(&map), "r"(full.address()), "r"(x), "r"(y), "r"(z)
               : "memory");
}
// Into the L2 cache alone.
__device__ inline void prefetch_box(const CUtensorMap &map, int x, int y) {
  asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global [%0, {%1, %2}];" ::"l"(&map), "r"(x), "r"(y) : "memory");
}
__device__ inline void store_box(const CUtensorMap &map, const void *from, int x, int y) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(&map), "r"(shared_address(from)), "r"(x),
               "r"(y)
               : "memory");
}
__device__ inline void store_box(const CUtensorMap &map, const void *from, int x, int y, int z) {
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(&map), "r"(shared_address(from)),
               "r"(x), "r"(y), "r"(z)
               : "memory");
}
__device__ inline void commit_stores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

// Until at most `pending` of this thread's store groups have not yet read their shared memory.
template <int pending>
__device__ void wait_stores_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(pending) : "memory");
}
// Until at most `pending` are not yet in device memory.
template <int pending>
__device__ void wait_stores() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(pending) : "memory");
}

__device__ inline void store_two(uint32_t to, float low, float high) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(to), "f"(low), "f"(high) : "memory");
}

// What this thread wrote to shared memory is visible to later tensor copies and wgmma.
__device__ inline void publish_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

}  // namespace lamina::cuda
