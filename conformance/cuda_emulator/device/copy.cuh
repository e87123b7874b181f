// Stands in for kernels/cuda/copy.cuh.
#pragma once
#include <cstdint>

#include "conformance/cuda_emulator/device_calls.h"

namespace lamina::cuda {

inline uint32_t shared_address(const void *pointer) { return cuda_emulator::shared_address(pointer); }

inline void copy_16_async(void *shared, const void *global, bool valid) { cuda_emulator::copy_async(shared, global, valid); }
inline void copy_commit() { cuda_emulator::commit_copies(); }
template <int pending>
void copy_wait() {
  cuda_emulator::wait_copies(pending);
}

inline uint4 load_shared_16(uint32_t address) {
  uint4 value;
  std::memcpy(&value, cuda_emulator::shared_pointer(address), sizeof value);
  return value;
}
inline void store_shared_16(uint32_t address, uint4 value) {
  std::memcpy(cuda_emulator::shared_pointer(address), &value, sizeof value);
  cuda_emulator::wrote_shared(address, sizeof value);
}

// PTX ISA, "ldmatrix": lane 8m + r gives line r of matrix m; lane l gets elements 2 (l % 4) and the next of line l / 4, transposed the
// other way round.
inline void load_matrices_any(uint32_t (&to)[4], uint32_t line, bool transposed) {
  uint64_t lines[32];
  cuda_emulator::gather(line, lines);
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (int m = 0; m < 4; ++m) {
    uint16_t pair[2];
    for (int i = 0; i < 2; ++i) {
      const int row = transposed ? lane % 4 * 2 + i : lane / 4, column = transposed ? lane / 4 : lane % 4 * 2 + i;
      std::memcpy(&pair[i], cuda_emulator::shared_pointer(static_cast<uint32_t>(lines[m * 8 + row])) + column * 2, 2);
    }
    to[m] = pair[0] | static_cast<uint32_t>(pair[1]) << 16;
  }
  cuda_emulator::meet_warp();  // nobody overwrites a line before all have read
}
inline void load_matrices(uint32_t (&to)[4], uint32_t line) { load_matrices_any(to, line, false); }
inline void load_matrices_transposed(uint32_t (&to)[4], uint32_t line) { load_matrices_any(to, line, true); }

}  // namespace lamina::cuda
