// Backward of one linear map over rows by the portable kernels.  What forward computed is computed again, a group of rows at a time;
// gradients of parameters are float sums, split by rows into parts that are added in a fixed order at the end.
//
//   du = the norm's gradient where one stands after, else the incoming one;  dy = scale * du * activation'(before)
//   dz = dy W;  dW = dy' z;  db = column sums of dy;  dx = the norm's gradient of dz where one stands before, else dz
#pragma once
#include "row_linear.h"

namespace lamina::cuda {

inline uint64_t row_linear_saved_bytes(const RowLinear &, const void *) {
  return 0;
}  // what save allows is not used: forward is computed again

struct RowLinearGradientSpace {
  int64_t group, splits, n_line, slabs;
  int64_t packed, z, dz, before, du, dy, statistics, weight_sums, bias_sums, norm_sums, total;
  int64_t between, before_line, dz_line;  // bytes of an element of before and dz
  bool narrow, dz_needed, activated, normed_before, normed_after;

  RowLinearGradientSpace(const RowLinear &p, const RowLinearGradients &g, const RowLinearLayout &layout, bool narrow) : narrow(narrow) {
    group = p.M < rows_at_once ? p.M : rows_at_once;
    splits = product_splits(p.N, p.K, group), n_line = whole_eights(p.N), slabs = (group + slab_rows - 1) / slab_rows;
    normed_before = p.settings.norm == NormPlace::before, normed_after = p.settings.norm == NormPlace::after;
    activated = p.settings.activation != Activation::none;
    between = narrow ? layout.element : 4;
    before_line = narrow ? n_line : p.N, dz_line = narrow ? layout.line : p.K;
    const bool norm_wanted = g.norm_weight.present || g.norm_bias.present;
    dz_needed = normed_before && (g.x.present || norm_wanted);
    Pieces pieces;
    packed = pieces.take(p.packed ? 0 : layout.total);
    z = pieces.take(normed_before ? group * layout.line * layout.element : 0);
    dz = pieces.take(dz_needed ? group * dz_line * between : 0);
    before = pieces.take(activated || normed_after ? group * before_line * between : 0);
    du = pieces.take(normed_after ? group * n_line * layout.element : 0);
    dy = pieces.take(activated ? group * n_line * layout.element : 0);
    statistics = pieces.take(normed_before || normed_after ? group * 8 : 0);
    weight_sums = pieces.take(g.weight.present ? splits * p.N * p.K * 4 : 0);
    bias_sums = pieces.take(g.bias.present ? slabs * p.N * 4 : 0);
    norm_sums = pieces.take(norm_wanted ? slabs * 2 * RowLinearLayout::norm_width(p) * 4 : 0);
    total = pieces.total();
  }
};

template <class Machine>
class RowLinearBackward {
 public:
  RowLinearBackward(const RowLinear &p, const RowLinearGradients &g, const RowLinearLayout &layout, const RowLinearGradientSpace &space,
                    const char *packed, char *workspace, RowsLauncher &rows)
      : p_(p),
        g_(g),
        layout_(layout),
        space_(space),
        workspace_(workspace),
        rows_(rows),
        forward_(p, layout, packed, rows),
        packed_(packed) {}

  Status run(Failure &failure) {
    for (int64_t first = 0; first < p_.M; first += space_.group) {
      first_ = first, count_ = p_.M - first < space_.group ? p_.M - first : space_.group;
      LAMINA_TRY(group(failure));
    }
    return gather(failure);
  }

 private:
  using Group = RowLinearGroup;
  char *at(int64_t offset) const { return workspace_ + offset; }
  float *floats(int64_t offset) const { return reinterpret_cast<float *>(workspace_ + offset); }

  Status group(Failure &failure) {
    const bool again = space_.activated || space_.normed_after || g_.weight.present;
    ProductOperand z{Group::from_row(p_.x, first_).data, p_.x.stride[0]};
    if (again) LAMINA_TRY(forward_.template input<Machine>(first_, count_, at(space_.z), z, failure));
    if (space_.activated || space_.normed_after) LAMINA_TRY(compute_before(z, failure));

    ProductOperand du{Group::from_row(g_.out, first_).data, g_.out.stride[0]};
    if (space_.normed_after) LAMINA_TRY(through_norm_after(du, failure));
    ProductOperand dy = du;
    if (space_.activated) LAMINA_TRY(through_activation(du, dy, failure));

    if (g_.weight.present) LAMINA_TRY(weight_gradient(dy, z, failure));
    if (g_.bias.present) {
      ColumnSumsJob job;
      job.gradient = dy.data, job.gradient_line = dy.line;
      job.rows = count_, job.columns = static_cast<int>(p_.N);
      job.sums = floats(space_.bias_sums), job.add_to_sums = first_ > 0;
      LAMINA_TRY(rows_.column_sums(job, failure));
    }
    LAMINA_TRY(input_gradient(dy, failure));
    return residual_gradient(du, failure);
  }

  // before: what the activation, or the norm after, is computed from.
  Status compute_before(const ProductOperand &z, Failure &failure) {
    ProductJob job = forward_.product(z, first_, count_);
    if (space_.activated) job.activation = Activation::none, job.scale = 1, job.residual = {};
    job.out = at(space_.before), job.out_is_float = !space_.narrow, job.out_line = space_.before_line;
    return Machine::product(rows_, job, 1, failure);
  }

  Status through_norm_after(ProductOperand &du, Failure &failure) {
    NormGradientJob job = norm_gradient();
    job.x = at(space_.before), job.x_is_float = !space_.narrow, job.x_line = space_.before_line;
    job.gradient = du.data, job.gradient_line = du.line;
    job.x_gradient = at(space_.du), job.x_gradient_line = space_.n_line;
    LAMINA_TRY(Machine::norm_gradient(rows_, job, failure));
    LAMINA_TRY(norm_sums(job, failure));
    du = {at(space_.du), space_.n_line};
    return Status::ok;
  }

  Status through_activation(const ProductOperand &du, ProductOperand &dy, Failure &failure) {
    ActivationGradientJob job;
    job.before = at(space_.before), job.before_is_float = !space_.narrow, job.before_line = space_.before_line;
    job.gradient = du.data, job.gradient_line = du.line;
    job.out = at(space_.dy), job.out_line = space_.n_line;
    job.rows = count_, job.columns = static_cast<int>(p_.N);
    job.activation = p_.settings.activation;
    dy = {at(space_.dy), space_.n_line};
    return Machine::activation_gradient(rows_, job, failure);
  }

  Status weight_gradient(const ProductOperand &dy, const ProductOperand &z, Failure &failure) {
    ProductJob job;
    job.a = {dy.data, dy.line, true}, job.b = {z.data, z.line, true};
    job.rows = p_.N, job.columns = static_cast<int>(p_.K), job.depth = count_;
    job.out = at(space_.weight_sums), job.out_is_float = true, job.add_to_out = first_ > 0;
    job.out_line = p_.K, job.split_stride = p_.N * p_.K;
    return Machine::product(rows_, job, static_cast<int>(space_.splits), failure);
  }

  Status input_gradient(const ProductOperand &dy, Failure &failure) {
    if (!g_.x.present && !space_.dz_needed) return Status::ok;
    const View to = Group::from_row(g_.x, first_);
    ProductJob job;
    job.a = dy, job.b = {packed_ + layout_.weight, layout_.line, true};
    job.rows = count_, job.columns = static_cast<int>(p_.K), job.depth = p_.N;
    job.scale = static_cast<float>(p_.settings.scale);
    job.out_is_float = space_.normed_before && !space_.narrow;
    job.out = space_.normed_before ? at(space_.dz) : to.data, job.out_line = space_.normed_before ? space_.dz_line : to.stride[0];
    LAMINA_TRY(Machine::product(rows_, job, 1, failure));
    if (!space_.normed_before) return Status::ok;
    NormGradientJob norm = norm_gradient();
    norm.x = Group::from_row(p_.x, first_).data, norm.x_line = p_.x.stride[0];
    norm.gradient = at(space_.dz), norm.gradient_is_float = !space_.narrow, norm.gradient_line = space_.dz_line;
    norm.x_gradient = to.present ? to.data : nullptr, norm.x_gradient_line = to.stride[0];
    LAMINA_TRY(Machine::norm_gradient(rows_, norm, failure));
    return norm_sums(norm, failure);
  }

  // A copy of du, unless it is there already.
  Status residual_gradient(const ProductOperand &du, Failure &failure) {
    const View to = Group::from_row(g_.residual, first_);
    if (!to.present || to.data == du.data) return Status::ok;
    ActivationGradientJob job;
    job.gradient = du.data, job.gradient_line = du.line;
    job.out = to.data, job.out_line = to.stride[0];
    job.rows = count_, job.columns = static_cast<int>(p_.N);
    return rows_.activation_gradient(job, failure);
  }

  NormGradientJob norm_gradient() const {
    NormGradientJob job;
    const NormJob norm = forward_.norm();
    job.channels = norm.channels, job.weight = norm.weight, job.eps = norm.eps;
    job.rows = count_;
    job.statistics = floats(space_.statistics);
    return job;
  }
  Status norm_sums(const NormGradientJob &norm, Failure &failure) {
    if (!g_.norm_weight.present && !g_.norm_bias.present) return Status::ok;
    ColumnSumsJob job;
    job.gradient = norm.gradient, job.gradient_is_float = norm.gradient_is_float, job.gradient_line = norm.gradient_line;
    job.x = norm.x, job.x_is_float = norm.x_is_float, job.x_line = norm.x_line;
    job.statistics = norm.statistics;
    job.rows = count_, job.columns = norm.channels;
    job.sums = floats(space_.norm_sums), job.add_to_sums = first_ > 0;
    return rows_.column_sums(job, failure);
  }

  Status gather(Failure &failure) {
    const float scale = static_cast<float>(p_.settings.scale);
    const int slabs = static_cast<int>(space_.slabs), splits = p_.M ? static_cast<int>(space_.splits) : 0;  // of no rows, zeros
    const int64_t width = RowLinearLayout::norm_width(p_);
    const float *norm = floats(space_.norm_sums);
    const GatherJob jobs[] = {{g_.weight, p_.N, p_.K, floats(space_.weight_sums), splits, p_.N * p_.K, p_.K, -1, scale},
                              {g_.bias, p_.N, 1, floats(space_.bias_sums), slabs, p_.N, 1, -1, scale},
                              {g_.norm_bias, width, 1, norm, slabs, 2 * width, 1, -1, 1},
                              {g_.norm_weight, width, 1, norm + width, slabs, 2 * width, 1, -1, 1}};
    return rows_.gather(jobs, failure);
  }

  const RowLinear &p_;
  const RowLinearGradients &g_;
  const RowLinearLayout &layout_;
  const RowLinearGradientSpace &space_;
  char *workspace_;
  RowsLauncher &rows_;
  const RowLinearGroup forward_;
  const char *packed_;
  int64_t first_ = 0, count_ = 0;
};

template <class Machine>
uint64_t row_linear_backward_workspace_bytes(const RowLinear &p, const RowLinearGradients &g, const void *, int) {
  return static_cast<uint64_t>(RowLinearGradientSpace(p, g, RowLinearLayout(p, Machine::folds(p)), Machine::narrow(p.dtype)).total);
}

template <class Machine>
Status row_linear_backward(const RowLinear &p, const RowLinearGradients &g, const RowLinearRun &run, Failure &failure) {
  const RowLinearLayout layout(p, Machine::folds(p));
  const RowLinearGradientSpace space(p, g, layout, Machine::narrow(p.dtype));
  char *workspace = static_cast<char *>(run.workspace);
  RowsLauncher rows(row_linear_code(run.state), run.stream, p.dtype);
  LAMINA_TRY(rows.open(failure));
  const char *packed;
  LAMINA_TRY(row_linear_weights(p, layout, rows, workspace + space.packed, packed, failure));
  return RowLinearBackward<Machine>(p, g, layout, space, packed, workspace, rows).run(failure);
}

}  // namespace lamina::cuda
