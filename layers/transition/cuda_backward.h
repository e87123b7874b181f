// Backward of the transition by the kernels that row layers share.  What forward computed is computed again, a group of rows at a time;
// gradients of parameters are float sums, split by rows into parts that are added in a fixed order at the end.
//
//   du = row_mask * dout;  dh = du D;  (dg, du') = the activation's gradients;  dz = dg G + du' U;  dx = the norm's gradient of dz
//   dD = du' h;  dG = dg' z;  dU = du'' z;  biases: column sums
//
// A machine may have one kernel for all of a row's own: then inner and hidden lie in pairs.
#pragma once
#include "cuda_forward.h"

namespace lamina::transition {

constexpr int64_t backward_rows_at_once = 8192, narrow_rows_at_once = 32768, fused_rows_at_once = 67584;
constexpr int norm_slab = 64;  // of RowGradients' norm_sums

inline uint64_t saved_bytes(const Problem &, const void *) { return 0; }  // what save allows is not used: forward is computed again

struct BackwardSpace {  // offsets
  int64_t group, up_splits, down_splits, slabs, norm_slabs;
  int64_t packed, z, masked, before, dh, inner, hidden, dz, statistics, up_sums, down_sums, up_bias_sums, down_bias_sums, norm_sums, total;
  bool up_wanted, up_bias_wanted, norm_wanted, normed, dz_wanted;

  int64_t between;  // bytes of an element of before, dh and dz
  int64_t norm_parts;
  bool narrow, fused, whole;  // fused: one kernel for inner and hidden, and where it is whole for what is a row's own beside them

  BackwardSpace(const Problem &p, const Gradients &g, const PackedLayout &layout, bool narrow, bool fused, bool whole)
      : between(narrow ? layout.element : 4), narrow(narrow), fused(fused), whole(whole) {
    const int64_t most = fused ? fused_rows_at_once : narrow ? narrow_rows_at_once : backward_rows_at_once;
    group = p.M < most ? p.M : most;
    slabs = (group + cuda::slab_rows - 1) / cuda::slab_rows;
    norm_slabs = whole ? (RowGradients::norm_parts(group) + norm_slab - 1) / norm_slab : slabs;
    up_splits = cuda::product_splits(layout.rows, p.C, group), down_splits = cuda::product_splits(p.C, p.I, group);
    up_wanted = g.gate.weight.present || g.up.weight.present, up_bias_wanted = g.gate.bias.present || g.up.bias.present;
    normed = p.norm.weight.present, norm_wanted = normed && (g.norm.weight.present || g.norm.bias.present);
    dz_wanted = g.x.present || norm_wanted;
    cuda::Pieces pieces;
    packed = pieces.take(layout.total);
    z = pieces.take(normed ? group * p.C * layout.element : 0);
    masked = pieces.take(p.row_mask.present ? group * p.C * layout.element : 0);
    before = pieces.take(fused ? 0 : group * layout.rows * between), dh = pieces.take(fused ? 0 : group * p.I * between);
    inner = pieces.take(group * layout.rows * layout.element), hidden = pieces.take(group * p.I * layout.element);
    dz = pieces.take(normed && dz_wanted && !whole ? group * p.C * between : 0);
    statistics = pieces.take(normed && !whole ? group * 8 : 0);
    norm_parts = pieces.take(norm_wanted && whole ? RowGradients::norm_parts(group) * 2 * p.C * 4 : 0);
    up_sums = pieces.take(up_wanted ? up_splits * layout.rows * p.C * 4 : 0);
    down_sums = pieces.take(g.down.weight.present ? down_splits * p.C * p.I * 4 : 0);
    up_bias_sums = pieces.take(up_bias_wanted ? slabs * layout.rows * 4 : 0);
    down_bias_sums = pieces.take(g.down.bias.present ? slabs * p.C * 4 : 0);
    norm_sums = pieces.take(norm_wanted ? norm_slabs * 2 * p.C * 4 : 0);
    total = pieces.total();
  }
};

template <class Machine>
class Backward {
 public:
  Backward(const Problem &p, const Gradients &g, const PackedLayout &layout, const BackwardSpace &space, const char *packed,
           char *workspace, cuda::RowsLauncher &rows)
      : p_(p),
        g_(g),
        layout_(layout),
        space_(space),
        packed_(packed),
        workspace_(workspace),
        rows_(rows),
        forward_(p, layout, packed, rows) {}

  Status run(Failure &failure) {
    for (int64_t first = 0; first < p_.M; first += space_.group) {
      first_ = first, count_ = p_.M - first < space_.group ? p_.M - first : space_.group;
      LAMINA_TRY(group(failure));
    }
    return gather(failure);
  }

 private:
  char *at(int64_t offset) const { return workspace_ + offset; }
  float *floats(int64_t offset) const { return reinterpret_cast<float *>(workspace_ + offset); }

  Status group(Failure &failure) {
    cuda::ProductOperand z, du{from_row(g_.out, first_).data, g_.out.stride[0]};
    if (p_.row_mask.present) LAMINA_TRY(mask(du, failure));
    if (!space_.whole) LAMINA_TRY(forward_.template input<Machine>(first_, count_, at(space_.z), z, failure));
    if (space_.fused) LAMINA_TRY(row_gradients(du, z, failure));
    else LAMINA_TRY(through_activation(z, du, failure));
    const cuda::ProductOperand inner{at(space_.inner), layout_.rows}, hidden{at(space_.hidden), p_.I};
    if (g_.down.weight.present) LAMINA_TRY(weight_sums(du, p_.C, hidden, p_.I, space_.down_sums, space_.down_splits, failure));
    if (g_.down.bias.present) LAMINA_TRY(bias_sums(du, p_.C, space_.down_bias_sums, failure));
    if (space_.up_wanted && space_.fused)  // transposed: wide tiles take more columns than rows
      LAMINA_TRY(weight_sums(z, p_.C, inner, layout_.rows, space_.up_sums, space_.up_splits, failure));
    else if (space_.up_wanted) LAMINA_TRY(weight_sums(inner, layout_.rows, z, p_.C, space_.up_sums, space_.up_splits, failure));
    if (space_.up_bias_wanted) LAMINA_TRY(bias_sums(inner, layout_.rows, space_.up_bias_sums, failure));
    if (!space_.whole) LAMINA_TRY(input_gradient(inner, failure));
    return residual_gradient(failure);
  }

  Status row_gradients(const cuda::ProductOperand &du, cuda::ProductOperand &z, Failure &failure) {
    RowGradients job;
    job.out_gradient = du, job.rows = count_;
    job.x = from_row(p_.x, first_), job.x_gradient = from_row(g_.x, first_);
    job.z = at(space_.z), job.inner = at(space_.inner), job.hidden = at(space_.hidden);
    if (!space_.whole) {
      job.x.data = const_cast<void *>(z.data), job.x.stride[0] = z.line;
      return Machine::gradients(p_, layout_, packed_, job, rows_, failure);
    }
    job.norm_sums = space_.norm_wanted ? floats(space_.norm_parts) : nullptr;
    z = {job.x.data, job.x.stride[0]};
    if (space_.normed) z = {job.z, p_.C};
    LAMINA_TRY(Machine::gradients(p_, layout_, packed_, job, rows_, failure));
    if (!space_.norm_wanted) return Status::ok;
    cuda::ColumnSumsJob sums;
    sums.gradient = job.norm_sums, sums.gradient_is_float = true, sums.gradient_line = 2 * p_.C;
    sums.rows = RowGradients::norm_parts(count_), sums.columns = static_cast<int>(2 * p_.C);
    sums.slab = norm_slab;
    sums.sums = floats(space_.norm_sums), sums.add_to_sums = first_ > 0;
    return rows_.column_sums(sums, failure);
  }

  Status mask(cuda::ProductOperand &du, Failure &failure) {
    cuda::ActivationGradientJob job;
    job.gradient = du.data, job.gradient_line = du.line;
    job.out = at(space_.masked), job.out_line = p_.C;
    job.rows = count_, job.columns = static_cast<int>(p_.C);
    job.row_mask = from_row(p_.row_mask, first_);
    du = {job.out, p_.C};
    return rows_.activation_gradient(job, failure);
  }

  Status through_activation(const cuda::ProductOperand &z, const cuda::ProductOperand &du, Failure &failure) {
    cuda::ProductJob again = forward_.up(z, count_);
    again.gated = false, again.activation = lamina::Activation::none;
    again.out = at(space_.before), again.out_is_float = !space_.narrow, again.out_line = layout_.rows;
    LAMINA_TRY(Machine::product(rows_, again, 1, failure));
    cuda::ProductJob dh;
    dh.a = du, dh.b = {packed_ + layout_.down, p_.I, true};
    dh.rows = count_, dh.columns = static_cast<int>(p_.I), dh.depth = p_.C;
    dh.out = at(space_.dh), dh.out_is_float = !space_.narrow, dh.out_line = p_.I;
    LAMINA_TRY(Machine::product(rows_, dh, 1, failure));
    cuda::ActivationGradientJob job;
    job.before = at(space_.before), job.before_is_float = !space_.narrow, job.before_line = layout_.rows;
    job.gradient = dh.out, job.gradient_is_float = !space_.narrow, job.gradient_line = p_.I;
    job.out = at(space_.inner), job.out_line = layout_.rows;
    job.hidden = at(space_.hidden), job.hidden_line = p_.I;
    job.rows = count_, job.columns = static_cast<int>(p_.I);
    job.gated = p_.gated(), job.activation = lamina::Activation::relu;
    return Machine::activation_gradient(rows_, job, failure);
  }

  // left' right over the group's rows.
  Status weight_sums(const cuda::ProductOperand &left, int64_t left_width, const cuda::ProductOperand &right, int64_t right_width,
                     int64_t to, int64_t splits, Failure &failure) {
    cuda::ProductJob job;
    job.a = {left.data, left.line, true}, job.b = {right.data, right.line, true};
    job.rows = left_width, job.columns = static_cast<int>(right_width), job.depth = count_;
    job.out = at(to), job.out_is_float = true, job.add_to_out = first_ > 0;
    job.out_line = right_width, job.split_stride = left_width * right_width;
    return Machine::product(rows_, job, static_cast<int>(splits), failure);
  }
  Status bias_sums(const cuda::ProductOperand &gradient, int64_t width, int64_t to, Failure &failure) {
    cuda::ColumnSumsJob job;
    job.gradient = gradient.data, job.gradient_line = gradient.line;
    job.rows = count_, job.columns = static_cast<int>(width);
    job.sums = floats(to), job.add_to_sums = first_ > 0;
    return rows_.column_sums(job, failure);
  }

  Status input_gradient(const cuda::ProductOperand &inner, Failure &failure) {
    if (!space_.dz_wanted) return Status::ok;
    const View to = from_row(g_.x, first_);
    cuda::ProductJob job;
    job.a = inner, job.b = {packed_ + (space_.fused ? layout_.folded_up : layout_.up), p_.C, true};  // in the order of inner
    job.rows = count_, job.columns = static_cast<int>(p_.C), job.depth = layout_.rows;
    job.out_is_float = space_.normed && !space_.narrow;
    job.out = space_.normed ? at(space_.dz) : to.data, job.out_line = space_.normed ? p_.C : to.stride[0];
    LAMINA_TRY(Machine::product(rows_, job, 1, failure));
    if (!space_.normed) return Status::ok;
    cuda::NormGradientJob norm;
    norm.x = from_row(p_.x, first_).data, norm.x_line = p_.x.stride[0];
    norm.gradient = at(space_.dz), norm.gradient_is_float = !space_.narrow, norm.gradient_line = p_.C;
    norm.x_gradient = to.present ? to.data : nullptr, norm.x_gradient_line = to.stride[0];
    norm.statistics = floats(space_.statistics);
    norm.rows = count_, norm.channels = static_cast<int>(p_.C);
    norm.weight = forward_.norm_weight(), norm.eps = static_cast<float>(p_.settings.eps);
    LAMINA_TRY(Machine::norm_gradient(rows_, norm, failure));
    if (!space_.norm_wanted) return Status::ok;
    cuda::ColumnSumsJob sums;
    sums.gradient = norm.gradient, sums.gradient_is_float = norm.gradient_is_float, sums.gradient_line = p_.C;
    sums.x = norm.x, sums.x_line = norm.x_line, sums.statistics = norm.statistics;
    sums.rows = count_, sums.columns = norm.channels;
    sums.sums = floats(space_.norm_sums), sums.add_to_sums = first_ > 0;
    return rows_.column_sums(sums, failure);
  }

  // A copy of the incoming gradient, unless it is there already.
  Status residual_gradient(Failure &failure) {
    const View from = from_row(g_.out, first_), to = from_row(g_.residual, first_);
    if (!to.present || to.data == from.data) return Status::ok;
    cuda::ActivationGradientJob job;
    job.gradient = from.data, job.gradient_line = from.stride[0];
    job.out = to.data, job.out_line = to.stride[0];
    job.rows = count_, job.columns = static_cast<int>(p_.C);
    return rows_.activation_gradient(job, failure);
  }

  Status gather(Failure &failure) {
    const bool any = p_.M > 0;  // of no rows, zeros
    const int up_splits = any ? static_cast<int>(space_.up_splits) : 0, down_splits = any ? static_cast<int>(space_.down_splits) : 0;
    const int slabs = static_cast<int>(space_.slabs), norm_slabs = static_cast<int>(space_.norm_slabs), up_group = p_.gated() ? 8 : -1;
    const bool paired = space_.fused;
    const int64_t up_line = paired ? layout_.rows : p_.C, up_size = layout_.rows * p_.C;
    const float *up = floats(space_.up_sums), *up_bias = floats(space_.up_bias_sums), *norm = floats(space_.norm_sums);
    const cuda::GatherJob jobs[] = {
        {g_.gate.weight, p_.I, p_.C, up, up_splits, up_size, up_line, 0, 1, paired, false, paired},
        {g_.up.weight, p_.I, p_.C, up, up_splits, up_size, up_line, up_group, 1, paired, false, paired},
        {g_.gate.bias, p_.I, 1, up_bias, slabs, layout_.rows, 1, 0, 1, paired},
        {g_.up.bias, p_.I, 1, up_bias, slabs, layout_.rows, 1, up_group, 1, paired},
        {g_.down.weight, p_.C, p_.I, floats(space_.down_sums), down_splits, p_.C * p_.I, p_.I, -1, 1, false, paired},
        {g_.down.bias, p_.C, 1, floats(space_.down_bias_sums), slabs, p_.C, 1, -1, 1},
        {g_.norm.bias, p_.C, 1, norm, norm_slabs, 2 * p_.C, 1, -1, 1},
        {g_.norm.weight, p_.C, 1, norm + p_.C, norm_slabs, 2 * p_.C, 1, -1, 1}};
    return rows_.gather(jobs, failure);
  }

  const Problem &p_;
  const Gradients &g_;
  const PackedLayout &layout_;
  const BackwardSpace &space_;
  const char *packed_;
  char *workspace_;
  cuda::RowsLauncher &rows_;
  const Group forward_;
  int64_t first_ = 0, count_ = 0;
};

template <class Machine>
uint64_t backward_workspace_bytes(const Problem &p, const Gradients &g, const void *, int) {
  const PackedLayout layout(p, Machine::folds(p));
  const auto bytes = [&](bool fused) {
    return static_cast<uint64_t>(BackwardSpace(p, g, layout, Machine::narrow(p.dtype), fused, fused && Machine::whole_gradients(p)).total);
  };
  const uint64_t apart = bytes(false), fused = Machine::fuses_gradients(p, layout) ? bytes(true) : 0;
  return apart < fused ? fused : apart;  // where the rows lie decides at the run
}

template <class Machine>
Status backward(const Problem &p, const Gradients &g, const Run &run, Failure &failure) {
  const PackedLayout layout(p, Machine::folds(p));
  const bool fused = Machine::fuses_gradients(p, layout) && Machine::takes_gradients(p, g);
  const BackwardSpace space(p, g, layout, Machine::narrow(p.dtype), fused, fused && Machine::whole_gradients(p));
  char *workspace = static_cast<char *>(run.workspace);
  cuda::RowsLauncher rows(code_of(run.state), run.stream, p.dtype);
  LAMINA_TRY(rows.open(failure));
  LAMINA_TRY(launch_pack(p, layout, rows, workspace + space.packed, fused && !space.whole ? Third::paired : Third::none, failure));
  return Backward<Machine>(p, g, layout, space, workspace + space.packed, workspace, rows).run(failure);
}

}  // namespace lamina::transition
