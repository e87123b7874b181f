// The host half of the Hopper kernels of the backward: which problems they take, their workspace, their launches.
#pragma once
#include "sm90a_backward_job.h"
#include "sm90a_backward_kernels.h"
#include "sm90a_forward.h"

namespace lamina::triangle_multiplication {

namespace kernel {
#define LAMINA_ROW(name, ...) name,
enum HopperBackwardIndex { before_hopper_backward = hopper_count - 1, LAMINA_HOPPER_BACKWARD_KERNELS(LAMINA_ROW) hopper_backward_count };
#undef LAMINA_ROW
}  // namespace kernel

#define LAMINA_HOPPER_BACKWARD_ROWS LAMINA_HOPPER_BACKWARD_KERNELS(LAMINA_HOPPER_ROW)

namespace hopper {

inline bool takes_backward(const Gradients &g) {
  const Problem &p = g.p;
  return takes_weights(p) && p.C == 128 && mode_of(p) == Mode::bfloat16 && dense(p.pair, p) && dense(g.out, p) &&
         (!g.pair.present || dense(g.pair, p));
}
// The same of the shapes and strides alone, for sizes that may not depend on addresses.
inline bool takes_backward_shapes(Gradients g) {
  g.p.pair.data = g.out.data = g.pair.data = nullptr;
  return takes_backward(g);
}

struct BackwardPlan {
  Plan forward;  // a and o lie as there
  int64_t b, x, x_gradient, a_gradient, scale, output_sums, front_sums, totals, workspace;

  BackwardPlan(const Problem &p, int processors) : forward(p) {
    const int64_t cells = forward.group * forward.per_batch, planes = 128 * cells * 2, blocks = processors;
    b = forward.a + planes;
    Cuts cuts;
    cuts.total = forward.workspace;
    x = cuts.take(planes), x_gradient = cuts.take(planes), a_gradient = cuts.take(planes), scale = cuts.take(cells * 4);
    output_sums = cuts.take(blocks * 2 * sums_of_128 * 4), front_sums = cuts.take(blocks * sums_of_128 * 4);
    totals = cuts.take(6 * sums_of_128 * 4);
    workspace = cuts.total;
  }
};

class BackwardLaunch : Launches {
 public:
  BackwardLaunch(const Gradients &g, const BackwardPlan &plan, char *workspace, const cuda::DeviceCode &code, cuda::Launcher &launcher)
      : Launches(g.p, plan.forward.pitch, plan.forward.per_batch, false, code, launcher),
        g_(g),
        plan_(plan),
        wanted_(g),
        workspace_(workspace) {}

  Status run(int64_t first, int64_t batches, Failure &failure) {
    begin(first, batches);
    const bool incoming = p_.settings.incoming;
    char *a = at(plan_.forward.a), *b = a + planes(), *o = at(plan_.forward.o), *of_a = at(plan_.a_gradient);
    LAMINA_TRY(front(failure));
    LAMINA_TRY(contract(incoming, a, b, o, failure));
    LAMINA_TRY(output(failure));
    LAMINA_TRY(residual(failure));
    if (!wanted_.operands) return Status::ok;
    // b's gradient takes b's place.
    LAMINA_TRY(incoming ? contract(false, b, o, of_a, failure) : contract_mixed(o, b, of_a, failure));
    LAMINA_TRY(incoming ? contract_mixed(a, o, b, failure) : contract(true, o, a, b, failure));
    if (wanted_.front_weights || wanted_.front_biases || wanted_.norm_in) LAMINA_TRY(weights(failure));
    return g_.pair.present ? input(failure) : Status::ok;
  }

  Status finish(Failure &failure) {
    TotalsJob totals{floats(plan_.front_sums), floats(plan_.output_sums), quarter_blocks(), code_.processors, floats(plan_.totals)};
    LAMINA_TRY(launch(kernel::hopper_total_sums, 6 * sums_of_128 * 4 / rows_threads, 1, finish_shape, totals, failure));
    const PackedLayout &layout = plan_.forward.layout;
    const int H = static_cast<int>(p_.H);
    FoldedFinishJob job{};
    job.totals = floats(plan_.totals);
    const auto item = [](const Linear &of, int part, int first, float factor, bool packed) {
      return FoldedItem{of.weight, of.bias, part, first, factor, packed};
    };
    job.item[0] = item(g_.a_projection, 0, 0, 1, true), job.item[1] = item(g_.a_gate, 0, 8, gate_factor, true);
    job.item[2] = item(g_.b_projection, 0, 2 * H, 1, true), job.item[3] = item(g_.b_gate, 0, 2 * H + 8, gate_factor, true);
    job.item[4] = item(g_.out_gate, 4, 0, 1, false), job.item[5] = item(g_.out_projection, 5, 0, 1, false);
    job.norm[0] = packed_floats(layout.norm_in), job.norm[1] = packed_floats(layout.norm_out);
    job.weights[0] = packed(layout.front.weight), job.weights[1] = packed(layout.out_gate.weight);
    job.weights[2] = packed(layout.out.weight);
    job.norm_weight[0] = g_.norm_in.weight, job.norm_bias[0] = g_.norm_in.bias;
    job.norm_weight[1] = g_.norm_out.weight, job.norm_bias[1] = g_.norm_out.bias;
    LAMINA_TRY(launch(kernel::hopper_finish_linear, 16, 6, finish_shape, job, failure));
    return launch(kernel::hopper_finish_norms, 8, 1, norms_shape, job, failure);
  }

 private:
  char *at(int64_t offset) const { return workspace_ + offset; }
  float *floats(int64_t offset) const { return reinterpret_cast<float *>(at(offset)); }
  const char *packed(int64_t offset) const { return workspace_ + plan_.forward.packed + offset; }
  const float *packed_floats(int64_t offset) const { return reinterpret_cast<const float *>(packed(offset)); }
  int64_t planes() const { return 128 * static_cast<int64_t>(positions_) * 2; }
  int quarter_blocks() const { return code_.processors / 4; }

  Status map_weights(const PackedPart &part, uint64_t rows, CUtensorMap &to, Failure &failure) const {
    return map(packed(part.weight), 128, rows, box, 128, to, failure);
  }
  Status map_rows(int64_t rows, CUtensorMap &to, Failure &failure) const { return map(at(rows), 128, positions_, box, 64, to, failure); }
  Status map_planes(const void *data, uint64_t channels, uint32_t box_channels, CUtensorMap &to, Failure &failure) const {
    return map(data, positions_, channels, box, box_channels, to, failure);
  }
  template <class Job>
  Status launch(int index, int x, int y, const LaunchShape &shape, Job &job, Failure &failure) {
    void *parameters[] = {&job};
    const bool waits = index != kernel::copy_rows_kernel;  // for the kernel before it, by itself
    return launcher_.launch({index, {static_cast<unsigned>(x), static_cast<unsigned>(y), 1}, shape.threads, waits}, parameters, failure);
  }
  template <class Job>
  void set_mask(Job &job) const {
    job.pair_mask = from_batch(p_.pair_mask, first_), job.token_mask = from_batch(p_.token_mask, first_);
    const View &mask = job.pair_mask;
    if (mask.present && plan_.forward.pitch == p_.N && mask.stride[2] == 1 && mask.stride[1] == p_.N &&
        (batches_ == 1 || mask.stride[0] == p_.N * p_.N))
      job.flat_mask = mask.data;
  }

  // a and b, as in the forward.
  Status front(Failure &failure) {
    FrontJob job{};
    const PackedLayout &layout = plan_.forward.layout;
    LAMINA_TRY(map_positions(p_.pair, job.pair, failure));
    LAMINA_TRY(map_weights(layout.front, 512, job.weights, failure));
    LAMINA_TRY(map_planes(at(plan_.forward.a), 256, 64, job.planes, failure));
    job.norm_weight = packed_floats(layout.norm_in), job.norm_bias = job.norm_weight + 128;
    job.bias = packed_floats(layout.front.bias);
    give_masks(job);
    job.cells = cells(), job.tiles = tiles_, job.eps = static_cast<float>(p_.settings.eps);
    return launch(kernel::hopper_front_128, tiles_ < code_.processors ? tiles_ : code_.processors, 1, front_shape(128, 128), job, failure);
  }

  // out = left right, for every channel.
  Status contract_mixed(const char *left, const char *right, char *out, Failure &failure) {
    ContractJob job{};
    LAMINA_TRY(contract_job(left, 128, right, 64, out, job, failure));
    const int form = square(p_.N) ? kernel::hopper_contract_square_mixed : kernel::hopper_contract_wide_mixed;
    return launch(form, static_cast<int>(contract_ctas(job)), 1, contract_shape(256), job, failure);
  }

  Status output(Failure &failure) {
    OutputBackwardJob job{};
    const PackedLayout &layout = plan_.forward.layout;
    LAMINA_TRY(map_positions(p_.pair, job.pair, failure));
    LAMINA_TRY(map_positions(g_.out, job.incoming, failure));
    LAMINA_TRY(map_planes(at(plan_.forward.o), 128, 128, job.o, failure));
    LAMINA_TRY(map_rows(plan_.x, job.x, failure));
    LAMINA_TRY(map_rows(plan_.x_gradient, job.x_gradient, failure));
    LAMINA_TRY(map_weights(layout.folded_gate, 128, job.gate, failure));
    LAMINA_TRY(map_weights(layout.folded_out, 128, job.weights, failure));
    job.gate_bias = packed_floats(layout.folded_gate.bias), job.bias = packed_floats(layout.folded_out.bias);
    job.dropout_mask = from_batch(p_.dropout_mask, first_);
    job.scale = floats(plan_.scale), job.sums = floats(plan_.output_sums), job.add = first_ > 0;
    job.cells = cells(), job.tiles = tiles_, job.eps = static_cast<float>(p_.settings.eps);
    return launch(kernel::hopper_output_backward, code_.processors, 1, output_backward_shape, job, failure);
  }

  Status residual(Failure &failure) {
    if (!g_.residual.present || g_.residual.data == g_.out.data) return Status::ok;
    CopyJob job{from_batch(g_.out, first_), from_batch(g_.residual, first_), cells(), 128};
    return launch(kernel::copy_rows_kernel, 1024, 1, finish_shape, job, failure);
  }

  template <class Job>
  Status set_front(Job &job, Failure &failure) {
    const PackedLayout &layout = plan_.forward.layout;
    LAMINA_TRY(map_rows(plan_.x, job.x, failure));
    LAMINA_TRY(map_planes(at(plan_.a_gradient), 128, 64, job.gradients[0], failure));
    LAMINA_TRY(map_planes(at(plan_.forward.a) + planes(), 128, 64, job.gradients[1], failure));
    LAMINA_TRY(map_weights(layout.folded_front, 512, job.weights, failure));
    job.bias = packed_floats(layout.folded_front.bias);
    set_mask(job);
    job.cells = cells(), job.tiles = tiles_;
    return Status::ok;
  }
  Status weights(Failure &failure) {
    FrontWeightsJob job{};
    LAMINA_TRY(set_front(job, failure));
    job.sums = floats(plan_.front_sums), job.add = first_ > 0;
    return launch(kernel::hopper_front_weights, quarter_blocks() * 4, 1, front_weights_shape, job, failure);
  }
  Status input(Failure &failure) {
    FrontBackwardJob job{};
    LAMINA_TRY(set_front(job, failure));
    LAMINA_TRY(map_rows(plan_.x_gradient, job.x_gradient, failure));
    LAMINA_TRY(map_positions(g_.pair, job.out, failure));
    job.scale = floats(plan_.scale);
    return launch(kernel::hopper_front_backward, tiles_ < code_.processors ? tiles_ : code_.processors, 1, front_backward_shape, job,
                  failure);
  }

  const Gradients &g_;
  const BackwardPlan &plan_;
  const Wanted wanted_;
  char *workspace_;
};

inline uint64_t backward_workspace_bytes(const Gradients &g, const void *state, int threads) {
  const uint64_t portable = cuda_backward_workspace_bytes(g, state, threads);
  if (!g.p.B || !g.p.N || !takes_backward_shapes(g)) return portable;
  // Where the tensors then turn out to be less aligned, the portable kernels run.
  const uint64_t own = static_cast<uint64_t>(BackwardPlan(g.p, code_of(state).processors).workspace);
  return own > portable ? own : portable;
}

inline Status backward(const Gradients &g, const Run &run, Failure &failure) {
  const Problem &p = g.p;
  if (!p.B || !p.N || !takes_backward(g)) return cuda_backward(g, run, failure);
  const BackwardPlan plan(p, code_of(run.state).processors);
  char *workspace = static_cast<char *>(run.workspace);
  cuda::Launcher launcher(code_of(run.state), run.stream);
  LAMINA_TRY(launcher.open(failure));
  LAMINA_TRY(launch_pack(p, launcher, workspace + plan.forward.packed, failure));
  BackwardLaunch launch(g, plan, workspace, code_of(run.state), launcher);
  for (int64_t first = 0; first < p.B; first += plan.forward.group)
    LAMINA_TRY(launch.run(first, p.B - first < plan.forward.group ? p.B - first : plan.forward.group, failure));
  return launch.finish(failure);
}

}  // namespace hopper
}  // namespace lamina::triangle_multiplication
