// The host half of the Hopper kernels for 16-bit tensors: which problems they take, their launches.
#pragma once
#include "sm90a_launch.h"

namespace lamina::triangle_multiplication::hopper {

inline bool overlap(const View &one, const View &other, const Problem &p) {
  const int64_t bytes = p.B * p.N * p.N * p.C * 2;
  const char *a = static_cast<const char *>(one.data), *b = static_cast<const char *>(other.data);
  return a < b + bytes && b < a + bytes;
}

inline MaskForm form_of(const View &mask, DType dtype) {
  if (!mask.present) return MaskForm::none;
  bool words = mask.dtype == dtype && mask.stride[3] == 1 && reinterpret_cast<uintptr_t>(mask.data) % 4 == 0;
  for (int dim = 0; dim < 3; ++dim) words = words && mask.stride[dim] % 2 == 0;
  return words ? MaskForm::pairs : MaskForm::elements;
}

// The part of takes() that is known when weights are packed.
inline bool takes_weights(const Problem &p) {
  return size_of(p.dtype) == 2 && width_of(p.C, p.H) < width_count && !p.settings.gate_before_projection && p.norm_in.weight.present;
}

// CTAs that share a tile in the back read all of its pair rows and write a part of them each, so out may not be pair there.
inline bool takes(const Problem &p) {
  const int C = static_cast<int>(p.C);
  return takes_weights(p) && !wide_planes(p) && dense(p.pair, p) && dense(p.out, p) && (!p.residual.present || dense(p.residual, p)) &&
         (streams(C) || back_splits(C) == 1 || !overlap(p.pair, p.out, p));
}

class GroupLaunch : Launches {
 public:
  GroupLaunch(const Problem &p, const Plan &plan, const char *packed, char *workspace, const cuda::DeviceCode &code,
              cuda::Launcher &launcher)
      : Launches(p, plan.pitch, plan.per_batch, p.dtype == DType::float16, code, launcher),
        plan_(plan),
        packed_(packed),
        workspace_(workspace),
        C_(static_cast<int>(p.C)),
        H_(static_cast<int>(p.H)) {}

  Status run(int64_t first, int64_t batches, Failure &failure) {
    begin(first, batches);
    LAMINA_TRY(front(failure));
    const char *a = workspace_ + plan_.a, *b = a + H_ * static_cast<int64_t>(positions_) * 2;
    LAMINA_TRY(contract(p_.settings.incoming, a, b, workspace_ + plan_.o, failure));
    return back(failure);
  }

 private:
  const float *floats(int64_t at) const { return reinterpret_cast<const float *>(packed_ + at); }
  // The kernel of these widths, of the one for the first in the list.
  int of_width(int row) const { return of_dtype(row + width_of(C_, H_)); }

  // Packed rows of `columns`, a box as many of them as one CTA brings at a time.
  Status map_weights(int64_t at, uint64_t columns, uint64_t rows, uint32_t box_rows, CUtensorMap &to, Failure &failure) const {
    if (!streams(C_)) return map(packed_ + at, columns, rows, box, box_rows, to, failure);
    const uint32_t share = box_rows / streamed_together;
    return map({packed_ + at, {columns, rows, 1}, columns, columns * rows, {box, share, 1}, 3}, to, failure);
  }
  // Streamed: clusters, as many as there are wide tiles in `splits` parts, or as the GPU holds.
  unsigned streamed_grid(int splits) const {
    const int clusters = (wide_tiles() + streamed_together - 1) / streamed_together * splits, most = code_.processors / streamed_together;
    return static_cast<unsigned>((clusters < most ? clusters : most / splits * splits) * streamed_together);
  }
  int wide_tiles() const { return (tiles_ + streamed_workers - 1) / streamed_workers; }

  Status front(Failure &failure) {
    FrontJob job{};
    const uint64_t C = static_cast<uint64_t>(C_), H = static_cast<uint64_t>(H_);
    LAMINA_TRY(map_positions(p_.pair, job.pair, failure));
    const PackedPart &part = front_folds(C_) ? plan_.layout.folded_front : plan_.layout.front;
    LAMINA_TRY(map_weights(part.weight, C, 4 * H, streams(C_) ? streamed_front_rows : 128, job.weights, failure));
    LAMINA_TRY(map(workspace_ + plan_.a, positions_, 2 * H, box, box, job.planes, failure));
    job.norm_weight = floats(plan_.layout.norm_in), job.norm_bias = job.norm_weight + C;
    const bool bias = p_.a_projection.bias.present || p_.a_gate.bias.present || p_.b_projection.bias.present || p_.b_gate.bias.present;
    job.bias = bias || front_folds(C_) ? floats(part.bias) : nullptr;
    give_masks(job);
    job.cells = cells(), job.tiles = tiles_, job.eps = static_cast<float>(p_.settings.eps);
    if (!streams(C_)) return launch(of_width(kernel::hopper_front_128), grid(front_splits(C_)), front_shape(C_, H_), &job, failure);
    // So few tiles that they leave processors idle are shared out, pass by pass.
    const int fits = code_.processors / (wide_tiles() + 1), passes = streamed_front_passes(H_);
    for (job.splits = 1; job.splits * 2 <= fits && job.splits * 2 <= passes;) job.splits *= 2;
    return launch(of_width(kernel::hopper_front_128), streamed_grid(job.splits), front_shape(C_, H_), &job, failure, streamed_together);
  }

  Status back(Failure &failure) {
    BackJob job{};
    const uint64_t C = static_cast<uint64_t>(C_), H = static_cast<uint64_t>(H_);
    const uint32_t rows = static_cast<uint32_t>(streams(C_) ? streamed_back_columns(C_) : C_ / back_splits(C_));
    LAMINA_TRY(map_positions(p_.pair, job.pair, failure));
    LAMINA_TRY(map(workspace_ + plan_.o, positions_, H, box, streams(C_) ? 64 : static_cast<uint32_t>(H), job.o, failure));
    LAMINA_TRY(map_weights(plan_.layout.folded_gate.weight, C, C, rows, job.gate, failure));
    LAMINA_TRY(map_weights(plan_.layout.folded_out.weight, H, C, rows, job.weights, failure));
    LAMINA_TRY(map_positions(p_.out, job.out, failure));
    job.gate_bias = floats(plan_.layout.folded_gate.bias), job.bias = floats(plan_.layout.folded_out.bias);
    if ((job.has_residual = p_.residual.present)) LAMINA_TRY(map_positions(p_.residual, job.residual, failure));
    job.dropout_mask = from_batch(p_.dropout_mask, first_);
    job.dropout = form_of(job.dropout_mask, p_.dtype);
    job.cells = cells(), job.tiles = tiles_, job.eps = static_cast<float>(p_.settings.eps);
    const bool extras = p_.residual.present || p_.dropout_mask.present;
    const int row = of_width(extras ? kernel::hopper_back_128_extras : kernel::hopper_back_128);
    if (!streams(C_)) return launch(row, grid(back_splits(C_)), back_shape(C_, H_), &job, failure);
    return launch(row, streamed_grid(1), back_shape(C_, H_), &job, failure, streamed_together);
  }

  const Plan &plan_;
  const char *packed_;
  char *workspace_;
  const int C_, H_;
};

}  // namespace lamina::triangle_multiplication::hopper
