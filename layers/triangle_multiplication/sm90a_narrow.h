// The host half of float tensors in 16-bit arithmetic on Hopper.  Weights that it may serve are packed twice, behind what all other
// problems of the same plan read.
#pragma once
#include "sm90a_launch.h"

namespace lamina::triangle_multiplication::hopper {

// The part of narrow_takes() that is known when weights are packed.
inline bool narrow_takes_weights(const Problem &p) {
  return p.dtype == DType::float32 && p.settings.compute == Compute::fp16 && !p.settings.contraction_fp32 &&
         p.settings.gate_before_projection && p.H == narrow_hidden && narrow_width(p.C) && p.norm_in.weight.present;
}
inline bool narrow_takes(const Problem &p) {
  return narrow_takes_weights(p) && !wide_planes(p) && !p.residual.present && !p.dropout_mask.present && aligned_16(p.pair, 4) &&
         dense(p.out, p);
}

// The output gate's rows lie behind a's and b's, so that they are one operand.
inline PackedLayout narrow_layout(int64_t C) {
  constexpr int64_t H = narrow_hidden;
  Cuts cuts;
  PackedLayout layout{};
  layout.front = {4 * H, C, cuts.take(4 * H * C * 2), 0}, layout.out_gate = {H, C, cuts.take(H * C * 2), 0};
  layout.front.bias = cuts.take(4 * H * 4), layout.out_gate.bias = cuts.take(H * 4);
  layout.out = {C, H, cuts.take(C * H * 2), cuts.take(C * 4)};
  layout.norm_in = cuts.take(2 * C * 4), layout.norm_out = cuts.take(2 * H * 4);
  layout.total = cuts.total;
  return layout;
}

struct NarrowPlan : GpuSizes {
  PackedLayout layout;
  int64_t packed, rows, planes, o, workspace;  // offsets; planes of a, b and output gate

  explicit NarrowPlan(const Problem &p) : GpuSizes(p), layout(narrow_layout(p.C)) {
    Cuts cuts;
    const int64_t plane = narrow_hidden * group * per_batch * 2;
    packed = cuts.take(p.packed ? 0 : layout.total), rows = cuts.take(group * per_batch * p.C * 2);
    planes = cuts.take(3 * plane), o = cuts.take(plane);
    workspace = cuts.total;
  }
};

inline Status launch_narrow_pack(const Problem &p, cuda::Launcher &launcher, void *packed, Failure &failure) {
  return launch_pack_as(p, narrow_layout(p.C), 2, launcher, packed, failure);
}

class NarrowLaunch : Launches {
 public:
  NarrowLaunch(const Problem &p, const NarrowPlan &plan, const char *packed, char *workspace, const cuda::DeviceCode &code,
               cuda::Launcher &launcher)
      : Launches(p, plan.pitch, plan.per_batch, true, code, launcher), plan_(plan), packed_(packed), workspace_(workspace) {}

  Status run(int64_t first, int64_t batches, Failure &failure) {
    begin(first, batches);
    LAMINA_TRY(rows(failure));
    LAMINA_TRY(front(failure));
    const char *a = workspace_ + plan_.planes, *b = a + H * positions_ * 2;
    LAMINA_TRY(contract(p_.settings.incoming, a, b, workspace_ + plan_.o, failure));
    return back(failure);
  }

 private:
  static constexpr uint64_t H = narrow_hidden;
  bool wide() const { return p_.C != 128; }
  const float *floats(int64_t at) const { return reinterpret_cast<const float *>(packed_ + at); }

  Status rows(Failure &failure) {
    const float *norm = floats(plan_.layout.norm_in);
    NarrowRowsJob job{from_batch(p_.pair, first_),
                      workspace_ + plan_.rows,
                      cells(),
                      {norm, norm + p_.C, static_cast<int>(p_.C), static_cast<float>(p_.settings.eps)}};
    const unsigned most = static_cast<unsigned>(code_.processors) * 8, all = static_cast<unsigned>((positions_ + 7) / 8);
    return launch(kernel::hopper_narrow_rows_128 + wide(), all < most ? all : most, narrow_rows_shape(), &job, failure);
  }

  Status front(Failure &failure) {
    FrontJob job{};
    const uint64_t C = static_cast<uint64_t>(p_.C);
    job.pair.flat = true;
    LAMINA_TRY(map({workspace_ + plan_.rows, {C, positions_, 1}, C, C * positions_, {box, 64, 1}, 3}, job.pair.whole, failure));
    LAMINA_TRY(map(packed_ + plan_.layout.front.weight, C, 5 * H, box, 128, job.weights, failure));
    LAMINA_TRY(map(workspace_ + plan_.planes, positions_, 3 * H, box, box, job.planes, failure));
    bool bias = false;
    for (const Linear *linear : {&p_.a_projection, &p_.a_gate, &p_.b_projection, &p_.b_gate, &p_.out_gate}) bias |= linear->bias.present;
    job.bias = bias ? floats(plan_.layout.front.bias) : nullptr;
    give_masks(job);
    job.cells = cells(), job.tiles = tiles_;
    const int width = static_cast<int>(p_.C);
    return launch(kernel::hopper_narrow_front_128 + wide(), grid(narrow_splits(width)), narrow_front_shape(width), &job, failure);
  }

  Status back(Failure &failure) {
    NarrowBackJob job{};
    const char *gate = workspace_ + plan_.planes + 2 * H * positions_ * 2;
    LAMINA_TRY(map(workspace_ + plan_.o, positions_, H, box, H, job.o, failure));
    LAMINA_TRY(map(gate, positions_, H, box, H, job.gate, failure));
    LAMINA_TRY(map(packed_ + plan_.layout.out.weight, H, static_cast<uint64_t>(p_.C), box, 128, job.weights, failure));
    LAMINA_TRY(map_positions(p_.out, job.out, failure));
    job.bias = floats(plan_.layout.out.bias);
    job.norm_weight = floats(plan_.layout.norm_out), job.norm_bias = job.norm_weight + H;
    job.cells = cells(), job.tiles = tiles_, job.eps = static_cast<float>(p_.settings.eps);
    return launch(kernel::hopper_narrow_back_128 + wide(), grid(1), narrow_back_shape(static_cast<int>(p_.C)), &job, failure);
  }

  const NarrowPlan &plan_;
  const char *packed_;
  char *workspace_;
};

inline Status narrow_forward(const Problem &p, const Run &run, Failure &failure) {
  const NarrowPlan plan(p);
  const cuda::DeviceCode &code = code_of(run.state);
  char *workspace = static_cast<char *>(run.workspace);
  cuda::Launcher launcher(code, run.stream);
  LAMINA_TRY(launcher.open(failure));
  if (!p.packed) LAMINA_TRY(launch_narrow_pack(p, launcher, workspace + plan.packed, failure));
  const char *packed = p.packed ? static_cast<const char *>(p.packed) + Plan(p).layout.total : workspace + plan.packed;
  NarrowLaunch group(p, plan, packed, workspace, code, launcher);
  for (int64_t first = 0; first < p.B; first += plan.group)
    LAMINA_TRY(group.run(first, p.B - first < plan.group ? p.B - first : plan.group, failure));
  return Status::ok;
}

}  // namespace lamina::triangle_multiplication::hopper
