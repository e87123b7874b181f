// What the host does for any sequence of Hopper kernels: tensor maps, persistent grids, the contraction.
#pragma once
#include "cuda_backward.h"
#include "kernels/cuda/tensor_map.h"
#include "sm90a_job.h"
#include "sm90a_kernels.h"

namespace lamina::triangle_multiplication {

namespace kernel {
#define LAMINA_ROW(name, ...) name,
enum HopperIndex { before_hopper = backward_count - 1, LAMINA_HOPPER_KERNELS(LAMINA_ROW) hopper_count };
#undef LAMINA_ROW
}  // namespace kernel

#define LAMINA_HOPPER_ROW(name, shape, ...) {#name, shape.shared_bytes},
#define LAMINA_HOPPER_ROWS LAMINA_HOPPER_KERNELS(LAMINA_HOPPER_ROW)

namespace hopper {

inline bool dense(const View &view, const Problem &p) {
  const int64_t row = p.N * p.C;
  return view.stride[2] == p.C && view.stride[1] == row && (p.B == 1 || view.stride[0] == p.N * row) &&
         reinterpret_cast<uintptr_t>(view.data) % 16 == 0;
}

// Of one group of batches.
class Launches {
 public:
  // pitch, per_batch: of the planes, see Cells.  half: 16-bit numbers are fp16, else bf16.
  Launches(const Problem &p, int64_t pitch, int64_t per_batch, bool half, const cuda::DeviceCode &code, cuda::Launcher &launcher)
      : p_(p), pitch_(pitch), per_batch_(per_batch), half_(half), code_(code), launcher_(launcher) {}

 protected:
  static constexpr uint64_t box = 64;

  void begin(int64_t first, int64_t batches) {
    first_ = first, batches_ = batches;
    positions_ = static_cast<uint64_t>(batches * per_batch_);
    tiles_ = static_cast<int>((positions_ + tile - 1) / tile);
  }
  // The kernel of these numbers, of the one for bf16.
  int of_dtype(int row) const { return row + (half_ ? kernel::hopper_front_128_float16 - kernel::hopper_front_128 : 0); }

  Status map(const cuda::TensorBoxes &boxes, CUtensorMap &to, Failure &failure) const {
    return cuda::make_tensor_map(*code_.driver, boxes, to, failure);
  }
  // [rows, columns], dense.
  Status map(const void *data, uint64_t columns, uint64_t rows, uint32_t box_columns, uint32_t box_rows, CUtensorMap &to,
             Failure &failure) const {
    return map({data, {columns, rows, 1}, columns, 0, {box_columns, box_rows, 1}, 2}, to, failure);
  }
  // Of [B, N, N, C]; maps count in 16 bits, so a float is two.
  Status map_positions(const View &view, PositionMaps &to, Failure &failure) const {
    const uint64_t words = size_of(p_.dtype) / 2, C = static_cast<uint64_t>(p_.C) * words, N = static_cast<uint64_t>(p_.N),
                   lines = static_cast<uint64_t>(batches_) * N;
    char *data = static_cast<char *>(view.data) + first_ * p_.N * p_.N * static_cast<int64_t>(C) * 2;
    to.flat = pitch_ == p_.N;
    cuda::TensorBoxes rows{data, {C, to.flat ? lines * N : N, to.flat ? 1 : lines}, C, C * N, {box, 64, 1}, 3};
    LAMINA_TRY(map(rows, to.whole, failure));
    if (to.flat) return Status::ok;
    rows.box[1] = 8;
    return map(rows, to.pieces, failure);
  }
  Cells cells() const {
    return {static_cast<int>(p_.N), static_cast<int>(pitch_), static_cast<int>(per_batch_), static_cast<int64_t>(positions_), false};
  }
  // Persistent CTAs: as many groups of `splits` as the GPU holds, or as there are tiles.  The first tiles go to all CTAs' first workers,
  // the next to their second ones, so that few tiles still spread over all processors.
  unsigned grid(int splits) const {
    const int most = code_.processors / splits;
    return static_cast<unsigned>((most < tiles_ ? most : tiles_) * splits);
  }
  // Whose kernels wait for the one before themselves.
  Status launch(int row, unsigned ctas, const LaunchShape &shape, void *job, Failure &failure, unsigned cluster = 1) {
    void *parameters[] = {job};
    return launcher_.launch({row, {ctas, 1, 1}, shape.threads, true, 0, cluster}, parameters, failure);
  }

  void give_masks(FrontJob &job) const {
    job.pair_mask = from_batch(p_.pair_mask, first_), job.token_mask = from_batch(p_.token_mask, first_);
    const View &mask = job.pair_mask;
    if (mask.present && (batches_ == 1 || mask.stride[0] == p_.N * mask.stride[1]))
      job.mask_lines = {
          mask.data, mask.dtype, mask.stride[1], mask.stride[2], static_cast<int>(batches_ * p_.N - 1), static_cast<int>(p_.N - 1)};
  }

  // The kernel of the problem's widths, of the one for the first in the list.
  int of_width(int row) const { return of_dtype(row + width_of(p_.C, p_.H)); }
  // Packed rows of `columns`, a box as many of them as one CTA brings at a time.
  Status map_packed(const char *weights, uint64_t columns, uint64_t rows, uint32_t box_rows, CUtensorMap &to, Failure &failure) const {
    if (!streams(static_cast<int>(p_.C))) return map(weights, columns, rows, box, box_rows, to, failure);
    return map({weights, {columns, rows, 1}, columns, columns * rows, {box, box_rows / streamed_together, 1}, 3}, to, failure);
  }
  // Streamed: clusters, as many as there are wide tiles in `splits` parts, or as the GPU holds.
  unsigned streamed_grid(int splits) const {
    const int clusters = (wide_tiles() + streamed_together - 1) / streamed_together * splits, most = code_.processors / streamed_together;
    return static_cast<unsigned>((clusters < most ? clusters : most / splits * splits) * streamed_together);
  }
  int wide_tiles() const { return (tiles_ + streamed_workers - 1) / streamed_workers; }

  // a and b of this group from pair, into `planes` behind each other.
  Status front(const char *packed, const PackedLayout &layout, char *planes, Failure &failure) {
    FrontJob job{};
    const int C = static_cast<int>(p_.C), H = static_cast<int>(p_.H);
    const PackedPart &part = front_folds(C) ? layout.folded_front : layout.front;
    const auto floats = [&](int64_t at) { return reinterpret_cast<const float *>(packed + at); };
    LAMINA_TRY(map_positions(p_.pair, job.pair, failure));
    LAMINA_TRY(map_packed(packed + part.weight, static_cast<uint64_t>(C), static_cast<uint64_t>(4 * H),
                          streams(C) ? streamed_front_rows : 128, job.weights, failure));
    LAMINA_TRY(map(planes, positions_, static_cast<uint64_t>(2 * H), box, box, job.planes, failure));
    job.norm_weight = floats(layout.norm_in), job.norm_bias = job.norm_weight + C;
    const bool bias = p_.a_projection.bias.present || p_.a_gate.bias.present || p_.b_projection.bias.present || p_.b_gate.bias.present;
    job.bias = bias || front_folds(C) ? floats(part.bias) : nullptr;
    give_masks(job);
    job.cells = cells(), job.tiles = tiles_, job.eps = static_cast<float>(p_.settings.eps);
    const int row = of_width(kernel::hopper_front_128);
    if (!streams(C)) return launch(row, grid(front_splits(C)), front_shape(C, H), &job, failure);
    // So few tiles that they leave processors idle are shared out, pass by pass.
    const int fits = code_.processors / (wide_tiles() + 1), passes = streamed_front_passes(H);
    for (job.splits = 1; job.splits * 2 <= fits && job.splits * 2 <= passes;) job.splits *= 2;
    return launch(row, streamed_grid(job.splits), front_shape(C, H), &job, failure, streamed_together);
  }

  // 128 x 256 tiles, or 128 x 128 where the wide ones would leave half of their columns empty or most of the GPU idle.
  static bool square(int64_t N) { return N <= 128 || (N > 256 && N <= 384); }
  // 192 x 128 instead, where two of them cover the rows.
  static bool tall(int64_t N) { return hopper_tall_tiles && N > 256 && N <= 384; }

  // Planes of every channel; boxes are 64 wide and as high as said.
  Status contract_job(const char *left, uint32_t left_rows, const char *right, uint32_t right_rows, const char *out, ContractJob &job,
                      Failure &failure) const {
    const uint64_t N = static_cast<uint64_t>(p_.N), pitch = static_cast<uint64_t>(pitch_),
                   matrices = static_cast<uint64_t>(p_.H * batches_);
    const int columns = square(p_.N) ? 128 : 256;
    job.matrices = static_cast<int>(matrices), job.chunks = static_cast<int>((p_.N + 63) / 64);
    job.row_tiles = static_cast<int>((p_.N + 127) / 128), job.column_tiles = static_cast<int>((p_.N + columns - 1) / columns);
    const auto planes = [&](const void *data, uint32_t rows) {
      return cuda::TensorBoxes{data, {N, N, matrices}, pitch, N * pitch, {box, rows, 1}, 3};
    };
    LAMINA_TRY(map(planes(left, left_rows), job.a, failure));
    LAMINA_TRY(map(planes(right, right_rows), job.b, failure));
    return map(planes(out, 64), job.o, failure);
  }
  unsigned contract_ctas(const ContractJob &job) const {
    const int64_t total = static_cast<int64_t>(job.matrices) * job.row_tiles * job.column_tiles;
    return static_cast<unsigned>(total < code_.processors ? total : code_.processors);
  }
  // out = left right', or left' right where the sum runs along the rows.
  Status contract(bool along_rows, const char *left, const char *right, const char *out, Failure &failure) {
    // Neighbouring wide tiles share their columns' operand, two CTAs a cluster.
    const bool high = tall(p_.N);
    const unsigned together = high || (!square(p_.N) && (p_.N + 127) / 128 % 2 == 0) ? 2 : 1, columns = square(p_.N) ? 128 : 256;
    ContractJob job{};
    LAMINA_TRY(contract_job(left, along_rows ? 64 : high ? 192 : 128, right, along_rows ? 64 : columns / together, out, job, failure));
    if (high) job.row_tiles = 2;
    const int form = high            ? kernel::hopper_contract_tall
                     : square(p_.N)  ? kernel::hopper_contract_square
                     : together == 2 ? kernel::hopper_contract_paired
                                     : kernel::hopper_contract_wide;
    return launch(of_dtype(form) + along_rows, contract_ctas(job) / together * together, contract_shape(columns, high ? 3 : 2), &job,
                  failure, together);
  }

  const Problem &p_;
  const int64_t pitch_, per_batch_;
  const bool half_;
  const cuda::DeviceCode &code_;
  cuda::Launcher &launcher_;
  int tiles_ = 0;
  int64_t first_ = 0, batches_ = 0;
  uint64_t positions_ = 0;
};

}  // namespace hopper
}  // namespace lamina::triangle_multiplication
