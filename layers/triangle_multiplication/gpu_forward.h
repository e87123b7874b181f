// What the host does alike for every GPU build: the sizes inside a workspace, the jobs of a group of batches, the loop over groups.
#pragma once
#include "build.h"
#include "gpu_job.h"
#include "gpu_plan.h"

namespace lamina::triangle_multiplication {

struct GpuSizes {  // of one problem; pure arithmetic
  Mode mode;
  int64_t storage_bytes, operand_bytes;  // of an element of a, b, o; of weights
  int64_t pitch, per_batch, group;       // group: batches that one round of launches takes

  explicit GpuSizes(const Problem &p)
      : mode(mode_of(p)),
        storage_bytes(mode == Mode::bfloat16 || mode == Mode::float16 ? 2 : 4),
        operand_bytes(mode == Mode::float32 ? 4 : 2),
        pitch((p.N + 7) / 8 * 8),
        per_batch(p.N * pitch),
        group(batches_at_once(p, per_batch)) {}

  // The contraction's kernel behind the float one: 16-bit planes have their own, wide modes float's.
  int plane_kind() const { return storage_bytes == 4 ? 0 : mode == Mode::bfloat16 ? 1 : 2; }
};

// The kernel of a list over operand dtypes: float32, bfloat16, float16.
inline int operand_kind(const Problem &p) { return p.dtype == DType::float32 ? 0 : p.dtype == DType::bfloat16 ? 1 : 2; }

// The workspace from its begin on, in parts of whole 256 bytes.
struct Cuts {
  int64_t total = 0;
  int64_t take(int64_t bytes) {
    const int64_t here = total;
    total += (bytes + 255) / 256 * 256;
    return here;
  }
};

inline Status check_positions(const Problem &p, Failure &failure) {
  if (p.N < 46336 && p.N * ((p.N + 7) / 8 * 8) <= INT32_MAX) return Status::ok;
  return fail(failure, Status::unsupported, "triangle_multiplication: N is %lld, this build takes at most 46335",
              static_cast<long long>(p.N));
}

// The kernels' jobs for one group of batches.  Plan: GpuSizes, the offsets a and o in the workspace, `layout` of the packed
// parts, and gate_part(), that of the output gate.
template <class Plan>
struct GroupJobs {
  const Problem &p;
  const Plan &plan;
  const char *packed;
  char *workspace;
  int64_t first = 0, batches = 0;  // the group

  int64_t positions() const { return batches * plan.per_batch; }
  int64_t element() const { return static_cast<int64_t>(size_of(p.dtype)); }
  Cells cells(bool exchanged) const {
    return {static_cast<int>(p.N), static_cast<int>(plan.pitch), static_cast<int>(plan.per_batch), positions(), exchanged};
  }
  template <class Part>
  PackedLinear linear(const Part &part) const {
    return {packed + part.weight, reinterpret_cast<const float *>(packed + part.bias)};
  }
  PackedNorm norm(int64_t offset, bool present, int64_t channels) const {
    const float *weight = reinterpret_cast<const float *>(packed + offset);
    return {present ? weight : nullptr, weight + channels, static_cast<int>(channels), static_cast<float>(p.settings.eps)};
  }
  PackedNorm norm_in() const { return norm(plan.layout.norm_in, p.norm_in.weight.present, p.C); }
  PackedNorm norm_out(bool present = true) const { return norm(plan.layout.norm_out, present, p.H); }

  FrontJob front() const {
    FrontJob job{};
    job.pair = from_batch(p.pair, first), job.pair_mask = from_batch(p.pair_mask, first), job.token_mask = from_batch(p.token_mask, first);
    job.pair_aligned = aligned_16(job.pair, element());
    job.cells = cells(p.settings.incoming);
    job.norm = norm_in(), job.linear = linear(plan.layout.front);
    job.H = static_cast<int>(p.H);
    job.planes = workspace + plan.a;
    return job;
  }
  ContractJob contract() const {
    char *a = workspace + plan.a;
    return {a,
            a + p.H * positions() * plan.storage_bytes,
            workspace + plan.o,
            static_cast<int>(p.N),
            static_cast<int>(plan.pitch),
            static_cast<int>(batches),
            positions()};
  }
  BackJob back() const {
    BackJob job{};
    job.pair = from_batch(p.pair, first), job.residual = from_batch(p.residual, first), job.out = from_batch(p.out, first);
    job.dropout_mask = from_batch(p.dropout_mask, first);
    job.pair_aligned = aligned_16(job.pair, element());
    job.out_aligned = aligned_16(job.out, element()) && aligned_16(job.residual, element());
    job.cells = cells(false);
    job.norm_in = norm_in(), job.norm_out = norm_out();
    job.linear = linear(plan.layout.out), job.gate = linear(plan.gate_part());
    job.o = workspace + plan.o;
    job.gate_before_projection = p.settings.gate_before_projection;
    job.C = static_cast<int>(p.C), job.H = static_cast<int>(p.H);
    return job;
  }
};

// Packs into the workspace where the weights come raw, then runs each group of batches.  make_group(plan, packed, workspace, launcher)
// gives what has run(first, batches, failure); launch_pack(p, launcher, packed, failure) is the machine's.
template <class Plan, class Launcher, class Code, class MakeGroup>
Status run_in_groups(const Problem &p, const Run &run, const Code &code, MakeGroup make_group, Failure &failure) {
  const Plan plan(p);
  char *workspace = static_cast<char *>(run.workspace);
  Launcher launcher(code, run.stream);
  LAMINA_TRY(launcher.open(failure));
  const char *packed = static_cast<const char *>(p.packed);
  if (!packed) {
    LAMINA_TRY(launch_pack(p, launcher, workspace + plan.packed, failure));
    packed = workspace + plan.packed;
  }
  auto group = make_group(plan, packed, workspace, launcher);
  for (int64_t first = 0; first < p.B; first += plan.group)
    LAMINA_TRY(group.run(first, p.B - first < plan.group ? p.B - first : plan.group, failure));
  return Status::ok;
}

}  // namespace lamina::triangle_multiplication
