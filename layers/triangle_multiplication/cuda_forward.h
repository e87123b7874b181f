// The host half of the CUDA builds: which kernels serve a problem, how the workspace is cut, and the launches.  cuda_sm80.cu and
// cuda_sm90a.cu give it their embedded device code.
#pragma once
#include "cuda_job.h"
#include "cuda_kernels.h"
#include "gpu_forward.h"
#include "kernels/cuda/device_code.h"

namespace lamina::triangle_multiplication {

namespace kernel {
#define LAMINA_ROW(name, ...) name,
enum Index {
  LAMINA_FRONT_KERNELS(LAMINA_ROW) LAMINA_BACK_KERNELS(LAMINA_ROW) LAMINA_CONTRACT_KERNELS(LAMINA_ROW) LAMINA_PACK_KERNELS(LAMINA_ROW)
      portable_count
};
#undef LAMINA_ROW
}  // namespace kernel

// Rows of an Image's kernel table, in the order of kernel::Index.  contract takes three stages of two tiles.
constexpr uint32_t contract_bytes = 3 * 2 * 128 * 80;
// clang-format off
#define LAMINA_SHAPED_ROW(name, ...) {#name, cuda::all_shared_memory},
#define LAMINA_CONTRACT_ROW(name, ...) {#name, contract_bytes},
#define LAMINA_TABLE_ROW(name, ...) {#name, 0},
#define LAMINA_PORTABLE_ROWS              \
  LAMINA_FRONT_KERNELS(LAMINA_SHAPED_ROW) \
  LAMINA_BACK_KERNELS(LAMINA_SHAPED_ROW)  \
  LAMINA_CONTRACT_KERNELS(LAMINA_CONTRACT_ROW) \
  LAMINA_PACK_KERNELS(LAMINA_TABLE_ROW)
// clang-format on

// Whether this build packs the folded parts beside the others: kernels of its own read them.  Defined beside `build`.
bool packs_folded(const Problem &p);

struct Plan : GpuSizes {  // of one problem; pure arithmetic
  PackedLayout layout;
  int64_t packed, a, o, workspace;  // offsets; b lies right behind a

  explicit Plan(const Problem &p) : GpuSizes(p), layout(p.C, p.H, p.gate_width(), operand_bytes, packs_folded(p)) {
    Cuts cuts;
    const int64_t plane = p.H * group * per_batch * storage_bytes;
    packed = cuts.take(p.packed ? 0 : layout.total);
    a = cuts.take(2 * plane), o = cuts.take(plane);
    workspace = cuts.total;
  }
  const PackedPart &gate_part() const { return layout.out_gate; }
};

inline const cuda::DeviceCode &code_of(const void *state) { return *static_cast<const cuda::DeviceCode *>(state); }

// Positions of a large and a small tile, and the shared memory that front and back need for each.
constexpr int64_t large_tile = 64, small_tile = 16;
struct TileBytes {
  int large, small;
};
inline TileBytes front_bytes(const Problem &p, const Plan &plan) {
  const int C = static_cast<int>(p.C), operand = static_cast<int>(plan.operand_bytes), plane = static_cast<int>(plan.storage_bytes);
  return {front_shared_bytes(large_tile, C, operand, plane), front_shared_bytes(small_tile, C, operand, plane)};
}
inline TileBytes back_bytes(const Problem &p, const Plan &plan) {
  const int C = static_cast<int>(p.C), H = static_cast<int>(p.H);
  const int operand = static_cast<int>(plan.operand_bytes), plane = static_cast<int>(plan.storage_bytes);
  return {back_shared_bytes(large_tile, C, H, operand, plane), back_shared_bytes(small_tile, C, H, operand, plane)};
}

inline Status cuda_check(const Problem &p, const void *state, Failure &failure) {
  LAMINA_TRY(check_positions(p, failure));
  const Plan plan(p);
  const int front = front_bytes(p, plan).small, back = back_bytes(p, plan).small, most = front > back ? front : back;
  if (most > code_of(state).shared_limit)
    return fail(failure, Status::unsupported,
                "triangle_multiplication: widths C = %lld and H = %lld in %s need %d bytes of shared memory; this GPU gives a block %d",
                static_cast<long long>(p.C), static_cast<long long>(p.H), name_of(p.dtype), most, code_of(state).shared_limit);
  return Status::ok;
}

inline uint64_t cuda_packed_bytes(const Problem &p, const void *) { return static_cast<uint64_t>(Plan(p).layout.total); }
inline uint64_t cuda_workspace_bytes(const Problem &p, const void *, int) { return static_cast<uint64_t>(Plan(p).workspace); }

// Whether pack waits for the kernel before it by itself, and so may be launched early: where it is compiled for Hopper.
inline bool packs_early(const cuda::DeviceCode &code) { return code.image->lowest_capability >= 90; }

// operands: their kind, 0 float32, 1 bfloat16, 2 float16.
inline Status launch_pack_as(const Problem &p, const PackedLayout &layout, int operands, cuda::Launcher &launcher, void *packed,
                             Failure &failure) {
  PackJob job{p.norm_in,
              p.norm_out,
              p.a_projection,
              p.a_gate,
              p.b_projection,
              p.b_gate,
              p.out_projection,
              p.out_gate,
              p.C,
              p.H,
              p.gate_width(),
              layout,
              static_cast<char *>(packed)};
  void *parameters[] = {&job};
  // A warp a row of the widest part, where that is up to 256 channels wide.
  return launcher.launch({kernel::pack_float32 + operands, {128, 7, 1}, 256, packs_early(launcher.code())}, parameters, failure);
}
inline Status launch_pack(const Problem &p, cuda::Launcher &launcher, void *packed, Failure &failure) {
  return launch_pack_as(p, Plan(p).layout, operand_kind(p), launcher, packed, failure);
}

inline Status cuda_pack(const Problem &p, const Run &run, Failure &failure) {
  cuda::Launcher launcher(code_of(run.state), run.stream);
  LAMINA_TRY(launcher.open(failure));
  return launch_pack(p, launcher, p.packed, failure);
}

// The launches of one group of batches.
class GroupLaunch {
 public:
  GroupLaunch(const Problem &p, const Plan &plan, const char *packed, char *workspace, const cuda::DeviceCode &code,
              cuda::Launcher &launcher)
      : jobs_{p, plan, packed, workspace}, code_(code), launcher_(launcher) {}

  Status run(int64_t first, int64_t batches, Failure &failure) {
    jobs_.first = first, jobs_.batches = batches;
    FrontJob front = jobs_.front();
    LAMINA_TRY(launch_tiles(kernel::front_float32_large, kernel::front_float32_small, front_bytes(jobs_.p, jobs_.plan), &front, failure));
    LAMINA_TRY(contract(failure));
    BackJob back = jobs_.back();
    return launch_tiles(kernel::back_float32_large, kernel::back_float32_small, back_bytes(jobs_.p, jobs_.plan), &back, failure);
  }

 private:
  // One launch of front or back: a CTA a tile, large tiles unless they do not fit or would leave processors idle.
  Status launch_tiles(int large, int small, const TileBytes &bytes, void *job, Failure &failure) {
    const int64_t positions = jobs_.positions();
    const bool is_large = bytes.large <= code_.shared_limit && positions / large_tile >= code_.processors;
    const int64_t tile = is_large ? large_tile : small_tile;
    void *parameters[] = {job};
    return launcher_.launch({(is_large ? large : small) + static_cast<int>(jobs_.plan.mode),
                             {static_cast<unsigned>((positions + tile - 1) / tile), 1, 1},
                             tile_threads,
                             false,
                             static_cast<uint32_t>(is_large ? bytes.large : bytes.small)},
                            parameters, failure);
  }

  Status contract(Failure &failure) {
    ContractJob job = jobs_.contract();
    const unsigned side = static_cast<unsigned>((jobs_.p.N + 127) / 128);
    void *parameters[] = {&job};
    return launcher_.launch({kernel::contract_float32 + jobs_.plan.plane_kind(),
                             {side * side, static_cast<unsigned>(jobs_.p.H), static_cast<unsigned>(jobs_.batches)},
                             256},
                            parameters, failure);
  }

  GroupJobs<Plan> jobs_;
  const cuda::DeviceCode &code_;
  cuda::Launcher &launcher_;
};

template <class Group>
Status forward_in_groups(const Problem &p, const Run &run, Failure &failure) {
  const cuda::DeviceCode &code = code_of(run.state);
  const auto make_group = [&](const Plan &plan, const char *packed, char *workspace, cuda::Launcher &launcher) {
    return Group(p, plan, packed, workspace, code, launcher);
  };
  return run_in_groups<Plan, cuda::Launcher>(p, run, code, make_group, failure);
}

inline Status cuda_forward(const Problem &p, const Run &run, Failure &failure) { return forward_in_groups<GroupLaunch>(p, run, failure); }

template <const cuda::Image &image>
Status cuda_create(const Settings &, Device device, void **state, Failure &failure) {
  static_assert(image.count <= cuda::max_kernels, "raise max_kernels");
  return cuda::load_device_code(image, device.id, *reinterpret_cast<cuda::DeviceCode **>(state), failure);
}
inline void cuda_destroy(void *state) { cuda::release_device_code(static_cast<cuda::DeviceCode *>(state)); }

// What the CUDA builds have in common: all but the device code, the name of the packed bytes, forward, and training.
template <const cuda::Image &image>
constexpr Build cuda_build(const char *packed_format, decltype(Build::forward) forward, const Training *training) {
  return {packed_format,        2,         256,     true,    true,    cuda_create<image>, cuda_destroy, cuda_check, cuda_packed_bytes,
          cuda_workspace_bytes, cuda_pack, forward, nullptr, training};
}

}  // namespace lamina::triangle_multiplication
