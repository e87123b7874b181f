// Step 2: o[h] = a[h] b[h]' for every channel h and batch, a 128 x 128 tile of o a workgroup, 64 x 64 a wave.
//
// Two stages of LDS: while the waves multiply one, the next 64 bytes of each line come from memory into registers, and then into the other.
#pragma once
#include "hip_job.h"
#include "kernels/hip/mma.h"

namespace lamina::triangle_multiplication {

// 128 lines of a matrix [N][pitch], 64 bytes of each at a time.  Line m of the tile goes to LDS line m, or to place_of(m).
template <class T, bool placed>
class LineStream {
 public:
  static constexpr int chunk = 64 / sizeof(T), per_thread = contract_tile * hip::line_pieces / contract_threads;

  // Rows from `row` on of `matrix`; what lies beyond row N or column pitch reads as zeros.  Columns N..pitch-1 hold zeros already.
  __device__ LineStream(const T *matrix, int N, int pitch, int row)
      : memory_(matrix + static_cast<int64_t>(row) * pitch,
                (N - row < contract_tile ? N - row : contract_tile) * pitch * static_cast<int>(sizeof(T))),
        pitch_(pitch),
        line_(hip::thread_index() / hip::line_pieces),
        piece_(hip::thread_index() % hip::line_pieces) {}

  __device__ void fetch(int index) {
    const int column = index * chunk + piece_ * (chunk / hip::line_pieces);
#pragma unroll
    for (int i = 0; i < per_thread; ++i) {
      const int offset = ((line_ + i * lines_at_once) * pitch_ + column) * static_cast<int>(sizeof(T));
      coming_[i] = memory_.load(column < pitch_ ? offset : hip::outside);
    }
  }
  __device__ void put(hip::Piece *stage) const {
#pragma unroll
    for (int i = 0; i < per_thread; ++i) {
      const int line = line_ + i * lines_at_once;
      stage[hip::piece_at(placed ? hip::place_of(line) : line, piece_)] = coming_[i];
    }
  }

 private:
  static constexpr int lines_at_once = contract_threads / hip::line_pieces;
  const hip::CheckedMemory memory_;
  const int pitch_, line_, piece_;
  hip::Piece coming_[per_thread];
};

template <class T>
__device__ void contract(const ContractJob &job) {
  constexpr int stage_pieces = contract_tile * hip::line_pieces;
  __shared__ hip::Piece stages[2][2][stage_pieces];  // two stages of b and a
  const int tiles = (job.N + contract_tile - 1) / contract_tile;
  const int i_begin = static_cast<int>(hip::block_x()) / tiles * contract_tile,
            j_begin = static_cast<int>(hip::block_x()) % tiles * contract_tile;
  const int64_t matrix = hip::block_y() * job.plane + hip::block_z() * (static_cast<int64_t>(job.N) * job.pitch);
  // b's lines are the sums' m, placed so that a lane holds 16 neighbouring j.
  LineStream<T, true> b(static_cast<const T *>(job.b) + matrix, job.N, job.pitch, j_begin);
  LineStream<T, false> a(static_cast<const T *>(job.a) + matrix, job.N, job.pitch, i_begin);
  const int chunks = (job.pitch + a.chunk - 1) / a.chunk;
  const int j_wave = hip::wave_index() % 2 * 64, i_wave = hip::wave_index() / 2 * 64;

  hip::Sums sums[2][2] = {};
  b.fetch(0), a.fetch(0);
  b.put(stages[0][0]), a.put(stages[0][1]);
  for (int index = 0; index < chunks; ++index) {
    hip::barrier();  // this stage is written, and nobody reads the other
    if (index + 1 < chunks) b.fetch(index + 1), a.fetch(index + 1);
    const auto &stage = stages[index % 2];
#pragma unroll
    for (int group = 0; group < hip::line_groups<T>; ++group) {
      hip::Fragment<T> left[2], right[2];
#pragma unroll
      for (int m = 0; m < 2; ++m) left[m] = hip::load_fragment<T>(stage[0], j_wave + m * 32 + hip::lane_line(), group);
#pragma unroll
      for (int n = 0; n < 2; ++n) right[n] = hip::load_fragment<T>(stage[1], i_wave + n * 32 + hip::lane_line(), group);
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < 2; ++n) sums[m][n] = hip::multiply(left[m], right[n], sums[m][n]);
    }
    if (index + 1 < chunks) b.put(stages[(index + 1) % 2][0]), a.put(stages[(index + 1) % 2][1]);
  }

  T *o = static_cast<T *>(job.o) + matrix;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const int i = i_begin + i_wave + n * 32 + hip::lane_line();
    if (i >= job.N) continue;
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int j = j_begin + j_wave + m * 32 + hip::lane_half() * 16 + half * 8;
        if (j >= job.pitch) continue;
        gpu::Eight<T> eight;
#pragma unroll
        for (int e = 0; e < 8; ++e) eight.value[e] = gpu::from_float<T>(sums[m][n][half * 8 + e]);
        gpu::store_eight(o + static_cast<int64_t>(i) * job.pitch + j, eight, true);
      }
  }
}

}  // namespace lamina::triangle_multiplication
