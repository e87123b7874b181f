// The host half of a HIP build of a layer that is one linear map over rows (kernels/common/row_linear.h): forward and pack.
#pragma once
#include "rows_kernels.h"
#include "rows_launch.h"

namespace lamina::hip {

namespace row_kernel {
#define LAMINA_ROW(name, ...) name,
enum Index { LAMINA_ROW_LINEAR_KERNELS(LAMINA_ROW) count };
#undef LAMINA_ROW
}  // namespace row_kernel
#define LAMINA_ROW(name, ...) #name,
constexpr const char *row_kernel_names[] = {LAMINA_ROW_LINEAR_KERNELS(LAMINA_ROW)};
#undef LAMINA_ROW
static_assert(sizeof row_kernel_names / sizeof *row_kernel_names == row_kernel::count && row_kernel::count <= max_kernels,
              "one row a kernel");

struct RowLinearPlan {  // of one problem; pure arithmetic
  Cuts packed_cuts;
  PackedLinear linear;
  int64_t vectors;  // the norm's, of padded_norm floats each
  int64_t norm_channels, padded_norm;
  // The workspace: packed weights where the call brings raw ones; before a norm the sums as floats, [group][line].
  Cuts cuts;
  int64_t packed, sums, line, group;

  explicit RowLinearPlan(const RowLinear &p)
      : linear(p.N, p.K, static_cast<int64_t>(size_of(p.dtype)), packed_cuts),
        norm_channels(p.settings.norm == NormPlace::before  ? p.K
                      : p.settings.norm == NormPlace::after ? p.N
                                                            : 0),
        padded_norm((norm_channels + 31) / 32 * 32),
        line((p.N + 7) / 8 * 8) {
    vectors = packed_cuts.take(2 * padded_norm * 4);
    packed = cuts.take(p.packed ? 0 : packed_cuts.total);
    constexpr int64_t most_bytes = 64 << 20;
    group = most_bytes / (line * 4) / product_tile * product_tile;
    group = group < product_tile ? product_tile : group;
    if (p.settings.norm != NormPlace::after || group > p.M) group = p.M;
    sums = cuts.take(p.settings.norm == NormPlace::after ? group * line * 4 : 0);
  }
};

inline const DeviceCode &row_linear_code(const void *state) { return *static_cast<const DeviceCode *>(state); }

inline Status row_linear_check(const RowLinear &p, const void *, Failure &failure) {
  constexpr int64_t most = int64_t{1} << 24;
  if (p.N <= most && p.K <= most) return Status::ok;
  return fail(failure, Status::unsupported, "the widths K = %lld and N = %lld: this build takes at most %lld", static_cast<long long>(p.K),
              static_cast<long long>(p.N), static_cast<long long>(most));
}
inline uint64_t row_linear_packed_bytes(const RowLinear &p, const void *) {
  return static_cast<uint64_t>(RowLinearPlan(p).packed_cuts.total);
}
inline uint64_t row_linear_workspace_bytes(const RowLinear &p, const void *, int) {
  return static_cast<uint64_t>(RowLinearPlan(p).cuts.total);
}

inline Status launch_row_linear_pack(const RowLinear &p, const RowLinearPlan &plan, Launcher &launcher, char *packed, Failure &failure) {
  RowsPackJob job;
  job.part[0] = plan.linear.part(packed);
  job.part[0].source[0] = {p.weight, p.bias};
  job.norm = {p.norm_weight, p.norm_bias, static_cast<int>(plan.norm_channels), static_cast<int>(plan.padded_norm),
              plan.norm_channels ? reinterpret_cast<float *>(packed + plan.vectors) : nullptr};
  return launch_rows_pack(launcher, row_kernel::pack_float32 + kind_of(p.dtype), job, failure);
}

inline Status row_linear_pack(const RowLinear &p, const RowLinearRun &run, Failure &failure) {
  Launcher launcher(row_linear_code(run.state), run.stream);
  LAMINA_TRY(launcher.open(failure));
  return launch_row_linear_pack(p, RowLinearPlan(p), launcher, static_cast<char *>(p.packed), failure);
}

// The kernel, and its numbers in the job.
inline int row_linear_kernel(Activation activation, ProductJob &job) {
  constexpr float lowest = -__builtin_inff();
  job.floor = activation == Activation::relu ? 0.0f : lowest;
  switch (activation) {
    case Activation::none:
    case Activation::relu: return row_kernel::product_linear_float32;
    case Activation::gelu_erf: return row_kernel::product_erf_float32;
    case Activation::gelu_tanh: job.slope = 2 * 0.7978845608f, job.cubic = 2 * 0.7978845608f * 0.044715f; break;
    case Activation::gelu_sigmoid: job.slope = 1.702f; break;
    case Activation::silu: job.slope = 1; break;
  }
  return row_kernel::product_sigmoid_float32;
}

inline Status row_linear_forward(const RowLinear &p, const RowLinearRun &run, Failure &failure) {
  const RowLinearPlan plan(p);
  char *workspace = static_cast<char *>(run.workspace);
  Launcher launcher(row_linear_code(run.state), run.stream);
  LAMINA_TRY(launcher.open(failure));
  const char *packed = static_cast<const char *>(p.packed);
  if (!packed) {
    LAMINA_TRY(launch_row_linear_pack(p, plan, launcher, workspace + plan.packed, failure));
    packed = workspace + plan.packed;
  }
  const float *vectors = reinterpret_cast<const float *>(packed + plan.vectors);
  const bool after = p.settings.norm == NormPlace::after;
  for (int64_t first = 0; first < p.M; first += plan.group) {
    ProductJob job;
    job.rows = p.M - first < plan.group ? p.M - first : plan.group;
    plan.linear.use(packed, job);
    if (p.settings.norm == NormPlace::before) job.norm_weight = vectors, job.norm_bias = vectors + plan.padded_norm;
    job.eps = static_cast<float>(p.settings.eps), job.scale = static_cast<float>(p.settings.scale);
    job.outputs = static_cast<int>(p.N);
    job.x = from_row(p.x, first), job.residual = from_row(p.residual, first), job.out = from_row(p.out, first);
    if (after) { job.out = View{workspace + plan.sums, DType::float32, true, {plan.line, 1, 0, 0}}; }
    const int kernel = row_linear_kernel(p.settings.activation, job);
    LAMINA_TRY(launch_product(launcher, kernel + kind_of(p.dtype), job, failure));
    if (!after) continue;
    NormJob norm;
    norm.x = static_cast<const float *>(job.out.data), norm.out = from_row(p.out, first);
    norm.weight = vectors, norm.bias = vectors + plan.padded_norm;
    norm.rows = job.rows, norm.line = plan.line, norm.channels = static_cast<int>(p.N), norm.eps = job.eps;
    LAMINA_TRY(launch_norm(launcher, row_kernel::norm_float32 + kind_of(p.dtype), norm, failure));
  }
  return Status::ok;
}

template <const Image &image>
Status row_linear_create(const RowLinearSettings &, int32_t device, void **state, Failure &failure) {
  return load_device_code(image, device, *reinterpret_cast<DeviceCode **>(state), failure);
}
inline void row_linear_destroy(void *state) { release_device_code(static_cast<DeviceCode *>(state)); }

// What a layer's file for a HIP arch defines as `build`.  It has no training ops.
template <const Image &image>
constexpr RowLinearBuild row_linear_build(const char *packed_format) {
  RowLinearBuild build{};
  build.packed_format = packed_format;
  build.device_type = 10, build.workspace_align = 256;
  build.deterministic = true, build.capture_safe = true;
  build.create = row_linear_create<image>, build.destroy = row_linear_destroy, build.check = row_linear_check;
  build.packed_bytes = row_linear_packed_bytes, build.workspace_bytes = row_linear_workspace_bytes;
  build.pack = row_linear_pack, build.forward = row_linear_forward;
  return build;
}

}  // namespace lamina::hip
