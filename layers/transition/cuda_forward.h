// The host half of the CUDA builds: packed weights, workspace, and the launches of the kernels that row layers share.  cuda_sm80.cu and
// cuda_sm90a.cu give it their embedded device code.
//
// Packed: gate and up rows in groups of 8 and 8 (up alone without a gate), down, the norm's vectors as floats; where `folds` says so also
// gate and up with the norm, if there is one, folded in and the gates halved.
#pragma once
#include "build.h"
#include "kernels/cuda/rows_launch.h"

namespace lamina::transition {

// Folded gates are packed times this: sigmoid(x) = (1 + tanh(x / 2)) / 2.
constexpr float gate_factor = 0.5f;

constexpr int64_t rows_at_once = 32768;  // of the portable kernels: the hidden rows stay near the L2 cache

struct PackedLayout {
  int64_t element, rows;                      // bytes of T; packed rows of gate and up
  int64_t up, up_bias, down, down_bias;       // [rows][C], [C][I] of T; floats
  int64_t folded_up = 0, folded_up_bias = 0;  // 0: not there
  int64_t norm = 0, total;

  PackedLayout(const Problem &p, bool folded) {
    element = p.dtype == DType::float32 ? 4 : 2, rows = p.gated() ? 2 * p.I : p.I;
    cuda::Pieces pieces;
    up = pieces.take(rows * p.C * element), up_bias = pieces.take(rows * 4);
    down = pieces.take(p.C * p.I * element), down_bias = pieces.take(p.C * 4);
    if (folded) folded_up = pieces.take(rows * p.C * element), folded_up_bias = pieces.take(rows * 4);
    if (p.norm.weight.present) norm = pieces.take(2 * p.C * 4);
    total = pieces.total();
  }
};

struct Workspace {  // offsets
  int64_t group, packed, z, hidden, total;

  Workspace(const Problem &p, const PackedLayout &layout) {
    group = p.M < rows_at_once ? p.M : rows_at_once;
    cuda::Pieces pieces;
    packed = pieces.take(p.packed ? 0 : layout.total);
    z = pieces.take(p.norm.weight.present ? group * p.C * layout.element : 0);
    hidden = pieces.take(group * p.I * layout.element);
    total = pieces.total();
  }
};

inline const cuda::DeviceCode &code_of(const void *state) { return *static_cast<const cuda::DeviceCode *>(state); }

inline View from_row(View view, int64_t first) {
  if (view.present) view.data = static_cast<char *>(view.data) + first * view.stride[0] * static_cast<int64_t>(size_of(view.dtype));
  return view;
}

// What stands behind the plain weights where a machine folds: gate and up with the norm folded in, or plain but at their cuda::paired_place(), or
// nothing that anyone reads.
enum class Third { folded, paired, none };
inline Status launch_pack(const Problem &p, const PackedLayout &layout, cuda::RowsLauncher &rows, char *packed, Third third,
                          Failure &failure) {
  cuda::PackJob job;
  const auto floats = [packed](int64_t at) { return reinterpret_cast<float *>(packed + at); };
  cuda::PackPart &up = job.part[0], &down = job.part[1];
  up.gated = p.gated();
  up.source[up.gated] = {p.up.weight, p.up.bias, 1};
  if (up.gated) up.source[0] = {p.gate.weight, p.gate.bias, 1};
  up.rows = layout.rows, up.depth = p.C, up.line = p.C;
  up.weight = packed + layout.up, up.bias = floats(layout.up_bias);
  down.source[0] = {p.down.weight, p.down.bias, 1};
  down.rows = p.C, down.depth = p.I, down.line = p.I;
  down.weight = packed + layout.down, down.bias = floats(layout.down_bias);
  if (layout.folded_up && third != Third::none) {
    const bool paired = third == Third::paired;
    cuda::PackPart &folded = job.part[2] = up;
    folded.paired = paired;
    folded.folded = !paired && p.norm.weight.present, folded.norm_weight = p.norm.weight, folded.norm_bias = p.norm.bias;
    folded.source[0].factor = up.gated && !paired ? gate_factor : 1;
    folded.weight = packed + layout.folded_up, folded.bias = floats(layout.folded_up_bias);
  }
  if (p.norm.weight.present) job.norm = {p.norm.weight, p.norm.bias, p.C, floats(layout.norm)};
  return rows.pack(job, failure);
}

// The packed weights: the caller's, or made in the workspace.
inline Status weights_of(const Problem &p, const PackedLayout &layout, cuda::RowsLauncher &rows, char *workspace, const char *&packed,
                         Failure &failure) {
  packed = static_cast<const char *>(p.packed);
  if (packed) return Status::ok;
  packed = workspace;
  return launch_pack(p, layout, rows, workspace, Third::folded, failure);
}

// One group of rows through the portable kernels: norm, gate and up, down.
class Group {
 public:
  Group(const Problem &p, const PackedLayout &layout, const char *packed, cuda::RowsLauncher &rows)
      : p_(p), layout_(layout), packed_(packed), rows_(rows) {}

  // x's rows, normalised into z where there is a norm.
  template <class Kernels>
  Status input(int64_t first, int64_t count, char *z, cuda::ProductOperand &input, Failure &failure) const {
    input = {from_row(p_.x, first).data, p_.x.stride[0]};
    if (!p_.norm.weight.present) return Status::ok;
    cuda::NormJob job;
    job.x = input.data, job.x_line = input.line;
    job.out = z, job.out_line = p_.C;
    job.rows = count, job.channels = static_cast<int>(p_.C);
    job.weight = norm_weight(), job.bias = job.weight + p_.C;
    job.eps = static_cast<float>(p_.settings.eps);
    input = {z, p_.C};
    return Kernels::normalise(rows_, job, failure);
  }

  // z with gate and up; out is left to the caller.
  cuda::ProductJob up(const cuda::ProductOperand &z, int64_t count) const {
    cuda::ProductJob job;
    job.a = z, job.b = {packed_ + layout_.up, p_.C};
    job.rows = count, job.depth = p_.C, job.columns = static_cast<int>(layout_.rows);
    job.bias = floats(layout_.up_bias);
    job.gated = p_.gated();
    job.activation = p_.gated() ? lamina::Activation::none : lamina::Activation::relu;
    return job;
  }

  template <class Kernels>
  Status forward(int64_t first, int64_t count, char *z, char *hidden, Failure &failure) const {
    cuda::ProductOperand operand;
    LAMINA_TRY(input<Kernels>(first, count, z, operand, failure));
    cuda::ProductJob job = up(operand, count);
    job.out = hidden, job.out_line = p_.I;
    LAMINA_TRY(Kernels::product(rows_, job, 1, failure));
    return down<Kernels>(first, count, hidden, failure);
  }

  template <class Kernels>
  Status down(int64_t first, int64_t count, const char *hidden, Failure &failure) const {
    cuda::ProductJob job;
    job.a = {hidden, p_.I}, job.b = {packed_ + layout_.down, p_.I};
    job.rows = count, job.depth = p_.I, job.columns = static_cast<int>(p_.C);
    job.bias = floats(layout_.down_bias);
    job.residual = from_row(p_.residual, first), job.row_mask = from_row(p_.row_mask, first);
    const View out = from_row(p_.out, first);
    job.out = out.data, job.out_line = out.stride[0];
    return Kernels::product(rows_, job, 1, failure);
  }

  const float *floats(int64_t at) const { return reinterpret_cast<const float *>(packed_ + at); }
  const float *norm_weight() const { return floats(layout_.norm); }

 private:
  const Problem &p_;
  const PackedLayout &layout_;
  const char *packed_;
  cuda::RowsLauncher &rows_;
};

// What one kernel may compute of a group's rows in backward: gradients of gates and values and hidden values; of whole gradients also z and the
// gradient of x, else x is z.
struct RowGradients {
  cuda::ProductOperand out_gradient;  // masked
  View x, x_gradient;
  int64_t rows = 0;
  char *z = nullptr, *inner = nullptr, *hidden = nullptr;  // inner and hidden: columns at their cuda::paired_place()
  float *norm_sums = nullptr;                              // [norm_parts][2 C]; null: not wanted
  static int64_t norm_parts(int64_t rows) { return (rows + 63) / 64 * 4; }
};

// A machine that has the portable kernels alone.  One with others says whether it reads folded weights, which problems' forward it takes,
// and how; whether it may have a kernel for RowGradients, by shape, and takes these, whole; and it has the functions of cuda::PortableKernels, which
// backward calls.
struct PortableMachine : cuda::PortableKernels {
  static bool fuses_gradients(const Problem &, const PackedLayout &) { return false; }
  static bool whole_gradients(const Problem &) { return false; }
  static bool takes_gradients(const Problem &, const Gradients &) { return false; }
  static Status gradients(const Problem &, const PackedLayout &, const char *, const RowGradients &, cuda::RowsLauncher &, Failure &) {
    return Status::ok;
  }
  static bool folds(const Problem &) { return false; }
  static bool takes(const Problem &, const PackedLayout &) { return false; }
  static Status forward(const Problem &, const PackedLayout &, const char *, char *, cuda::RowsLauncher &, Failure &) { return Status::ok; }
};

inline Status check(const Problem &, const void *, Failure &) { return Status::ok; }

template <class Machine>
uint64_t packed_bytes(const Problem &p, const void *) {
  return static_cast<uint64_t>(PackedLayout(p, Machine::folds(p)).total);
}
template <class Machine>
uint64_t workspace_bytes(const Problem &p, const void *, int) {
  return static_cast<uint64_t>(Workspace(p, PackedLayout(p, Machine::folds(p))).total);
}

template <class Machine>
Status pack(const Problem &p, const Run &run, Failure &failure) {
  cuda::RowsLauncher rows(code_of(run.state), run.stream, p.dtype);
  LAMINA_TRY(rows.open(failure));
  return launch_pack(p, PackedLayout(p, Machine::folds(p)), rows, static_cast<char *>(p.packed), Third::folded, failure);
}

template <class Machine>
Status forward(const Problem &p, const Run &run, Failure &failure) {
  const PackedLayout layout(p, Machine::folds(p));
  const Workspace space(p, layout);
  char *workspace = static_cast<char *>(run.workspace);
  cuda::RowsLauncher rows(code_of(run.state), run.stream, p.dtype);
  LAMINA_TRY(rows.open(failure));
  const char *packed;
  LAMINA_TRY(weights_of(p, layout, rows, workspace + space.packed, packed, failure));
  if (Machine::takes(p, layout)) return Machine::forward(p, layout, packed, workspace + space.hidden, rows, failure);
  const Group group(p, layout, packed, rows);
  for (int64_t first = 0; first < p.M; first += space.group)
    LAMINA_TRY(group.template forward<Machine>(first, p.M - first < space.group ? p.M - first : space.group, workspace + space.z,
                                               workspace + space.hidden, failure));
  return Status::ok;
}

template <const cuda::Image &image>
Status create(const Settings &, Device device, void **state, Failure &failure) {
  static_assert(image.count <= cuda::max_kernels, "raise max_kernels");
  return cuda::load_device_code(image, device.id, *reinterpret_cast<cuda::DeviceCode **>(state), failure);
}
inline void destroy(void *state) { cuda::release_device_code(static_cast<cuda::DeviceCode *>(state)); }

}  // namespace lamina::transition

#include "cuda_backward.h"

namespace lamina::transition {

template <const cuda::Image &image, class Machine>
constexpr Build cuda_build(const char *packed_format) {
  Build build{};
  build.packed_format = packed_format;
  build.device_type = 2, build.workspace_align = 256;
  build.deterministic = true, build.capture_safe = true;
  build.create = create<image>, build.destroy = destroy, build.check = check;
  build.packed_bytes = packed_bytes<Machine>, build.workspace_bytes = workspace_bytes<Machine>;
  build.pack = pack<Machine>, build.forward = forward<Machine>;
  build.saved_bytes = saved_bytes, build.backward_workspace_bytes = backward_workspace_bytes<Machine>, build.backward = backward<Machine>;
  return build;
}

}  // namespace lamina::transition
