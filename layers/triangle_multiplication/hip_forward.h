// The host half of the HIP builds: which kernels serve a problem, how the workspace is cut, and the launches.  hip_gfx90a.hip and its
// brothers give it their embedded code objects.
#pragma once
#include "gpu_forward.h"
#include "hip_job.h"
#include "hip_kernels.h"
#include "kernels/hip/device_code.h"

namespace lamina::triangle_multiplication {

namespace kernel {
#define LAMINA_ROW(name, ...) name,
enum Index {
  LAMINA_FRONT_KERNELS(LAMINA_ROW) LAMINA_GATE_KERNELS(LAMINA_ROW) LAMINA_BACK_KERNELS(LAMINA_ROW) LAMINA_CONTRACT_KERNELS(LAMINA_ROW)
      LAMINA_PACK_KERNELS(LAMINA_ROW) count
};
#undef LAMINA_ROW
}  // namespace kernel

// The names that an Image asks the runtime for, in the order of kernel::Index.
#define LAMINA_ROW(name, ...) #name,
constexpr const char *hip_kernel_names[] = {LAMINA_FRONT_KERNELS(LAMINA_ROW) LAMINA_GATE_KERNELS(LAMINA_ROW) LAMINA_BACK_KERNELS(LAMINA_ROW)
                                                LAMINA_CONTRACT_KERNELS(LAMINA_ROW) LAMINA_PACK_KERNELS(LAMINA_ROW)};
#undef LAMINA_ROW
static_assert(sizeof hip_kernel_names / sizeof *hip_kernel_names == kernel::count && kernel::count <= hip::max_kernels, "one row a kernel");

// One pass of back takes this many channels with their gates; wider layers have the gates computed first.
constexpr int64_t back_pass_narrow = 128, back_pass_broad = 256;

struct HipPlan : GpuSizes {  // of one problem; pure arithmetic
  bool separate_gate;        // the gate kernel runs; its planes take a's place, which nobody reads any more
  HipPackedLayout layout;
  int64_t packed, a, o, workspace;  // offsets; b lies right behind a

  explicit HipPlan(const Problem &p)
      : GpuSizes(p),
        separate_gate(p.settings.gate_before_projection || p.C > back_pass_broad),
        layout(p.C, p.H, p.gate_width(), operand_bytes) {
    Cuts cuts;
    const int64_t plane = group * per_batch * storage_bytes, gates = separate_gate ? p.gate_width() : 0;
    packed = cuts.take(p.packed ? 0 : layout.total);
    a = cuts.take((2 * p.H > gates ? 2 * p.H : gates) * plane);
    o = cuts.take(p.H * plane);
    workspace = cuts.total;
  }
  const HipPart &gate_part() const { return layout.gate; }
};

inline const hip::DeviceCode &code_of(const void *state) { return *static_cast<const hip::DeviceCode *>(state); }

inline Status hip_check(const Problem &p, const void *, Failure &failure) { return check_positions(p, failure); }

inline uint64_t hip_packed_bytes(const Problem &p, const void *) { return static_cast<uint64_t>(HipPlan(p).layout.total); }
inline uint64_t hip_workspace_bytes(const Problem &p, const void *, int) { return static_cast<uint64_t>(HipPlan(p).workspace); }

inline Status launch_pack(const Problem &p, hip::Launcher &launcher, void *packed, Failure &failure) {
  const HipPlan plan(p);
  HipPackJob job{p.norm_in,
                 p.norm_out,
                 p.a_projection,
                 p.a_gate,
                 p.b_projection,
                 p.b_gate,
                 p.out_projection,
                 p.out_gate,
                 static_cast<int>(p.C),
                 static_cast<int>(p.H),
                 static_cast<int>(p.gate_width()),
                 plan.layout,
                 static_cast<char *>(packed)};
  void *parameters[] = {&job};
  return launcher.launch({kernel::pack_float32 + operand_kind(p), {pack_blocks, pack_parts, 1}, pack_threads}, parameters, failure);
}

inline Status hip_pack(const Problem &p, const Run &run, Failure &failure) {
  hip::Launcher launcher(code_of(run.state), run.stream);
  LAMINA_TRY(launcher.open(failure));
  return launch_pack(p, launcher, p.packed, failure);
}

// The launches of one group of batches.
class GroupLaunch {
 public:
  GroupLaunch(const Problem &p, const HipPlan &plan, const char *packed, char *workspace, hip::Launcher &launcher)
      : jobs_{p, plan, packed, workspace}, launcher_(launcher) {}

  Status run(int64_t first, int64_t batches, Failure &failure) {
    jobs_.first = first, jobs_.batches = batches;
    FrontJob front = jobs_.front();
    LAMINA_TRY(launch_tiles(kernel::front_float32, lds_of(jobs_.p.C), &front, failure));
    LAMINA_TRY(contract(failure));
    if (jobs_.plan.separate_gate) LAMINA_TRY(gate(failure));
    return back(failure);
  }

 private:
  int lds_of(int64_t channels) const { return panel_lds_bytes(static_cast<int>(channels), static_cast<int>(jobs_.plan.operand_bytes)); }

  // One launch of front, gate or back: a workgroup a tile of positions.
  Status launch_tiles(int first_mode, int lds_bytes, void *job, Failure &failure) {
    const int64_t tiles = (jobs_.positions() + tile_positions - 1) / tile_positions;
    const unsigned across = static_cast<unsigned>(tiles < grid_width ? tiles : grid_width);
    const unsigned down = static_cast<unsigned>((tiles + grid_width - 1) / grid_width);
    void *parameters[] = {job};
    return launcher_.launch(
        {first_mode + static_cast<int>(jobs_.plan.mode), {across, down, 1}, tile_threads, static_cast<unsigned>(lds_bytes)}, parameters,
        failure);
  }

  Status contract(Failure &failure) {
    ContractJob job = jobs_.contract();
    const unsigned side = static_cast<unsigned>((jobs_.p.N + contract_tile - 1) / contract_tile);
    void *parameters[] = {&job};
    return launcher_.launch({kernel::contract_float32 + jobs_.plan.plane_kind(),
                             {side * side, static_cast<unsigned>(jobs_.p.H), static_cast<unsigned>(jobs_.batches)},
                             contract_threads},
                            parameters, failure);
  }

  Status gate(Failure &failure) {
    const BackJob back = jobs_.back();
    HipGateJob job{};
    job.pair = back.pair, job.pair_aligned = back.pair_aligned, job.cells = back.cells;
    job.times_norm = back.gate_before_projection;
    job.norm_in = back.norm_in, job.norm_out = back.norm_out, job.gate = back.gate;
    job.o = back.o, job.planes = jobs_.workspace + jobs_.plan.a;
    job.width = static_cast<int>(jobs_.p.gate_width());
    return launch_tiles(kernel::gate_float32, lds_of(jobs_.p.C), &job, failure);
  }

  Status back(Failure &failure) {
    HipBackJob job{jobs_.back(), nullptr};
    const Problem &p = jobs_.p;
    char *gates = jobs_.workspace + jobs_.plan.a;
    // The gate kernel left LayerNorm(o) times the gate where a was, or the gates alone.
    if (p.settings.gate_before_projection) job.back.o = gates, job.back.norm_out = jobs_.norm_out(false);
    else if (jobs_.plan.separate_gate) job.gate_planes = gates;
    const int of_pair = lds_of(p.C), of_o = lds_of(p.H);
    return launch_tiles(p.C <= back_pass_narrow ? kernel::back_narrow_float32 : kernel::back_broad_float32, of_pair > of_o ? of_pair : of_o,
                        &job, failure);
  }

  GroupJobs<HipPlan> jobs_;
  hip::Launcher &launcher_;
};

inline Status hip_forward(const Problem &p, const Run &run, Failure &failure) {
  const auto make_group = [&](const HipPlan &plan, const char *packed, char *workspace, hip::Launcher &launcher) {
    return GroupLaunch(p, plan, packed, workspace, launcher);
  };
  return run_in_groups<HipPlan, hip::Launcher>(p, run, code_of(run.state), make_group, failure);
}

template <const hip::Image &image>
Status hip_create(const Settings &, Device device, void **state, Failure &failure) {
  return hip::load_device_code(image, device.id, *reinterpret_cast<hip::DeviceCode **>(state), failure);
}
inline void hip_destroy(void *state) { hip::release_device_code(static_cast<hip::DeviceCode *>(state)); }

template <const hip::Image &image>
constexpr Build hip_build = {"triangle_multiplication/hip_mfma/1",
                             10,
                             256,
                             true,
                             true,
                             hip_create<image>,
                             hip_destroy,
                             hip_check,
                             hip_packed_bytes,
                             hip_workspace_bytes,
                             hip_pack,
                             hip_forward,
                             nullptr};

}  // namespace lamina::triangle_multiplication
