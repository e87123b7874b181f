// What the two phases of the CPU builds share: modes, memory layout of a and b, scratch.
#pragma once
#include "cpu_packed.h"
#include "tiles.h"

namespace lamina::triangle_multiplication {

using cpu::micro_rows, cpu::round_up, cpu::Vector, cpu::width;
constexpr int64_t strip_pair = 2 * width;  // positions of one back step, lanes of one micro tile

// How a and b lie in memory between the phases: [row block][channel][column][width rows], by pairs of columns.  Product contracts them.
struct FloatStorage {
  using Product = cpu::FloatProduct;
  static constexpr int64_t pair_bytes = 2 * 4 * width;
  static constexpr bool widens = false;
  static void put(char *to, Vector even, Vector odd) {
    cpu::stream(reinterpret_cast<float *>(to), even), cpu::stream(reinterpret_cast<float *>(to) + width, odd);
  }
};
#ifdef LAMINA_PAIR_DOT
struct PairStorage {  // two columns are one unit of vdpbf16ps: stored, the operand is packed
  using Product = cpu::PairProduct;
  static constexpr int64_t pair_bytes = 4 * width;
  static constexpr bool widens = false;
  static void put(char *to, Vector even, Vector odd) { cpu::stream(reinterpret_cast<float *>(to), cpu::pairs(even, odd)); }
};
// For training, whose gradients of a and b sum over rows: beside the pairs of columns, at Geometry::lanes_offset, [column][width rows] in
// 16 bits, where two neighbouring rows are a unit.
struct PairTrainingStorage : PairStorage {
  static void put_lanes(char *to, Vector even, Vector odd) { cpu::stream(reinterpret_cast<float *>(to), cpu::join(even, odd)); }
};
#endif
template <class Io>
struct HalfStorage {  // 16 bits in memory, floats in the arithmetic
  using Product = cpu::FloatProduct;
  static constexpr int64_t pair_bytes = 4 * width;
  static constexpr bool widens = true;
  static void put(char *to, Vector even, Vector odd) { Io::store(to, even, width), Io::store(to + 2 * width, odd, width); }
  static void widen(const char *panel, int64_t columns, float *to) {
    for (int64_t k = 0; k < columns; ++k) cpu::store(to + k * width, Io::load(panel + k * 2 * width, width));
  }
};

template <class IoType, class StorageType, class ProductType, class SigmoidType>
struct Mode {
  using Io = IoType;
  using Storage = StorageType;
  using Product = ProductType;
  using Sigmoid = SigmoidType;
};

struct Geometry {
  int64_t blocks, columns;             // row blocks of a and b; columns padded to even
  int64_t channel_bytes, block_bytes;  // strides in memory; a channel has 64 bytes of padding against power-of-two strides
  int64_t lanes_offset = 0;            // PairTrainingStorage: bytes from a channel's pairs to its lanes
  int64_t z_stride, o_stride;          // floats between rows of z, between strips of o
  Tile tile;

  Geometry(const Problem &p, Tile tile_size, int64_t pair_bytes, int64_t per_unit) : tile(tile_size) {
    blocks = round_up(p.N, tile.rows > tile.columns ? tile.rows : tile.columns) / width;
    columns = round_up(p.N, 2);
    channel_bytes = round_up(columns / 2 * pair_bytes, 64) + 64;
    block_bytes = channel_bytes * 2 * p.H;
    z_stride = round_up(p.C / per_unit, width);
    o_stride = p.H * width + 16;
  }
  uint64_t operand_bytes() const { return static_cast<uint64_t>(blocks * block_bytes); }
};

// Floats that one worker needs, by purpose.  The two phases use the same memory.
struct Scratch {
  int64_t z, panel, o, normed, gate, projected, widened, front_total, back_total;

  Scratch(const Problem &p, const Geometry &g, int64_t per_unit, bool widens) {
    z = strip_pair * g.z_stride;
    panel = strip_pair * g.z_stride;
    o = g.tile.rows * (g.tile.columns / width) * g.o_stride;
    normed = strip_pair * p.H / per_unit;
    gate = p.settings.gate_before_projection ? strip_pair * p.H : 0;
    projected = micro_rows * strip_pair;
    widened = widens ? (g.tile.rows + g.tile.columns) * g.columns : 0;
    front_total = z + panel;
    back_total = z + panel + o + round_up(normed, 16) + gate + projected + widened;
  }
  int64_t bytes() const { return round_up((front_total > back_total ? front_total : back_total) * 4, 4096) + 64; }
};

struct Job {
  const Problem &p;
  const Geometry &g;
  const Scratch &scratch;
  PackedWeights w;
  char *operands;                  // a and b
  cpu::RowStatistics *statistics;  // [N, N] of the batch entry at hand
  int64_t batch;

  cpu::RowNorm norm_in() const { return {w.norm_in_weight, w.norm_in_bias, static_cast<float>(p.settings.eps)}; }
};

// Row (i, j) of a [B, N, N, C] tensor.
template <class Io>
inline char *row_of(const View &view, int64_t batch, int64_t i, int64_t j) {
  return static_cast<char *>(view.data) + (batch * view.stride[0] + i * view.stride[1] + j * view.stride[2]) * Io::bytes;
}

// Brings rows of `lines` cache lines into L1, a few lines at each step, beside arithmetic that hides them.  row_at(n) may be any address.
template <class RowAt>
class RowPrefetch {
 public:
  RowPrefetch(int64_t rows, int64_t lines, RowAt row_at)
      : rows_(rows), lines_(lines), row_at_(row_at), at_(rows > 0 ? row_at(0) : nullptr) {}
  void step(int64_t count) {
    for (; count > 0 && row_ < rows_; --count, at_ += 64) {
      _mm_prefetch(at_, _MM_HINT_T0);
      if (++line_ < lines_) continue;
      line_ = 0;
      if (++row_ < rows_) at_ = row_at_(row_) - 64;
    }
  }

 private:
  int64_t rows_, lines_, row_ = 0, line_ = 0;
  RowAt row_at_;
  const char *at_;
};

inline float mask_at(const Problem &p, int64_t batch, int64_t i, int64_t j) {
  const View &pair = p.pair_mask, &token = p.token_mask;
  if (pair.present)
    return static_cast<float>(load_scalar(pair.data, pair.dtype, batch * pair.stride[0] + i * pair.stride[1] + j * pair.stride[2]));
  if (!token.present) return 1;
  const int64_t entry = batch * token.stride[0];
  return static_cast<float>(load_scalar(token.data, token.dtype, entry + i * token.stride[1]) *
                            load_scalar(token.data, token.dtype, entry + j * token.stride[1]));
}

}  // namespace lamina::triangle_multiplication
