// Stands in for kernels/cuda/tensor_copy.cuh.
#pragma once
#include <cuda.h>

#include "barrier.cuh"

namespace lamina::cuda {

constexpr int line_bytes = 128;

inline uint32_t swizzled(uint32_t box, int line, int piece) {
  return box + static_cast<uint32_t>(line * line_bytes) + static_cast<uint32_t>((piece ^ (line & 7)) << 4);
}

inline void prefetch_map(const CUtensorMap &) {}
inline void load_box(const CUtensorMap &map, Barrier &full, void *to, int x, int y) {
  cuda_emulator::load_box(&map, &full, to, {x, y, 0}, 2, 0);
}
inline void load_box(const CUtensorMap &map, Barrier &full, void *to, int x, int y, int z) {
  cuda_emulator::load_box(&map, &full, to, {x, y, z}, 3, 0);
}
inline void store_box(const CUtensorMap &map, const void *from, int x, int y) { cuda_emulator::store_box(&map, from, {x, y, 0}, 2); }
inline void store_box(const CUtensorMap &map, const void *from, int x, int y, int z) { cuda_emulator::store_box(&map, from, {x, y, z}, 3); }
inline void commit_stores() { cuda_emulator::commit_stores(); }

// What has read its shared memory is in device memory here, so the two are one.
template <int pending>
void wait_stores_read() {
  cuda_emulator::wait_stores(pending);
}
template <int pending>
void wait_stores() {
  cuda_emulator::wait_stores(pending);
}

inline void store_two(uint32_t to, float low, float high) {
  std::memcpy(cuda_emulator::shared_pointer(to), &low, sizeof low);
  std::memcpy(cuda_emulator::shared_pointer(to + 4), &high, sizeof high);
  cuda_emulator::wrote_shared(to, 8);
}

inline void publish_shared() { cuda_emulator::publish_shared(); }

}  // namespace lamina::cuda
