// From device memory through registers to LDS: 16 bytes a thread, with a range check in the load itself.
#pragma once
#include "wave.h"

namespace lamina::hip {

typedef unsigned Piece __attribute__((ext_vector_type(4)));  // 16 bytes

// Memory that a whole wave reads from; what lies beyond `bytes` reads as zeros.
class CheckedMemory {
 public:
  // The same arguments in all lanes.
  __device__ CheckedMemory(const void *begin, int bytes)
      : resource_(__builtin_amdgcn_make_buffer_rsrc(const_cast<void *>(begin), 0, bytes, raw_32_bit)) {}

  // offset: a multiple of 16 that is inside as a whole or not at all; any negative number is outside.
  __device__ Piece load(int offset) const { return __builtin_amdgcn_raw_buffer_load_b128(resource_, offset, 0, 0); }

 private:
  static constexpr int raw_32_bit = 0x00020000;  // word 3 of a buffer descriptor: untyped data, no swizzle
  __amdgpu_buffer_rsrc_t resource_;
};
constexpr int outside = -16;

// LDS lines of 64 bytes without padding: piece p of line l lies at p ^ (l / 2 % 4), so that eight neighbouring lanes that read one
// piece of eight neighbouring lines meet in no bank.
constexpr int line_pieces = 4;
__device__ inline int piece_at(int line, int piece) { return line * line_pieces + (piece ^ (line / 2 % line_pieces)); }

}  // namespace lamina::hip
