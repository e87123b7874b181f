// The host half of CUDA builds for layers that are one linear map over rows (kernels/common/row_linear.h): packed weights, workspace and
// launches of the portable kernels.  A machine with faster kernels gives them in `Machine`:
//
//   static bool folds(const RowLinear &);   does it read weights with the LayerNorm folded in?  Known when weights are packed
//   static bool takes(const RowLinear &, const RowLinearLayout &);             does it compute this problem's forward?
//   static Status forward(const RowLinear &, const RowLinearLayout &, const char *packed, char *z, int64_t group, RowsLauncher &, Failure &);
//     z: room for `group` normalised rows where a norm stands before
//   and the functions of PortableKernels, which backward calls
#pragma once
#include "rows_launch.h"

namespace lamina::cuda {

constexpr int64_t rows_at_once = 32768;  // of the portable kernels: what lies between two of them stays near the L2 cache

// Where what stands in the packed bytes.
struct RowLinearLayout {
  int64_t element, line;                       // bytes of T; elements of a packed row
  int64_t weight, bias;                        // [N][line] of T, [N] floats
  int64_t folded_weight = 0, folded_bias = 0;  // the same with the LayerNorm before it folded in; 0: not there
  int64_t norm = 0;                            // [2][width] floats
  int64_t total;

  RowLinearLayout(const RowLinear &p, bool folded) {
    element = p.dtype == DType::float32 ? 4 : 2, line = whole_eights(p.K);
    Pieces pieces;
    weight = pieces.take(p.N * line * element), bias = pieces.take(p.N * 4);
    if (folded) folded_weight = pieces.take(p.N * line * element), folded_bias = pieces.take(p.N * 4);
    if (p.settings.norm != NormPlace::none) norm = pieces.take(2 * norm_width(p) * 4);
    total = pieces.total();
  }
  static int64_t norm_width(const RowLinear &p) { return p.settings.norm == NormPlace::before ? p.K : p.N; }
};

// Offsets into the workspace; a group is what one round of launches takes.
struct RowLinearWorkspace {
  int64_t group, packed, z, before, total;

  RowLinearWorkspace(const RowLinear &p, const RowLinearLayout &layout) {
    group = p.M < rows_at_once ? p.M : rows_at_once;
    Pieces pieces;
    packed = pieces.take(p.packed ? 0 : layout.total);
    z = pieces.take(p.settings.norm == NormPlace::before ? group * layout.line * layout.element : 0);
    before = pieces.take(p.settings.norm == NormPlace::after ? group * p.N * 4 : 0);
    total = pieces.total();
  }
};

inline const DeviceCode &row_linear_code(const void *state) { return *static_cast<const DeviceCode *>(state); }

inline Status launch_row_linear_pack(const RowLinear &p, const RowLinearLayout &layout, RowsLauncher &rows, char *packed,
                                     Failure &failure) {
  PackJob job;
  PackPart &plain = job.part[0];
  plain.source[0] = {p.weight, p.bias, 1};
  plain.rows = p.N, plain.depth = p.K, plain.line = layout.line;
  plain.weight = packed + layout.weight, plain.bias = reinterpret_cast<float *>(packed + layout.bias);
  if (layout.folded_weight) {
    PackPart &folded = job.part[1] = plain;
    folded.folded = true, folded.norm_weight = p.norm_weight, folded.norm_bias = p.norm_bias;
    folded.weight = packed + layout.folded_weight, folded.bias = reinterpret_cast<float *>(packed + layout.folded_bias);
  }
  if (p.settings.norm != NormPlace::none)
    job.norm = {p.norm_weight, p.norm_bias, RowLinearLayout::norm_width(p), reinterpret_cast<float *>(packed + layout.norm)};
  return rows.pack(job, failure);
}

// One group of rows through the portable kernels.
class RowLinearGroup {
 public:
  RowLinearGroup(const RowLinear &p, const RowLinearLayout &layout, const char *packed, RowsLauncher &rows)
      : p_(p), layout_(layout), packed_(packed), rows_(rows) {}

  // x's rows, normalised into z where a norm stands before.
  template <class Kernels>
  Status input(int64_t first, int64_t count, char *z, ProductOperand &input, Failure &failure) const {
    input = {from_row(p_.x, first).data, p_.x.stride[0]};
    if (p_.settings.norm != NormPlace::before) return Status::ok;
    NormJob job = norm();
    job.x = input.data, job.x_line = input.line;
    job.out = z, job.out_line = layout_.line;
    job.rows = count;
    input = {z, layout_.line};
    return Kernels::normalise(rows_, job, failure);
  }

  // The product and what follows it up to a norm.
  ProductJob product(const ProductOperand &input, int64_t first, int64_t count) const {
    ProductJob job;
    job.a = input, job.b = {packed_ + layout_.weight, layout_.line};
    job.rows = count, job.depth = p_.K, job.columns = static_cast<int>(p_.N);
    job.bias = floats(layout_.bias);
    job.activation = p_.settings.activation, job.scale = static_cast<float>(p_.settings.scale);
    job.residual = from_row(p_.residual, first);
    return job;
  }

  NormJob norm() const {
    NormJob job;
    const int64_t width = RowLinearLayout::norm_width(p_);
    job.channels = static_cast<int>(width), job.eps = static_cast<float>(p_.settings.eps);
    job.weight = floats(layout_.norm), job.bias = job.weight + width;
    return job;
  }

  Status forward(int64_t first, int64_t count, char *z, char *before, Failure &failure) const {
    ProductOperand operand;
    LAMINA_TRY(input<PortableKernels>(first, count, z, operand, failure));
    ProductJob job = product(operand, first, count);
    const View out = from_row(p_.out, first);
    const bool normed = p_.settings.norm == NormPlace::after;
    job.out = normed ? before : out.data, job.out_is_float = normed;
    job.out_line = normed ? p_.N : out.stride[0];
    LAMINA_TRY(rows_.product(job, 1, failure));
    if (!normed) return Status::ok;
    NormJob last = norm();
    last.x = before, last.x_is_float = true, last.x_line = p_.N;
    last.out = out.data, last.out_line = out.stride[0];
    last.rows = count;
    return rows_.normalise(last, failure);
  }

  const float *floats(int64_t at) const { return reinterpret_cast<const float *>(packed_ + at); }
  static View from_row(View view, int64_t first) {
    if (view.present) view.data = static_cast<char *>(view.data) + first * view.stride[0] * static_cast<int64_t>(size_of(view.dtype));
    return view;
  }

 private:
  const RowLinear &p_;
  const RowLinearLayout &layout_;
  const char *packed_;
  RowsLauncher &rows_;
};

// A machine that has the portable kernels alone.
struct PortableMachine : PortableKernels {
  static bool folds(const RowLinear &) { return false; }
  static bool takes(const RowLinear &, const RowLinearLayout &) { return false; }
  static Status forward(const RowLinear &, const RowLinearLayout &, const char *, char *, int64_t, RowsLauncher &, Failure &) {
    return Status::ok;
  }
};

inline Status row_linear_check(const RowLinear &p, const void *, Failure &failure) {
  constexpr int64_t most = int64_t{1} << 24;
  if (p.settings.activation != Activation::none && p.settings.norm == NormPlace::after)
    return fail(failure, Status::unsupported, "this build takes no activation before a norm");
  if (p.N <= most && p.K <= most) return Status::ok;
  return fail(failure, Status::unsupported, "the widths K = %lld and N = %lld: this build takes at most %lld", static_cast<long long>(p.K),
              static_cast<long long>(p.N), static_cast<long long>(most));
}

template <class Machine>
uint64_t row_linear_packed_bytes(const RowLinear &p, const void *) {
  return static_cast<uint64_t>(RowLinearLayout(p, Machine::folds(p)).total);
}

template <class Machine>
uint64_t row_linear_workspace_bytes(const RowLinear &p, const void *, int) {
  return static_cast<uint64_t>(RowLinearWorkspace(p, RowLinearLayout(p, Machine::folds(p))).total);
}

template <class Machine>
Status row_linear_pack(const RowLinear &p, const RowLinearRun &run, Failure &failure) {
  RowsLauncher rows(row_linear_code(run.state), run.stream, p.dtype);
  LAMINA_TRY(rows.open(failure));
  return launch_row_linear_pack(p, RowLinearLayout(p, Machine::folds(p)), rows, static_cast<char *>(p.packed), failure);
}

// The packed weights: the caller's, or made in the workspace.
inline Status row_linear_weights(const RowLinear &p, const RowLinearLayout &layout, RowsLauncher &rows, char *workspace,
                                 const char *&packed, Failure &failure) {
  packed = static_cast<const char *>(p.packed);
  if (packed) return Status::ok;
  packed = workspace;
  return launch_row_linear_pack(p, layout, rows, workspace, failure);
}

template <class Machine>
Status row_linear_forward(const RowLinear &p, const RowLinearRun &run, Failure &failure) {
  const RowLinearLayout layout(p, Machine::folds(p));
  const RowLinearWorkspace space(p, layout);
  char *workspace = static_cast<char *>(run.workspace);
  RowsLauncher rows(row_linear_code(run.state), run.stream, p.dtype);
  LAMINA_TRY(rows.open(failure));
  const char *packed;
  LAMINA_TRY(row_linear_weights(p, layout, rows, workspace + space.packed, packed, failure));
  if (Machine::takes(p, layout)) return Machine::forward(p, layout, packed, workspace + space.z, space.group, rows, failure);
  const RowLinearGroup group(p, layout, packed, rows);
  for (int64_t first = 0; first < p.M; first += space.group)
    LAMINA_TRY(group.forward(first, p.M - first < space.group ? p.M - first : space.group, workspace + space.z, workspace + space.before,
                             failure));
  return Status::ok;
}

template <const Image &image>
Status row_linear_create(const RowLinearSettings &, int32_t device, void **state, Failure &failure) {
  static_assert(image.count <= max_kernels, "raise max_kernels");
  return load_device_code(image, device, *reinterpret_cast<DeviceCode **>(state), failure);
}
inline void row_linear_destroy(void *state) { release_device_code(static_cast<DeviceCode *>(state)); }

}  // namespace lamina::cuda

#include "row_linear_gradient.h"

namespace lamina::cuda {

template <const Image &image, class Machine>
constexpr RowLinearBuild row_linear_build(const char *packed_format) {
  RowLinearBuild build{};
  build.packed_format = packed_format;
  build.device_type = 2, build.workspace_align = 256;
  build.deterministic = true, build.capture_safe = true;
  build.create = row_linear_create<image>, build.destroy = row_linear_destroy, build.check = row_linear_check;
  build.packed_bytes = row_linear_packed_bytes<Machine>, build.workspace_bytes = row_linear_workspace_bytes<Machine>;
  build.pack = row_linear_pack<Machine>, build.forward = row_linear_forward<Machine>;
  build.saved_bytes = row_linear_saved_bytes, build.forward_train = row_linear_forward<Machine>;
  build.backward_workspace_bytes = row_linear_backward_workspace_bytes<Machine>, build.backward = row_linear_backward<Machine>;
  return build;
}

}  // namespace lamina::cuda
