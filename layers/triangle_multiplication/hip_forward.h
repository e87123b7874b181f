// The host half of the HIP builds: which kernels serve a problem, how the workspace is cut, and the launches.  hip_gfx90a.hip and its
// brothers give it their embedded code objects.
#pragma once
#include "build.h"
#include "gpu_plan.h"
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

struct HipPlan {  // of one problem; pure arithmetic
  Mode mode;
  int64_t storage_bytes, operand_bytes;  // of an element of a, b, o; of weights
  int64_t pitch, per_batch, group;       // batches that one round of launches takes
  bool separate_gate;                    // the gate kernel runs; its planes take a's place, which nobody reads any more
  HipPackedLayout layout;
  int64_t packed, a, o, workspace;  // offsets; b lies right behind a

  explicit HipPlan(const Problem &p)
      : mode(mode_of(p)),
        storage_bytes(mode == Mode::bfloat16 || mode == Mode::float16 ? 2 : 4),
        operand_bytes(mode == Mode::float32 ? 4 : 2),
        pitch((p.N + 7) / 8 * 8),
        per_batch(p.N * pitch),
        group(batches_at_once(p, per_batch)),
        separate_gate(p.settings.gate_before_projection || p.C > back_pass_broad),
        layout(p.C, p.H, p.gate_width(), operand_bytes) {
    int64_t at = 0;
    const auto take = [&at](int64_t bytes) {
      const int64_t here = at;
      at += (bytes + 255) / 256 * 256;
      return here;
    };
    const int64_t plane = group * per_batch * storage_bytes, gates = separate_gate ? p.gate_width() : 0;
    packed = take(p.packed ? 0 : layout.total);
    a = take((2 * p.H > gates ? 2 * p.H : gates) * plane);
    o = take(p.H * plane);
    workspace = at;
  }
};

inline const hip::DeviceCode &code_of(const void *state) { return *static_cast<const hip::DeviceCode *>(state); }

inline Status hip_check(const Problem &p, const void *, Failure &failure) {
  const int64_t pitch = (p.N + 7) / 8 * 8;
  if (p.N >= 46336 || p.N * pitch > INT32_MAX)
    return fail(failure, Status::unsupported, "triangle_multiplication: N is %lld, this build takes at most 46335",
                static_cast<long long>(p.N));
  return Status::ok;
}

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
  const int operand = plan.mode == Mode::float32 ? 0 : p.dtype == DType::bfloat16 ? 1 : 2;
  void *parameters[] = {&job};
  return launcher.launch({kernel::pack_float32 + operand, {pack_blocks, pack_parts, 1}, pack_threads}, parameters, failure);
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
      : p_(p), plan_(plan), packed_(packed), workspace_(workspace), launcher_(launcher) {}

  Status run(int64_t first, int64_t batches, Failure &failure) {
    first_ = first, batches_ = batches;
    LAMINA_TRY(front(failure));
    LAMINA_TRY(contract(failure));
    if (plan_.separate_gate) LAMINA_TRY(gate(failure));
    return back(failure);
  }

 private:
  Cells cells(bool exchanged) const {
    return {static_cast<int>(p_.N), static_cast<int>(plan_.pitch), static_cast<int>(plan_.per_batch), batches_ * plan_.per_batch,
            exchanged};
  }
  PackedLinear linear(const HipPart &part) const { return {packed_ + part.weight, reinterpret_cast<const float *>(packed_ + part.bias)}; }
  PackedNorm norm(int64_t offset, bool present, int64_t channels) const {
    const float *weight = reinterpret_cast<const float *>(packed_ + offset);
    return {present ? weight : nullptr, weight + channels, static_cast<int>(channels), static_cast<float>(p_.settings.eps)};
  }
  PackedNorm norm_in() const { return norm(plan_.layout.norm_in, p_.norm_in.weight.present, p_.C); }
  PackedNorm norm_out() const { return norm(plan_.layout.norm_out, true, p_.H); }
  int64_t element() const { return static_cast<int64_t>(size_of(p_.dtype)); }
  int lds_of(int64_t channels) const { return panel_lds_bytes(static_cast<int>(channels), static_cast<int>(plan_.operand_bytes)); }

  // One launch of front, gate or back: a workgroup a tile of positions.
  Status launch_tiles(int first_mode, int lds_bytes, void *job, Failure &failure) {
    const int64_t tiles = (batches_ * plan_.per_batch + tile_positions - 1) / tile_positions;
    const unsigned across = static_cast<unsigned>(tiles < grid_width ? tiles : grid_width);
    const unsigned down = static_cast<unsigned>((tiles + grid_width - 1) / grid_width);
    void *parameters[] = {job};
    return launcher_.launch({first_mode + static_cast<int>(plan_.mode), {across, down, 1}, tile_threads, static_cast<unsigned>(lds_bytes)},
                            parameters, failure);
  }

  Status front(Failure &failure) {
    FrontJob job{};
    job.pair = from_batch(p_.pair, first_), job.pair_mask = from_batch(p_.pair_mask, first_);
    job.token_mask = from_batch(p_.token_mask, first_);
    job.pair_aligned = aligned_16(job.pair, element());
    job.cells = cells(p_.settings.incoming);
    job.norm = norm_in();
    job.linear = linear(plan_.layout.front);
    job.H = static_cast<int>(p_.H);
    job.planes = workspace_ + plan_.a;
    return launch_tiles(kernel::front_float32, lds_of(p_.C), &job, failure);
  }

  Status contract(Failure &failure) {
    const int64_t plane = batches_ * plan_.per_batch;
    char *a = workspace_ + plan_.a;
    ContractJob job{a,
                    a + p_.H * plane * plan_.storage_bytes,
                    workspace_ + plan_.o,
                    static_cast<int>(p_.N),
                    static_cast<int>(plan_.pitch),
                    static_cast<int>(batches_),
                    plane};
    const int storage = plan_.storage_bytes == 4 ? 0 : plan_.mode == Mode::bfloat16 ? 1 : 2;
    const unsigned side = static_cast<unsigned>((p_.N + contract_tile - 1) / contract_tile);
    void *parameters[] = {&job};
    return launcher_.launch(
        {kernel::contract_float32 + storage, {side * side, static_cast<unsigned>(p_.H), static_cast<unsigned>(batches_)}, contract_threads},
        parameters, failure);
  }

  Status gate(Failure &failure) {
    HipGateJob job{};
    job.pair = from_batch(p_.pair, first_);
    job.pair_aligned = aligned_16(job.pair, element());
    job.times_norm = p_.settings.gate_before_projection;
    job.cells = cells(false);
    job.norm_in = norm_in(), job.norm_out = norm_out();
    job.gate = linear(plan_.layout.gate);
    job.o = workspace_ + plan_.o, job.planes = workspace_ + plan_.a;
    job.width = static_cast<int>(p_.gate_width());
    return launch_tiles(kernel::gate_float32, lds_of(p_.C), &job, failure);
  }

  Status back(Failure &failure) {
    HipBackJob job{};
    BackJob &back = job.back;
    const bool gated = p_.settings.gate_before_projection;
    back.residual = from_batch(p_.residual, first_), back.out = from_batch(p_.out, first_);
    back.pair = from_batch(p_.pair, first_), back.dropout_mask = from_batch(p_.dropout_mask, first_);
    back.pair_aligned = aligned_16(back.pair, element());
    back.out_aligned = aligned_16(back.out, element()) && aligned_16(back.residual, element());
    back.cells = cells(false);
    back.norm_in = norm_in(), back.norm_out = norm(plan_.layout.norm_out, !gated, p_.H);
    back.linear = linear(plan_.layout.out), back.gate = linear(plan_.layout.gate);
    back.o = workspace_ + (gated ? plan_.a : plan_.o);
    back.gate_before_projection = gated;
    back.C = static_cast<int>(p_.C), back.H = static_cast<int>(p_.H);
    job.gate_planes = plan_.separate_gate && !gated ? workspace_ + plan_.a : nullptr;
    const int of_pair = lds_of(p_.C), of_o = lds_of(p_.H);
    return launch_tiles(p_.C <= back_pass_narrow ? kernel::back_narrow_float32 : kernel::back_broad_float32,
                        of_pair > of_o ? of_pair : of_o, &job, failure);
  }

  const Problem &p_;
  const HipPlan &plan_;
  const char *packed_;
  char *workspace_;
  hip::Launcher &launcher_;
  int64_t first_ = 0, batches_ = 0;
};

// Packs where the weights come raw, then launches each group of batches.
inline Status hip_forward(const Problem &p, const Run &run, Failure &failure) {
  const HipPlan plan(p);
  char *workspace = static_cast<char *>(run.workspace);
  hip::Launcher launcher(code_of(run.state), run.stream);
  LAMINA_TRY(launcher.open(failure));
  const char *packed = static_cast<const char *>(p.packed);
  if (!packed) {
    LAMINA_TRY(launch_pack(p, launcher, workspace + plan.packed, failure));
    packed = workspace + plan.packed;
  }
  GroupLaunch group(p, plan, packed, workspace, launcher);
  for (int64_t first = 0; first < p.B; first += plan.group)
    LAMINA_TRY(group.run(first, p.B - first < plan.group ? p.B - first : plan.group, failure));
  return Status::ok;
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
