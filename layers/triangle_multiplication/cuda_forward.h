// The host half of the CUDA builds: which kernels serve a problem, how the workspace is cut, and the launches.  cuda_sm80.cu and
// cuda_sm90a.cu give it their embedded device code.
#pragma once
#include "build.h"
#include "cuda_job.h"
#include "cuda_kernels.h"
#include "gpu_plan.h"
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

struct Plan {  // of one problem; pure arithmetic
  Mode mode;
  int64_t storage_bytes, operand_bytes;  // of an element of a, b, o; of weights
  int64_t pitch, per_batch, group;       // batches that one round of launches takes
  PackedLayout layout;
  int64_t packed, a, o, workspace;  // offsets; b lies right behind a

  explicit Plan(const Problem &p);
};

inline Plan::Plan(const Problem &p)
    : mode(mode_of(p)),
      storage_bytes(mode == Mode::bfloat16 || mode == Mode::float16 ? 2 : 4),
      operand_bytes(mode == Mode::float32 ? 4 : 2),
      pitch((p.N + 7) / 8 * 8),
      per_batch(p.N * pitch),
      layout(p.C, p.H, p.gate_width(), operand_bytes, packs_folded(p)) {
  group = batches_at_once(p, per_batch);
  int64_t at = 0;
  const auto take = [&at](int64_t bytes) {
    const int64_t here = at;
    at += (bytes + 255) / 256 * 256;
    return here;
  };
  const int64_t plane = group * per_batch;
  packed = take(p.packed ? 0 : layout.total);
  a = take(2 * p.H * plane * storage_bytes);
  o = take(p.H * plane * storage_bytes);
  workspace = at;
}

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
  const int64_t pitch = (p.N + 7) / 8 * 8;
  if (p.N >= 46336 || p.N * pitch > INT32_MAX)
    return fail(failure, Status::unsupported, "triangle_multiplication: N is %lld, this build takes at most 46335",
                static_cast<long long>(p.N));
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

inline Status launch_pack(const Problem &p, cuda::Launcher &launcher, void *packed, Failure &failure) {
  const Plan plan(p);
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
              plan.layout,
              static_cast<char *>(packed)};
  const int operand = plan.mode == Mode::float32 ? 0 : p.dtype == DType::bfloat16 ? 1 : 2;
  void *parameters[] = {&job};
  return launcher.launch({kernel::pack_float32 + operand, {64, 7, 1}, 256}, parameters, failure);
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
      : p_(p), plan_(plan), packed_(packed), workspace_(workspace), code_(code), launcher_(launcher) {}

  Status run(int64_t first, int64_t batches, Failure &failure) {
    first_ = first, batches_ = batches;
    LAMINA_TRY(front(failure));
    LAMINA_TRY(contract(failure));
    return back(failure);
  }

 private:
  Cells cells(bool exchanged) const {
    return {static_cast<int>(p_.N), static_cast<int>(plan_.pitch), static_cast<int>(plan_.per_batch), batches_ * plan_.per_batch,
            exchanged};
  }
  PackedLinear linear(const PackedPart &part) const {
    return {packed_ + part.weight, reinterpret_cast<const float *>(packed_ + part.bias)};
  }
  PackedNorm norm_in() const {
    const float *weight = reinterpret_cast<const float *>(packed_ + plan_.layout.norm_in);
    const bool present = p_.norm_in.weight.present;
    return {present ? weight : nullptr, weight + p_.C, static_cast<int>(p_.C), static_cast<float>(p_.settings.eps)};
  }
  PackedNorm norm_out() const {
    const float *weight = reinterpret_cast<const float *>(packed_ + plan_.layout.norm_out);
    return {weight, weight + p_.H, static_cast<int>(p_.H), static_cast<float>(p_.settings.eps)};
  }
  int64_t element() const { return static_cast<int64_t>(size_of(p_.dtype)); }

  // One launch of front or back: a CTA a tile, large tiles unless they do not fit or would leave processors idle.
  Status launch_tiles(int large, int small, const TileBytes &bytes, void *job, Failure &failure) {
    const int64_t positions = batches_ * plan_.per_batch;
    const bool is_large = bytes.large <= code_.shared_limit && positions / large_tile >= code_.processors;
    const int64_t tile = is_large ? large_tile : small_tile;
    void *parameters[] = {job};
    return launcher_.launch({(is_large ? large : small) + static_cast<int>(plan_.mode),
                             {static_cast<unsigned>((positions + tile - 1) / tile), 1, 1},
                             tile_threads,
                             false,
                             static_cast<uint32_t>(is_large ? bytes.large : bytes.small)},
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
    return launch_tiles(kernel::front_float32_large, kernel::front_float32_small, front_bytes(p_, plan_), &job, failure);
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
    const unsigned side = static_cast<unsigned>((p_.N + 127) / 128);
    void *parameters[] = {&job};
    return launcher_.launch(
        {kernel::contract_float32 + storage, {side * side, static_cast<unsigned>(p_.H), static_cast<unsigned>(batches_)}, 256}, parameters,
        failure);
  }

  Status back(Failure &failure) {
    BackJob job{};
    job.pair = from_batch(p_.pair, first_), job.residual = from_batch(p_.residual, first_);
    job.out = from_batch(p_.out, first_), job.dropout_mask = from_batch(p_.dropout_mask, first_);
    job.pair_aligned = aligned_16(job.pair, element());
    job.out_aligned = aligned_16(job.out, element()) && aligned_16(job.residual, element());
    job.cells = cells(false);
    job.norm_in = norm_in(), job.norm_out = norm_out();
    job.linear = linear(plan_.layout.out);
    job.gate = linear(plan_.layout.out_gate);
    job.o = workspace_ + plan_.o;
    job.gate_before_projection = p_.settings.gate_before_projection;
    job.C = static_cast<int>(p_.C), job.H = static_cast<int>(p_.H);
    return launch_tiles(kernel::back_float32_large, kernel::back_float32_small, back_bytes(p_, plan_), &job, failure);
  }

  const Problem &p_;
  const Plan &plan_;
  const char *packed_;
  char *workspace_;
  const cuda::DeviceCode &code_;
  cuda::Launcher &launcher_;
  int64_t first_ = 0, batches_ = 0;
};

// Packs where the weights come raw, then launches each group of batches.
template <class Group>
Status forward_in_groups(const Problem &p, const Run &run, Failure &failure) {
  const Plan plan(p);
  char *workspace = static_cast<char *>(run.workspace);
  cuda::Launcher launcher(code_of(run.state), run.stream);
  LAMINA_TRY(launcher.open(failure));
  const char *packed = static_cast<const char *>(p.packed);
  if (!packed) {
    LAMINA_TRY(launch_pack(p, launcher, workspace + plan.packed, failure));
    packed = workspace + plan.packed;
  }
  Group group(p, plan, packed, workspace, code_of(run.state), launcher);
  for (int64_t first = 0; first < p.B; first += plan.group)
    LAMINA_TRY(group.run(first, p.B - first < plan.group ? p.B - first : plan.group, failure));
  return Status::ok;
}

inline Status cuda_forward(const Problem &p, const Run &run, Failure &failure) { return forward_in_groups<GroupLaunch>(p, run, failure); }

template <const cuda::Image &image>
Status cuda_create(const Settings &, Device device, void **state, Failure &failure) {
  static_assert(image.count <= cuda::max_kernels, "raise max_kernels");
  return cuda::load_device_code(image, device.id, *reinterpret_cast<cuda::DeviceCode **>(state), failure);
}
inline void cuda_destroy(void *state) { cuda::release_device_code(static_cast<cuda::DeviceCode *>(state)); }

// What the CUDA builds have in common: all but the device code, the name of the packed bytes, and forward.
template <const cuda::Image &image>
constexpr Build cuda_build(const char *packed_format, decltype(Build::forward) forward) {
  return {packed_format,        2,         256,     true,   true, cuda_create<image>, cuda_destroy, cuda_check, cuda_packed_bytes,
          cuda_workspace_bytes, cuda_pack, forward, nullptr};
}

}  // namespace lamina::triangle_multiplication
