// The host half of the HIP builds: one fused kernel where it serves, else two products with the hidden channels in the workspace.
#pragma once
#include "build.h"
#include "hip_job.h"
#include "hip_kernels.h"
#include "kernels/hip/rows_launch.h"

namespace lamina::transition {

namespace kernel {
#define LAMINA_ROW(name, ...) name,
enum Index { LAMINA_FUSED_KERNELS(LAMINA_ROW) LAMINA_TWO_PRODUCT_KERNELS(LAMINA_ROW) count };
#undef LAMINA_ROW
}  // namespace kernel
#define LAMINA_ROW(name, ...) #name,
constexpr const char *hip_kernel_names[] = {LAMINA_FUSED_KERNELS(LAMINA_ROW) LAMINA_TWO_PRODUCT_KERNELS(LAMINA_ROW)};
#undef LAMINA_ROW
static_assert(sizeof hip_kernel_names / sizeof *hip_kernel_names == kernel::count && kernel::count <= hip::max_kernels, "one row a kernel");

inline bool takes_fused(const Problem &p) { return p.gated() && p.dtype != DType::float32 && p.C <= fused_channels; }

struct HipPlan {  // of one problem; pure arithmetic
  bool fused;
  int blocks;
  hip::Cuts packed_cuts;
  hip::PackedLinear up, down;  // up: with its gates
  int64_t vectors, padded_norm;
  hip::Cuts cuts;  // the workspace: packed weights where the call brings raw ones; hidden rows of a group
  int64_t packed, hidden, group;

  explicit HipPlan(const Problem &p)
      : fused(takes_fused(p)),
        blocks(fused_blocks(p.C)),
        up((p.gated() ? 2 : 1) * p.I, p.C, bytes(p), packed_cuts, fused ? 2 * fused_chunk(blocks) : hip::product_tile,
           fused ? 16 : 64 / bytes(p)),
        down(p.C, p.I, bytes(p), packed_cuts, fused ? fused_width(blocks) : hip::product_tile, fused ? fused_chunk(blocks) : 64 / bytes(p)),
        vectors(packed_cuts.take(2 * ((up.line + 31) / 32 * 32) * 4)),
        padded_norm((up.line + 31) / 32 * 32) {
    packed = cuts.take(p.packed ? 0 : packed_cuts.total);
    constexpr int64_t most_bytes = 64 << 20;
    group = most_bytes / (p.I * bytes(p)) / hip::product_tile * hip::product_tile;
    if (fused || group > p.M) group = p.M;
    hidden = cuts.take(fused ? 0 : group * p.I * bytes(p));
  }
  static int64_t bytes(const Problem &p) { return static_cast<int64_t>(size_of(p.dtype)); }
};

inline const hip::DeviceCode &code_of(const void *state) { return *static_cast<const hip::DeviceCode *>(state); }
inline Status hip_check(const Problem &, const void *, Failure &) { return Status::ok; }  // every width of the contract
inline uint64_t hip_packed_bytes(const Problem &p, const void *) { return static_cast<uint64_t>(HipPlan(p).packed_cuts.total); }
inline uint64_t hip_workspace_bytes(const Problem &p, const void *, int) { return static_cast<uint64_t>(HipPlan(p).cuts.total); }

inline Status launch_pack(const Problem &p, const HipPlan &plan, hip::Launcher &launcher, char *packed, Failure &failure) {
  hip::RowsPackJob job;
  job.part[0] = plan.up.part(packed), job.part[1] = plan.down.part(packed);
  job.part[0].gated = p.gated(), job.part[0].fragments = job.part[1].fragments = plan.fused;
  job.part[0].source[p.gated()] = {p.up.weight, p.up.bias};
  if (p.gated()) job.part[0].source[0] = {p.gate.weight, p.gate.bias};
  job.part[1].source[0] = {p.down.weight, p.down.bias};
  job.norm = {p.norm.weight, p.norm.bias, static_cast<int>(p.C), static_cast<int>(plan.padded_norm),
              reinterpret_cast<float *>(packed + plan.vectors)};
  return hip::launch_rows_pack(launcher, kernel::pack_float32 + hip::kind_of(p.dtype), job, failure);
}

inline Status hip_pack(const Problem &p, const Run &run, Failure &failure) {
  hip::Launcher launcher(code_of(run.state), run.stream);
  LAMINA_TRY(launcher.open(failure));
  return launch_pack(p, HipPlan(p), launcher, static_cast<char *>(p.packed), failure);
}

// x with its norm: what both ways begin with.
inline hip::ProductJob from_rows(const Problem &p, const HipPlan &plan, const char *packed, int64_t first, int64_t rows) {
  hip::ProductJob job;
  job.rows = rows, job.x = hip::from_row(p.x, first);
  const float *vectors = reinterpret_cast<const float *>(packed + plan.vectors);
  if (p.norm.weight.present) job.norm_weight = vectors, job.norm_bias = vectors + plan.padded_norm;
  job.eps = static_cast<float>(p.settings.eps);
  return job;
}
// residual, mask and out: what both end with.
inline void to_rows(const Problem &p, int64_t first, hip::ProductJob &job) {
  job.residual = hip::from_row(p.residual, first), job.row_mask = hip::from_row(p.row_mask, first), job.out = hip::from_row(p.out, first);
  job.outputs = static_cast<int>(p.C), job.floor = -__builtin_inff(), job.scale = 1;
}

inline Status launch_fused(const Problem &p, const HipPlan &plan, const char *packed, hip::Launcher &launcher, Failure &failure) {
  constexpr int64_t most_blocks = 1 << 22, step = most_blocks * fused_rows;
  for (int64_t first = 0; first < p.M; first += step) {
    FusedJob job;
    job.rows = from_rows(p, plan, packed, first, p.M - first < step ? p.M - first : step);
    plan.down.use(packed, job.rows);  // its bias
    job.rows.depth = static_cast<int>(p.C), job.rows.line = static_cast<int>(plan.up.line);
    to_rows(p, first, job.rows);
    hip::align(job.rows);
    job.hidden_weight = packed + plan.up.weight, job.hidden_bias = reinterpret_cast<const float *>(packed + plan.up.bias);
    job.out_weight = packed + plan.down.weight, job.hidden = static_cast<int>(plan.down.line);
    void *parameters[] = {&job};
    const int row = (plan.blocks == 1 ? kernel::fused_narrow_bfloat16 : kernel::fused_broad_bfloat16) + (p.dtype == DType::float16);
    const unsigned blocks = static_cast<unsigned>((job.rows.rows + fused_rows - 1) / fused_rows);
    const unsigned lds = static_cast<unsigned>(fused_lds_bytes(static_cast<int>(p.C), plan.blocks));
    LAMINA_TRY(launcher.launch({row, {blocks, 1, 1}, hip::rows_threads, lds}, parameters, failure));
  }
  return Status::ok;
}

inline Status launch_products(const Problem &p, const HipPlan &plan, const char *packed, char *hidden, hip::Launcher &launcher,
                              Failure &failure) {
  const int kind = hip::kind_of(p.dtype);
  for (int64_t first = 0; first < p.M; first += plan.group) {
    hip::ProductJob up = from_rows(p, plan, packed, first, p.M - first < plan.group ? p.M - first : plan.group), down;
    plan.up.use(packed, up);
    up.out = View{hidden, p.dtype, true, {p.I, 1, 0, 0}}, up.outputs = static_cast<int>(p.I);
    const int kernel_of_up = p.gated() ? kernel::product_gated_float32 : kernel::product_linear_float32;  // relu: floor 0
    LAMINA_TRY(hip::launch_product(launcher, kernel_of_up + kind, up, failure));
    down.rows = up.rows, down.x = up.out;
    plan.down.use(packed, down);
    to_rows(p, first, down);
    LAMINA_TRY(hip::launch_product(launcher, kernel::product_linear_float32 + kind, down, failure));
  }
  return Status::ok;
}

inline Status hip_forward(const Problem &p, const Run &run, Failure &failure) {
  const HipPlan plan(p);
  char *workspace = static_cast<char *>(run.workspace);
  hip::Launcher launcher(code_of(run.state), run.stream);
  LAMINA_TRY(launcher.open(failure));
  const char *packed = static_cast<const char *>(p.packed);
  if (!packed) {
    LAMINA_TRY(launch_pack(p, plan, launcher, workspace + plan.packed, failure));
    packed = workspace + plan.packed;
  }
  if (plan.fused) return launch_fused(p, plan, packed, launcher, failure);
  return launch_products(p, plan, packed, workspace + plan.hidden, launcher, failure);
}

template <const hip::Image &image>
Status hip_create(const Settings &, Device device, void **state, Failure &failure) {
  return hip::load_device_code(image, device.id, *reinterpret_cast<hip::DeviceCode **>(state), failure);
}
inline void hip_destroy(void *state) { hip::release_device_code(static_cast<hip::DeviceCode *>(state)); }

// Inference alone: the training ops are not there.
template <const hip::Image &image>
constexpr Build hip_build = {
    "transition/hip_rows/1", 10,       256,         true,    true,    hip_create<image>, hip_destroy, hip_check, hip_packed_bytes,
    hip_workspace_bytes,     hip_pack, hip_forward, nullptr, nullptr, nullptr,           nullptr};

}  // namespace lamina::transition
