// The CPU builds: modes by dtype and settings, workspace, and the two parallel phases.  cpu_avx512.cpp and cpu_avx2.cpp include
// this after their vector words.
#pragma once
#include <atomic>

#include "build.h"
#include "cpu_back.h"
#include "cpu_front.h"
#include "tiles.h"

namespace lamina::triangle_multiplication {

// What a plan chose, besides the settings that every Problem carries.
struct CpuState {
  bool pair_dot;  // vdpbf16ps is there
};

inline bool uses_pairs(const Problem &p, bool pair_dot) {
  if (!cpu::has_pair_dot || !pair_dot || p.settings.contraction_fp32) return false;
  return p.dtype == DType::bfloat16 || (p.dtype == DType::float32 && p.settings.compute == Compute::bf16);
}
inline bool pair_dot(const void *state) { return static_cast<const CpuState *>(state)->pair_dot; }

using FloatMode = Mode<cpu::Float32, FloatStorage, cpu::FloatProduct, cpu::AccurateSigmoid>;
template <class Io>
using WideMode = Mode<Io, FloatStorage, cpu::FloatProduct, cpu::AccurateSigmoid>;  // contraction fp32 beside 16-bit tensors
template <class Io>
using HalfMode = Mode<Io, HalfStorage<Io>, cpu::FloatProduct, cpu::AccurateSigmoid>;

#ifdef LAMINA_PAIR_DOT
template <class Io>
using PairMode = Mode<Io, PairStorage, cpu::PairProduct, cpu::ShortSigmoid>;
#endif

// Calls use(mode) with the mode of this problem.
template <class F>
auto with_mode(const Problem &p, [[maybe_unused]] bool has_pair_dot, F use) {
#ifdef LAMINA_PAIR_DOT
  if (uses_pairs(p, has_pair_dot))
    return p.dtype == DType::float32 ? use(PairMode<cpu::Float32>{}) : use(PairMode<cpu::BFloat16ByInstruction>{});
#endif
  if (p.dtype == DType::float32) return use(FloatMode{});
  if (p.dtype == DType::float16) return p.settings.contraction_fp32 ? use(WideMode<cpu::Float16>{}) : use(HalfMode<cpu::Float16>{});
  return p.settings.contraction_fp32 ? use(WideMode<cpu::BFloat16>{}) : use(HalfMode<cpu::BFloat16>{});
}

// How the workspace is cut.  Every part begins on a page's 64 bytes.
template <class M>
struct Workspace {
  Geometry geometry;
  Scratch scratch;
  int64_t packed, statistics, operands, workers, total;

  Workspace(const Problem &p, int threads)
      : geometry(p, cpu_tile(p.H, p.N, threads), M::Storage::pair_bytes, M::Product::per_unit),
        scratch(p, geometry, M::Product::per_unit, M::Storage::widens) {
    int64_t at = 0;
    const auto take = [&at](int64_t bytes) {
      const int64_t here = at;
      at += round_up(bytes, 64);
      return here;
    };
    packed = take(p.packed ? 0 : PackedLayout(p, M::Product::per_unit).total * 4);
    statistics = take(p.N * p.N * static_cast<int64_t>(sizeof(cpu::RowStatistics)));
    operands = take(static_cast<int64_t>(geometry.operand_bytes()));
    workers = take(threads * scratch.bytes());
    total = at;
  }
};

inline uint64_t cpu_packed_bytes(const Problem &p, const void *state) {
  return static_cast<uint64_t>(PackedLayout(p, uses_pairs(p, pair_dot(state)) ? 2 : 1).total) * 4;
}

inline uint64_t cpu_workspace_bytes(const Problem &p, const void *state, int threads) {
  return with_mode(p, pair_dot(state), [&](auto mode) { return static_cast<uint64_t>(Workspace<decltype(mode)>(p, threads).total); });
}

inline Status cpu_pack(const Problem &p, const Run &run, Failure &) {
  const PackedLayout layout(p, uses_pairs(p, pair_dot(run.state)) ? 2 : 1);
  Packer(p.packed, layout).pack(p);
  return Status::ok;
}

// Runs task(index, scratch) for every index below count.  Workers take indices as they come; each has scratch of its own, and no task
// sees which worker runs it, so results do not depend on the number of threads.
template <class F>
void run_tasks(const Parallel &parallel, int64_t count, char *scratch, int64_t scratch_bytes, F task) {
  std::atomic<int64_t> next{0};
  parallel.for_each(parallel.threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker)
      for (int64_t index; (index = next.fetch_add(1, std::memory_order_relaxed)) < count;)
        task(index, reinterpret_cast<float *>(scratch + worker * scratch_bytes));
  });
}

template <class M>
Status forward_in_mode(Problem p, const Run &run, Failure &failure) {
  const Workspace<M> cut(p, run.parallel.threads);
  char *base = static_cast<char *>(run.workspace);
  if (!p.packed) {
    p.packed = base + cut.packed;
    LAMINA_TRY(cpu_pack(p, run, failure));
  }
  const Geometry &g = cut.geometry;
  Job job{p,
          g,
          cut.scratch,
          PackedLayout(p, M::Product::per_unit).at(p.packed, p),
          base + cut.operands,
          reinterpret_cast<cpu::RowStatistics *>(base + cut.statistics),
          0};
  const int64_t chunk = front_columns(p.N), chunks = (g.columns + chunk - 1) / chunk, blocks = (p.N + width - 1) / width;
  const int64_t tiles_i = (p.N + g.tile.rows - 1) / g.tile.rows, tiles_j = (p.N + g.tile.columns - 1) / g.tile.columns;
  for (job.batch = 0; job.batch < p.B; ++job.batch) {
    run_tasks(run.parallel, blocks * chunks, base + cut.workers, cut.scratch.bytes(), [&](int64_t task, float *scratch) {
      const int64_t k = task % chunks * chunk;
      front<M>(job, task / chunks, k, k + chunk < g.columns ? k + chunk : g.columns, scratch);
    });
    run_tasks(run.parallel, tiles_i * tiles_j, base + cut.workers, cut.scratch.bytes(), [&](int64_t task, float *scratch) {
      contract_and_back<M>(job, task / tiles_j * g.tile.rows, task % tiles_j * g.tile.columns, scratch);
    });
  }
  return Status::ok;
}

inline Status cpu_forward(const Problem &p, const Run &run, Failure &failure) {
  return with_mode(p, pair_dot(run.state), [&](auto mode) { return forward_in_mode<decltype(mode)>(p, run, failure); });
}

inline Status cpu_check(const Problem &, const void *, Failure &) { return Status::ok; }
inline void cpu_destroy(void *) {}

}  // namespace lamina::triangle_multiplication
