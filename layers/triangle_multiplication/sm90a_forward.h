// The host half of the Hopper kernels: which problems they take, their tensor maps, their launches.
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

inline bool overlap(const View &one, const View &other, const Problem &p) {
  const int64_t bytes = p.B * p.N * p.N * p.C * 2;
  const char *a = static_cast<const char *>(one.data), *b = static_cast<const char *>(other.data);
  return a < b + bytes && b < a + bytes;
}

// The part of takes() that is known when weights are packed.
inline bool takes_weights(const Problem &p) {
  return p.dtype == DType::bfloat16 && (p.C == 128 || p.C == 256) && p.H == p.C && !p.settings.gate_before_projection &&
         p.norm_in.weight.present;
}

// The two CTAs that share a tile at C = 256 read all of its pair rows and write half of them each, so out may not be pair there.
inline bool takes(const Problem &p) {
  return takes_weights(p) && mode_of(p) == Mode::bfloat16 && dense(p.pair, p) && dense(p.out, p) &&
         (p.C == 128 || !overlap(p.pair, p.out, p));
}

class GroupLaunch {
 public:
  GroupLaunch(const Problem &p, const Plan &plan, const char *packed, char *workspace, const cuda::DeviceCode &code,
              cuda::Launcher &launcher)
      : p_(p), plan_(plan), packed_(packed), workspace_(workspace), code_(code), launcher_(launcher), C_(static_cast<int>(p.C)) {}

  Status run(int64_t first, int64_t batches, Failure &failure) {
    first_ = first, batches_ = batches;
    positions_ = static_cast<uint64_t>(batches * plan_.per_batch);
    tiles_ = static_cast<int>((positions_ + tile - 1) / tile);
    LAMINA_TRY(front(failure));
    LAMINA_TRY(contract(failure));
    return back(failure);
  }

 private:
  static constexpr uint64_t box = 64;
  bool wide() const { return p_.C == 256; }
  const float *floats(int64_t at) const { return reinterpret_cast<const float *>(packed_ + at); }
  void *pair_rows(const View &view) const { return static_cast<char *>(view.data) + first_ * p_.N * p_.N * p_.C * 2; }
  Status map(const cuda::TensorBoxes &boxes, CUtensorMap &to, Failure &failure) const {
    return cuda::make_tensor_map(*code_.driver, boxes, to, failure);
  }
  // [rows, columns], dense.
  Status map(const void *data, uint64_t columns, uint64_t rows, uint32_t box_columns, uint32_t box_rows, CUtensorMap &to,
             Failure &failure) const {
    return map({data, {columns, rows, 1}, columns, 0, {box_columns, box_rows, 1}, 2}, to, failure);
  }
  Status map_positions(const View &view, PositionMaps &to, Failure &failure) const {
    const uint64_t C = static_cast<uint64_t>(p_.C), N = static_cast<uint64_t>(p_.N), lines = static_cast<uint64_t>(batches_) * N;
    const bool padded = plan_.pitch != p_.N;
    cuda::TensorBoxes rows{pair_rows(view), {C, padded ? N : lines * N, padded ? lines : 1}, C, C * N, {box, 64, 1}, 3};
    LAMINA_TRY(map(rows, to.whole, failure));
    if (!padded) return Status::ok;
    rows.box[1] = 8;
    return map(rows, to.pieces, failure);
  }
  Cells cells() const {
    const int N = static_cast<int>(p_.N);
    return {N, static_cast<int>(plan_.pitch), static_cast<int>(plan_.per_batch), static_cast<int64_t>(positions_), false};
  }
  // Persistent CTAs: as many groups of `splits` as the GPU holds, or as there are tiles.  The first tiles go to all CTAs' first workers,
  // the next to their second ones, so that few tiles still spread over all processors.
  unsigned grid(int splits) const {
    const int most = code_.processors / splits;
    return static_cast<unsigned>((most < tiles_ ? most : tiles_) * splits);
  }

  Status front(Failure &failure) {
    FrontJob job{};
    const uint64_t C = static_cast<uint64_t>(p_.C);
    LAMINA_TRY(map_positions(p_.pair, job.pair, failure));
    const PackedPart &part = front_folds(C_) ? plan_.layout.folded_front : plan_.layout.front;
    LAMINA_TRY(map(packed_ + part.weight, C, 4 * C, box, 128, job.weights, failure));
    LAMINA_TRY(map(workspace_ + plan_.a, positions_, 2 * C, box, box, job.planes, failure));
    job.norm_weight = floats(plan_.layout.norm_in), job.norm_bias = job.norm_weight + C;
    const bool bias = p_.a_projection.bias.present || p_.a_gate.bias.present || p_.b_projection.bias.present || p_.b_gate.bias.present;
    job.bias = bias || front_folds(C_) ? floats(part.bias) : nullptr;
    job.pair_mask = from_batch(p_.pair_mask, first_), job.token_mask = from_batch(p_.token_mask, first_);
    const View &mask = job.pair_mask;
    if (mask.present && plan_.pitch == p_.N && mask.stride[2] == 1 && mask.stride[1] == p_.N &&
        (batches_ == 1 || mask.stride[0] == p_.N * p_.N))
      job.flat_mask = mask.data;
    job.cells = cells(), job.tiles = tiles_, job.eps = static_cast<float>(p_.settings.eps);
    void *parameters[] = {&job};
    return launcher_.launch({kernel::hopper_front_128 + wide(), {grid(front_splits(C_)), 1, 1}, front_shape(C_).threads, true}, parameters,
                            failure);
  }

  // 128 x 256 tiles, or 128 x 128 where the wide ones would leave half of their columns empty or most of the GPU idle.
  static bool square(int64_t N) { return N <= 128 || (N > 256 && N <= 384); }

  Status contract(Failure &failure) {
    ContractJob job{};
    const uint64_t N = static_cast<uint64_t>(p_.N), pitch = static_cast<uint64_t>(plan_.pitch),
                   matrices = static_cast<uint64_t>(p_.H * batches_);
    const uint32_t columns = square(p_.N) ? 128 : 256;
    job.matrices = static_cast<int>(matrices);
    job.row_tiles = static_cast<int>((p_.N + 127) / 128), job.column_tiles = static_cast<int>((N + columns - 1) / columns);
    job.chunks = static_cast<int>((p_.N + 63) / 64);
    // Neighbouring wide tiles share their columns' operand, two CTAs a cluster.
    const unsigned together = !square(p_.N) && job.row_tiles % 2 == 0 ? 2 : 1;
    const auto planes = [&](const void *data, uint32_t rows) {
      return cuda::TensorBoxes{data, {N, N, matrices}, pitch, N * pitch, {box, p_.settings.incoming ? 64 : rows, 1}, 3};
    };
    const char *a = workspace_ + plan_.a;
    LAMINA_TRY(map(planes(a, 128), job.a, failure));
    LAMINA_TRY(map(planes(a + p_.H * static_cast<int64_t>(positions_) * 2, columns / together), job.b, failure));
    LAMINA_TRY(map(planes(workspace_ + plan_.o, 64), job.o, failure));
    const int64_t total = static_cast<int64_t>(job.matrices) * job.row_tiles * job.column_tiles;
    const unsigned ctas = static_cast<unsigned>(total < code_.processors ? total : code_.processors) / together * together;
    void *parameters[] = {&job};
    const int form = square(p_.N)    ? kernel::hopper_contract_square
                     : together == 2 ? kernel::hopper_contract_paired
                                     : kernel::hopper_contract_wide;
    return launcher_.launch({form + p_.settings.incoming, {ctas, 1, 1}, contract_shape(256).threads, true, 0, together}, parameters,
                            failure);
  }

  Status back(Failure &failure) {
    BackJob job{};
    const uint64_t C = static_cast<uint64_t>(p_.C);
    LAMINA_TRY(map_positions(p_.pair, job.pair, failure));
    LAMINA_TRY(map(workspace_ + plan_.o, positions_, C, box, static_cast<uint32_t>(C), job.o, failure));
    LAMINA_TRY(map(packed_ + plan_.layout.folded_gate.weight, C, C, box, 128, job.gate, failure));
    LAMINA_TRY(map(packed_ + plan_.layout.folded_out.weight, C, C, box, 128, job.weights, failure));
    LAMINA_TRY(map_positions(p_.out, job.out, failure));
    job.gate_bias = floats(plan_.layout.folded_gate.bias), job.bias = floats(plan_.layout.folded_out.bias);
    job.residual = from_batch(p_.residual, first_), job.dropout_mask = from_batch(p_.dropout_mask, first_);
    job.cells = cells(), job.tiles = tiles_, job.eps = static_cast<float>(p_.settings.eps);
    const bool extras = p_.residual.present || p_.dropout_mask.present;
    void *parameters[] = {&job};
    const int row = (extras ? kernel::hopper_back_128_extras : kernel::hopper_back_128) + wide();
    return launcher_.launch({row, {grid(back_splits(C_)), 1, 1}, back_shape(C_).threads, true}, parameters, failure);
  }

  const Problem &p_;
  const Plan &plan_;
  const char *packed_;
  char *workspace_;
  const cuda::DeviceCode &code_;
  cuda::Launcher &launcher_;
  int C_, tiles_ = 0;
  int64_t first_ = 0, batches_ = 0;
  uint64_t positions_ = 0;
};

}  // namespace hopper
}  // namespace lamina::triangle_multiplication
