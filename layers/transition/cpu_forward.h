// The CPU builds: modes by dtype and settings, workspace, and the one parallel phase of forward.  cpu_avx512.cpp and cpu_avx2.cpp include
// this after their vector words.
#pragma once
#include "build.h"
#include "cpu_rows.h"
#include "kernels/cpu/tasks.h"

namespace lamina::transition {

// What a plan chose, besides the settings that every Problem carries.
struct CpuState {
  bool pair_dot;  // vdpbf16ps is there
};

inline bool pair_dot(const void *state) { return static_cast<const CpuState *>(state)->pair_dot; }
inline bool uses_pairs(const Problem &p, const void *state) {
  if (!cpu::has_pair_dot || !pair_dot(state)) return false;
  return p.dtype == DType::bfloat16 || (p.dtype == DType::float32 && p.settings.compute == Compute::bf16);
}

template <class Io>
using FloatMode = Mode<Io, cpu::FloatProduct, cpu::AccurateSigmoid>;
#ifdef LAMINA_PAIR_DOT
template <class Io>
using PairMode = Mode<Io, cpu::PairProduct, cpu::ShortSigmoid>;
#endif

// Calls use(mode) with the mode of this problem.
template <class F>
auto with_mode(const Problem &p, [[maybe_unused]] const void *state, F use) {
#ifdef LAMINA_PAIR_DOT
  if (uses_pairs(p, state)) return p.dtype == DType::float32 ? use(PairMode<cpu::Float32>{}) : use(PairMode<cpu::BFloat16ByInstruction>{});
#endif
  if (p.dtype == DType::float32) return use(FloatMode<cpu::Float32>{});
  return p.dtype == DType::float16 ? use(FloatMode<cpu::Float16>{}) : use(FloatMode<cpu::BFloat16>{});
}

// How the workspace of forward is cut.  Every part begins on 64 bytes, a worker's on a page.
struct ForwardSpace {
  int64_t block, worker_bytes, packed_bytes;

  ForwardSpace(const Problem &p, const PackedLayout &layout, int threads) : block(cpu_block_rows(p.M, threads)) {
    const RowStrides stride(p, layout);
    worker_bytes = round_up(block * (stride.z + stride.h) * 4, 4096) + 64;
    packed_bytes = p.packed ? 0 : layout.forward_total * 4;
  }
};

inline PackedLayout layout_of(const Problem &p, const void *state) { return {p, uses_pairs(p, state) ? 2 : 1}; }

inline uint64_t cpu_packed_bytes(const Problem &p, const void *state) {
  return static_cast<uint64_t>(layout_of(p, state).forward_total) * 4;
}

inline uint64_t cpu_workspace_bytes(const Problem &p, const void *state, int threads) {
  const ForwardSpace space(p, layout_of(p, state), threads);
  return static_cast<uint64_t>(space.packed_bytes + threads * space.worker_bytes);
}

inline uint64_t cpu_saved_bytes(const Problem &p, const void *state) {
  return static_cast<uint64_t>(round_up(p.M, micro_rows) * layout_of(p, state).outputs) * size_of(p.dtype);
}

// What backward needs beyond forward is packed too if `all`.
inline void pack_weights(const Problem &p, const PackedLayout &layout, void *packed, const Run &run, bool all) {
  with_mode(p, run.state, [&](auto mode) {
    Packer<typename decltype(mode)::Product> packer(p, layout, packed);
    run.parallel.for_each(all ? packer.backward_tasks() : packer.forward_tasks(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t index = begin; index < end; ++index) packer.task(index);
    });
  });
}

inline Status cpu_pack(const Problem &p, const Run &run, Failure &) {
  pack_weights(p, layout_of(p, run.state), p.packed, run, false);
  return Status::ok;
}

inline Status cpu_forward(const Problem &given, const Run &run, Failure &) {
  Problem p = given;
  const PackedLayout layout = layout_of(p, run.state);
  const ForwardSpace space(p, layout, run.parallel.threads);
  char *base = static_cast<char *>(run.workspace);
  if (!p.packed) {
    p.packed = base;
    pack_weights(p, layout, base, run, false);
  }
  const Job job{p, layout, RowStrides(p, layout), layout.at(p.packed, p)};
  const int64_t blocks = (p.M + space.block - 1) / space.block;
  with_mode(p, run.state, [&](auto mode) {
    cpu::run_tasks(run.parallel, blocks, base + space.packed_bytes, space.worker_bytes, [&](int64_t task, float *scratch) {
      const int64_t begin = task * space.block;
      forward_block<decltype(mode)>(job, begin, p.M - begin < space.block ? p.M - begin : space.block, space.block, scratch);
    });
  });
  return Status::ok;
}

inline Status cpu_check(const Problem &, const void *, Failure &) { return Status::ok; }
inline void cpu_destroy(void *) {}

}  // namespace lamina::transition
