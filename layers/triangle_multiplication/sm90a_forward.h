// The host half of the Hopper kernels for 16-bit tensors: which problems they take, their launches.
#pragma once
#include "sm90a_launch.h"
#include "tiles.h"

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
  return size_of(p.dtype) == 2 && (p.C == 128 || p.C == 256) && p.H == p.C && !p.settings.gate_before_projection &&
         p.norm_in.weight.present;
}

// The two CTAs that share a tile at C = 256 read all of its pair rows and write half of them each, so out may not be pair there.
inline bool takes(const Problem &p) {
  return takes_weights(p) && !wide_planes(p) && dense(p.pair, p) && dense(p.out, p) && (!p.residual.present || dense(p.residual, p)) &&
         (p.C == 128 || !overlap(p.pair, p.out, p));
}

// Behind everything else in the workspace: what the front leaves for the back.
inline uint64_t scales_bytes(const Problem &p) {
  const Plan plan(p);
  return hopper_hands_scales && takes_weights(p) ? static_cast<uint64_t>((plan.group * plan.per_batch + tile - 1) / tile * tile * 4) : 0;
}

class GroupLaunch : Launches {
 public:
  GroupLaunch(const Problem &p, const Plan &plan, const char *packed, char *workspace, const cuda::DeviceCode &code,
              cuda::Launcher &launcher)
      : Launches(p, plan.pitch, plan.per_batch, p.dtype == DType::float16, code, launcher),
        plan_(plan),
        packed_(packed),
        workspace_(workspace),
        C_(static_cast<int>(p.C)) {}

  Status run(int64_t first, int64_t batches, Failure &failure) {
    begin(first, batches);
    LAMINA_TRY(front(failure));
    const char *a = workspace_ + plan_.a, *b = a + C_ * static_cast<int64_t>(positions_) * 2;
    LAMINA_TRY(contract(p_.settings.incoming, a, b, workspace_ + plan_.o, failure));
    return back(failure);
  }

 private:
  bool wide() const { return C_ == 256; }
  const float *floats(int64_t at) const { return reinterpret_cast<const float *>(packed_ + at); }
  float *scales() const { return hopper_hands_scales ? reinterpret_cast<float *>(workspace_ + plan_.workspace) : nullptr; }

  Status front(Failure &failure) {
    FrontJob job{};
    const uint64_t C = static_cast<uint64_t>(C_);
    LAMINA_TRY(map_positions(p_.pair, job.pair, failure));
    const PackedPart &part = front_folds(C_) ? plan_.layout.folded_front : plan_.layout.front;
    LAMINA_TRY(map(packed_ + part.weight, C, 4 * C, box, 128, job.weights, failure));
    LAMINA_TRY(map(workspace_ + plan_.a, positions_, 2 * C, box, box, job.planes, failure));
    job.norm_weight = floats(plan_.layout.norm_in), job.norm_bias = job.norm_weight + C;
    const bool bias = p_.a_projection.bias.present || p_.a_gate.bias.present || p_.b_projection.bias.present || p_.b_gate.bias.present;
    job.bias = bias || front_folds(C_) ? floats(part.bias) : nullptr;
    job.scales = scales();
    give_masks(job);
    job.cells = cells(), job.tiles = tiles_, job.eps = static_cast<float>(p_.settings.eps);
    return launch(of_dtype(kernel::hopper_front_128) + wide(), grid(front_splits(C_)), front_shape(C_), &job, failure, front_together(C_));
  }

  Status back(Failure &failure) {
    BackJob job{};
    const uint64_t C = static_cast<uint64_t>(C_);
    LAMINA_TRY(map_positions(p_.pair, job.pair, failure));
    LAMINA_TRY(map(workspace_ + plan_.o, positions_, C, box, static_cast<uint32_t>(C_ / back_together(C_)), job.o, failure));
    LAMINA_TRY(map(packed_ + plan_.layout.folded_gate.weight, C, C, box, 128, job.gate, failure));
    LAMINA_TRY(map(packed_ + plan_.layout.folded_out.weight, C, C, box, 128, job.weights, failure));
    LAMINA_TRY(map_positions(p_.out, job.out, failure));
    job.gate_bias = floats(plan_.layout.folded_gate.bias), job.bias = floats(plan_.layout.folded_out.bias);
    job.scales = scales();
    if ((job.has_residual = p_.residual.present)) LAMINA_TRY(map_positions(p_.residual, job.residual, failure));
    job.dropout_mask = from_batch(p_.dropout_mask, first_);
    job.dropout = form_of(job.dropout_mask, p_.dtype);
    job.cells = cells(), job.tiles = tiles_, job.eps = static_cast<float>(p_.settings.eps);
    const bool extras = p_.residual.present || p_.dropout_mask.present;
    const int row = (extras ? kernel::hopper_back_128_extras : kernel::hopper_back_128) + wide();
    return launch(of_dtype(row), grid(back_splits(C_)), back_shape(C_), &job, failure, back_together(C_));
  }

  const Plan &plan_;
  const char *packed_;
  char *workspace_;
  const int C_;
};

}  // namespace lamina::triangle_multiplication::hopper
