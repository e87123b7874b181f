// The host half of the Hopper kernels of the backward: which problems they take; workspace and launches at 128 channels.
#pragma once
#include "sm90a_backward_256.h"

namespace lamina::triangle_multiplication::hopper {

// Widths that have kernels of their own here; the forward has more.
inline bool trains(const Problem &p) { return takes_weights(p) && p.C == p.H && (p.C == 128 || p.C == 256) && !wide_planes(p); }

inline bool takes_backward(const Gradients &g) {
  const Problem &p = g.p;
  return trains(p) && dense(p.pair, p) && dense(g.out, p) && (!g.pair.present || dense(g.pair, p));
}
// The same of the shapes and strides alone, for sizes that may not depend on addresses.
inline bool takes_backward_shapes(Gradients g) {
  g.p.pair.data = g.out.data = g.pair.data = nullptr;
  return takes_backward(g);
}

struct BackwardPlan {
  Plan forward;  // a and o lie as there
  int64_t x_gradient, a_gradient, factors, output_sums, front_sums, totals, workspace;

  BackwardPlan(const Problem &p, int processors) : forward(p) {
    const int64_t cells = forward.group * forward.per_batch, planes = 128 * cells * 2, blocks = processors;
    Cuts cuts;
    cuts.total = forward.workspace;
    x_gradient = cuts.take(planes), a_gradient = cuts.take(planes);
    factors = cuts.take(factor_planes * cells * 2);
    output_sums = cuts.take(blocks * 2 * sums_of_128 * 4), front_sums = cuts.take(blocks * sums_of_128 * 4);
    totals = cuts.take(6 * sums_of_128 * 4);
    workspace = cuts.total;
  }
};

class BackwardLaunch : BackwardLaunches {
 public:
  BackwardLaunch(const Gradients &g, const BackwardPlan &plan, char *workspace, const cuda::DeviceCode &code, cuda::Launcher &launcher)
      : BackwardLaunches(g, plan.forward, workspace, code, launcher), plan_(plan) {}

  Status run(int64_t first, int64_t batches, Failure &failure) {
    begin(first, batches);
    LAMINA_TRY(operands(failure));
    LAMINA_TRY(output(failure));
    LAMINA_TRY(residual(failure));
    if (!wanted_.operands) return Status::ok;
    LAMINA_TRY(contractions(at(plan_.a_gradient), failure));
    if (wanted_.front_weights || wanted_.front_biases || wanted_.norm_in) LAMINA_TRY(weights(failure));
    return g_.pair.present ? input(failure) : Status::ok;
  }

  Status finish(Failure &failure) {
    TotalsJob totals{floats(plan_.front_sums), floats(plan_.output_sums), 4,           2,
                     quarter_blocks(),         code_.processors,          sums_of_128, floats(plan_.totals)};
    LAMINA_TRY(launch(kernel::hopper_total_sums, 6 * sums_of_128 * 4 / rows_threads, 1, finish_shape, totals, failure));
    const PackedLayout &layout = forward_.layout;
    const int H = static_cast<int>(p_.H), firsts[] = {0, 8, 2 * H, 2 * H + 8, 0, 0}, blocks[] = {0, 0, 0, 0, 4, 5};
    FoldedFinishJob job{};
    job.totals = floats(plan_.totals);
    for (int item = 0; item < 6; ++item)
      job.item[item].block = blocks[item], job.item[item].first = firsts[item], job.item[item].packed_rows = item < 4;
    job.rows[0] = {packed(layout.front.weight), 0, 512, false}, job.rows[1] = {packed(layout.out_gate.weight), 4, 128, false};
    job.rows[2] = {packed(layout.out.weight), 5, 128, false};
    job.rows_of_pair = 2, job.rows_of_o = 1;
    return BackwardLaunches::finish(of_backward(kernel::hopper_finish), job, failure);
  }

 private:
  int quarter_blocks() const { return code_.processors / 4; }
  Status map_rows(int64_t rows, CUtensorMap &to, Failure &failure) const { return map(at(rows), 128, positions_, box, 64, to, failure); }

  Status output(Failure &failure) {
    OutputBackwardJob job{};
    const PackedLayout &layout = forward_.layout;
    LAMINA_TRY(map_positions(p_.pair, job.pair, failure));
    LAMINA_TRY(map_positions(g_.out, job.incoming, failure));
    LAMINA_TRY(map_planes(o_, 128, 128, job.o, failure));
    LAMINA_TRY(map_planes(place_of_o(), 128, 128, job.o_gradient, failure));
    LAMINA_TRY(map_rows(plan_.x_gradient, job.x_gradient, failure));
    LAMINA_TRY(map_weights(layout.folded_gate, 128, job.gate, failure));
    LAMINA_TRY(map_weights(layout.folded_out, 128, job.weights, failure));
    job.gate_bias = packed_floats(layout.folded_gate.bias), job.bias = packed_floats(layout.folded_out.bias);
    job.dropout_mask = from_batch(p_.dropout_mask, first_);
    job.factors = at(plan_.factors);
    job.sums = floats(plan_.output_sums), job.add = first_ > 0;
    job.cells = cells(), job.tiles = tiles_, job.eps = static_cast<float>(p_.settings.eps);
    return launch(of_backward(kernel::hopper_output_backward), static_cast<unsigned>(code_.processors), 1, output_backward_shape, job,
                  failure);
  }

  template <class Job>
  Status set_front(Job &job, Failure &failure) {
    const PackedLayout &layout = forward_.layout;
    LAMINA_TRY(map_positions(p_.pair, job.pair, failure));
    LAMINA_TRY(map_planes(at(plan_.a_gradient), 128, 64, job.gradients[0], failure));
    LAMINA_TRY(map_planes(place_of_b(), 128, 64, job.gradients[1], failure));
    LAMINA_TRY(map_weights(layout.folded_front, 512, job.weights, failure));
    job.bias = packed_floats(layout.folded_front.bias);
    set_mask(job);
    job.cells = cells(), job.tiles = tiles_;
    return Status::ok;
  }
  Status weights(Failure &failure) {
    FrontWeightsJob job{};
    LAMINA_TRY(set_front(job, failure));
    LAMINA_TRY(map_factors(at(plan_.factors), job.factors, failure));
    job.sums = floats(plan_.front_sums), job.add = first_ > 0;
    return launch(of_backward(kernel::hopper_front_weights), static_cast<unsigned>(quarter_blocks() * 4), 1, front_weights_shape, job,
                  failure);
  }
  Status input(Failure &failure) {
    FrontBackwardJob job{};
    LAMINA_TRY(set_front(job, failure));
    LAMINA_TRY(map_rows(plan_.x_gradient, job.x_gradient, failure));
    LAMINA_TRY(map_positions(g_.pair, job.out, failure));
    job.eps = static_cast<float>(p_.settings.eps);
    return launch(of_backward(kernel::hopper_front_backward), grid(1), 1, front_backward_shape, job, failure);
  }

  const BackwardPlan &plan_;
};

// Of either width.
template <class Plan, class Launch>
Status backward_of(const Gradients &g, const Run &run, Failure &failure) {
  const cuda::DeviceCode &code = code_of(run.state);
  const Plan plan(g.p, code.processors);
  char *workspace = static_cast<char *>(run.workspace);
  cuda::Launcher launcher(code, run.stream);
  LAMINA_TRY(launcher.open(failure));
  LAMINA_TRY(launch_pack(g.p, launcher, workspace + plan.forward.packed, failure));
  Launch launch(g, plan, workspace, code, launcher);
  const int64_t group = plan.forward.group;
  for (int64_t first = 0; first < g.p.B; first += group)
    LAMINA_TRY(launch.run(first, g.p.B - first < group ? g.p.B - first : group, failure));
  return launch.finish(failure);
}

inline uint64_t backward_workspace_bytes(const Gradients &g, const void *state, int threads) {
  const uint64_t portable = cuda_backward_workspace_bytes(g, state, threads);
  if (!g.p.B || !g.p.N || !takes_backward_shapes(g)) return portable;
  // Where the tensors then turn out to be less aligned, the portable kernels run.
  const int processors = code_of(state).processors;
  const uint64_t own =
      static_cast<uint64_t>(g.p.C == 128 ? BackwardPlan(g.p, processors).workspace : Backward256Plan(g.p, processors).workspace);
  return own > portable ? own : portable;
}

// What the Hopper kernels don't take the portable ones compute, from the start: they need nothing of what was kept.
inline Status backward(const Gradients &g, const Run &run, Failure &failure) {
  if (!g.p.B || !g.p.N || !takes_backward(g)) return cuda_backward(g, run, failure);
  return g.p.C == 128 ? backward_of<BackwardPlan, BackwardLaunch>(g, run, failure)
                      : backward_of<Backward256Plan, Backward256Launch>(g, run, failure);
}

// save = activations: a, b and o.

inline Status training_check(const Problem &p, Pass pass, Save save, const void *state, Failure &failure) {
  LAMINA_TRY(cuda_training_check(p, pass, save, state, failure));
  if (save == Save::nothing || !p.B || !p.N || trains(p)) return Status::ok;
  return fail(
      failure, Status::unsupported,
      "triangle_multiplication: this build keeps activations of 16-bit tensors of C = H = 128 or 256 and N above 32, with norm_in, the "
      "output gate after the projection and contractions in 16 bits; it takes save = nothing for all others");
}
inline uint64_t saved_bytes(const Problem &p, const void *) {
  return p.B && p.N ? static_cast<uint64_t>(3 * saved_planes(p, p.B, Plan(p).per_batch)) : 0;
}
inline uint64_t forward_train_workspace_bytes(const Problem &p, const void *, int) {
  return (p.packed ? 0 : static_cast<uint64_t>(Plan(p).layout.total));
}
inline Status forward_train(const Problem &p, void *saved, const Run &run, Failure &failure) {
  if (!takes(p))
    return fail(
        failure, Status::unsupported,
        "triangle_multiplication: this build keeps activations where pair, residual and out are dense and 16-byte aligned, and at 256 "
        "channels where out does not overlap pair; else it takes save = nothing");
  Plan plan(p);
  cuda::Launcher launcher(code_of(run.state), run.stream);
  LAMINA_TRY(launcher.open(failure));
  const char *packed = static_cast<const char *>(p.packed);
  if (!packed) {
    LAMINA_TRY(launch_pack(p, launcher, run.workspace, failure));
    packed = static_cast<const char *>(run.workspace);
  }
  for (int64_t first = 0; first < p.B; first += plan.group) {
    const int64_t batches = p.B - first < plan.group ? p.B - first : plan.group;
    plan.a = 0, plan.o = 2 * saved_planes(p, batches, plan.per_batch);
    char *group = static_cast<char *>(saved) + 3 * saved_planes(p, first, plan.per_batch);
    LAMINA_TRY(GroupLaunch(p, plan, packed, group, code_of(run.state), launcher).run(first, batches, failure));
    const Cells cells = {static_cast<int>(p.N), static_cast<int>(plan.pitch), static_cast<int>(plan.per_batch), batches * plan.per_batch,
                         false};
    if (p.C == 256) LAMINA_TRY(clear_padding(p, cells, group + plan.o, launcher, failure));
  }
  return Status::ok;
}

}  // namespace lamina::triangle_multiplication::hopper
