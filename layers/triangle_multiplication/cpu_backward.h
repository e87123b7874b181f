// Training on CPUs: forward that keeps a and b, and backward in its four passes.  Included after cpu_forward.h.
#pragma once
#include "cpu_backward_back.h"
#include "cpu_backward_front.h"
#include "cpu_forward.h"

namespace lamina::triangle_multiplication {

// Up to here training contracts floats where it takes pairs otherwise: in sums this short roundings do not average out, and they cost little.
constexpr int64_t residues_in_floats = 32;

// Calls use(mode) with the mode of both passes of training: products are of floats or, where forward takes them too, of pairs.
template <class F>
auto with_training_mode(const Problem &p, [[maybe_unused]] bool has_pair_dot, F use) {
#ifdef LAMINA_PAIR_DOT
  const auto pairs_of = [&](auto io) {
    using Io = decltype(io);
    return p.N > residues_in_floats ? use(Mode<Io, PairTrainingStorage, cpu::PairProduct, cpu::ShortSigmoid>{})
                                    : use(Mode<Io, FloatStorage, cpu::PairProduct, cpu::ShortSigmoid>{});
  };
  if (uses_pairs(p, has_pair_dot)) return p.dtype == DType::float32 ? pairs_of(cpu::Float32{}) : pairs_of(cpu::BFloat16ByInstruction{});
#endif
  if (p.dtype == DType::float32) return use(RowsMode<cpu::Float32>{});
  return p.dtype == DType::float16 ? use(RowsMode<cpu::Float16>{}) : use(RowsMode<cpu::BFloat16>{});
}

inline int64_t units_held(const Problem &p, const void *state) { return uses_pairs(p, pair_dot(state)) ? 2 : 1; }

inline int64_t statistics_bytes(const Problem &p) { return round_up(p.N * p.N * static_cast<int64_t>(sizeof(cpu::RowStatistics)), 64); }

// What forward_train keeps of one batch entry: the statistics of the input norm, then a and b.
struct SavedLayout {
  int64_t operands, total;
  SavedLayout(const Problem &p, const TrainingGeometry &g) {
    operands = statistics_bytes(p), total = operands + round_up(static_cast<int64_t>(g.padded_operand_bytes()), 64);
  }
};

struct TrainingForwardWorkspace {
  TrainingGeometry geometry;
  Scratch scratch;
  int64_t packed, workers, total;  // bytes

  TrainingForwardWorkspace(const Problem &p, int64_t per_unit, int threads) : geometry(p), scratch(p, geometry, 1, false) {
    packed = 0, workers = round_up(PackedLayout(p, per_unit).total * 4, 64), total = workers + threads * scratch.bytes();
  }
};

inline uint64_t cpu_training_forward_workspace_bytes(const Problem &p, const void *state, int threads) {
  return static_cast<uint64_t>(TrainingForwardWorkspace(p, units_held(p, state), threads).total);
}

// Forward in the mode of training, its a, b and statistics in `saved`.
template <class M>
Status forward_saving_in_mode(Problem p, char *saved, const Run &run, Failure &failure) {
  const TrainingForwardWorkspace cut(p, M::Product::per_unit, run.parallel.threads);
  const TrainingGeometry &g = cut.geometry;
  char *base = static_cast<char *>(run.workspace);
  const PackedLayout layout(p, M::Product::per_unit);
  if (!p.packed) {
    p.packed = base + cut.packed;
    LAMINA_TRY(cpu_pack(p, run, failure));
  }
  const SavedLayout kept(p, g);
  Job job{p, g, cut.scratch, layout.at(p.packed, p), nullptr, nullptr, 0};
  const int64_t chunk = front_columns(p.N), chunks = (g.columns + chunk - 1) / chunk;
  const int64_t tiles_i = (p.N + g.tile.rows - 1) / g.tile.rows, tiles_j = (p.N + g.tile.columns - 1) / g.tile.columns;
  for (job.batch = 0; job.batch < p.B; ++job.batch, saved += kept.total) {
    job.statistics = reinterpret_cast<cpu::RowStatistics *>(saved), job.operands = saved + kept.operands;
    run_tasks(run.parallel, g.used_blocks(p) * chunks, base + cut.workers, cut.scratch.bytes(), [&](int64_t task, float *scratch) {
      const int64_t k = task % chunks * chunk;
      front<M>(job, task / chunks, k, k + chunk < g.columns ? k + chunk : g.columns, scratch);
    });
    run_tasks(run.parallel, tiles_i * tiles_j, base + cut.workers, cut.scratch.bytes(), [&](int64_t task, float *scratch) {
      contract_and_back<M>(job, task / tiles_j * g.tile.rows, task % tiles_j * g.tile.columns, scratch);
    });
  }
  return Status::ok;
}

inline Status cpu_forward_saving(const Problem &p, void *saved, const Run &run, Failure &failure) {
  return with_training_mode(p, pair_dot(run.state),
                            [&](auto mode) { return forward_saving_in_mode<decltype(mode)>(p, static_cast<char *>(saved), run, failure); });
}

inline uint64_t cpu_saved_bytes(const Problem &p, const void *) {
  const TrainingGeometry g(p);
  return static_cast<uint64_t>(p.B * SavedLayout(p, g).total);
}

struct BackwardWorkspace {
  TrainingGeometry geometry;
  BackwardScratch scratch;
  Sums sums;
  BackwardWeights weights;
  int64_t slices;
  int64_t packed, packed_backward, statistics, operands, gradients, z_rows, slice_sums, workers, total;  // bytes

  BackwardWorkspace(const Gradients &g, int64_t per_unit, int threads)
      : geometry(g.p), scratch(g.p, geometry), sums(g.p, geometry.row_stride), weights(g.p, geometry.row_stride, per_unit) {
    const Problem &p = g.p;
    slices = slice_count(p, geometry, sums);
    int64_t at = 0;
    const auto take = [&at](int64_t bytes) {
      const int64_t here = at;
      at += round_up(bytes, 64);
      return here;
    };
    packed = take(PackedLayout(p, per_unit).total * 4), packed_backward = take(weights.total * 4);
    statistics = take(statistics_bytes(p));
    operands = take(g.save == Save::activations ? 0 : static_cast<int64_t>(geometry.padded_operand_bytes()));
    gradients = take(static_cast<int64_t>(geometry.padded_operand_bytes()));
    z_rows = take(p.N * p.N * geometry.row_stride * 4);
    slice_sums = take(slices * sums.total * 4);
    workers = take(threads * scratch.bytes());
    total = at;
  }
};

inline uint64_t cpu_backward_workspace_bytes(const Gradients &g, const void *state, int threads) {
  return static_cast<uint64_t>(BackwardWorkspace(g, units_held(g.p, state), threads).total);
}

// Calls run(first, last) of every slice's share of [0, count).
template <class F>
void run_slices(const BackwardWorkspace &cut, const Run &run, int64_t count, F task) {
  char *base = static_cast<char *>(run.workspace);
  run_tasks(run.parallel, cut.slices, base + cut.workers, cut.scratch.bytes(), [&](int64_t slice, float *scratch) {
    float *sums = reinterpret_cast<float *>(base + cut.slice_sums) + slice * cut.sums.total;
    for (int64_t at = slice * count / cut.slices; at < (slice + 1) * count / cut.slices; ++at) task(at, scratch, sums);
  });
}

template <class M>
void backward_of_entry(const BackwardJob &b, const BackwardWorkspace &cut, const Run &run) {
  const Problem &p = b.g.p;
  const TrainingGeometry &g = cut.geometry;
  char *base = static_cast<char *>(run.workspace);
  const int64_t chunk = front_columns(p.N), chunks = (g.columns + chunk - 1) / chunk, fronts = g.used_blocks(p) * chunks;
  const auto end_of = [&](int64_t k) { return k + chunk < g.columns ? k + chunk : g.columns; };
  if (b.g.save == Save::nothing)
    run_tasks(run.parallel, fronts, base + cut.workers, cut.scratch.bytes(), [&](int64_t task, float *scratch) {
      const int64_t k = task % chunks * chunk;
      front<M>(b.forward, task / chunks, k, end_of(k), scratch);
    });
  const int64_t tiles_i = (p.N + g.tile.rows - 1) / g.tile.rows, tiles_j = (p.N + g.tile.columns - 1) / g.tile.columns;
  run_slices(cut, run, tiles_i * tiles_j, [&](int64_t tile, float *scratch, float *sums) {
    contract_and_back_gradient<M>(b, tile / tiles_j * g.tile.rows, tile % tiles_j * g.tile.columns, scratch, sums);
  });
  if (!b.wanted.o) return;
  run_tasks(run.parallel, 2 * p.H, base + cut.workers, cut.scratch.bytes(),
            [&](int64_t channel, float *scratch) { contract_gradient<typename M::Storage::Product>(b, channel, scratch); });
  run_slices(cut, run, fronts, [&](int64_t task, float *scratch, float *sums) {
    const int64_t k = task % chunks * chunk;
    front_gradient<M>(b, task / chunks, k, end_of(k), scratch, sums);
  });
}

// One gradient of a parameter: rows x columns numbers value(row, column), to wherever the caller wants them.
template <class F>
void write_gradient(const View &to, int64_t rows, int64_t columns, F value) {
  if (!to.present) return;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column)
      store_scalar(to.data, to.dtype, row * to.stride[0] + column * to.stride[1], value(row, column));
}

// The sums of all positions, in the first slice, to the gradients of the parameters.
inline void write_parameter_gradients(const Gradients &g, const Sums &at, int64_t stride, const float *sums, const Parallel &parallel) {
  const Problem &p = g.p;
  const auto lanes = [&](int64_t from, int64_t row) { return cpu::sum(cpu::load(sums + from + row * width)); };
  const auto linear_of_front = [&](const Linear &to, bool gate, int64_t first_channel) {
    constexpr int64_t half = micro_rows / 2;
    const auto row_of_channel = [&](int64_t h) {
      const int64_t channel = first_channel + h;
      return channel / half * micro_rows + (gate ? half : 0) + channel % half;
    };
    write_gradient(to.weight, p.H, p.C, [&](int64_t h, int64_t c) { return sums[at.front + row_of_channel(h) * stride + c]; });
    write_gradient(to.bias, p.H, 1, [&](int64_t h, int64_t) { return lanes(at.front_bias, row_of_channel(h)); });
  };
  const auto vector = [&](const View &to, int64_t count, int64_t from) {
    write_gradient(to, count, 1, [&](int64_t c, int64_t) { return sums[from + c]; });
  };
  const auto lane_vector = [&](const View &to, int64_t count, int64_t from) {
    write_gradient(to, count, 1, [&](int64_t h, int64_t) { return lanes(from, h); });
  };
  parallel.for_each(7, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) switch (part) {
        case 0: linear_of_front(g.a_projection, false, 0); break;
        case 1: linear_of_front(g.a_gate, true, 0); break;
        case 2: linear_of_front(g.b_projection, false, p.H); break;
        case 3: linear_of_front(g.b_gate, true, p.H); break;
        case 4:
          write_gradient(g.out_projection.weight, p.C, p.H, [&](int64_t c, int64_t h) { return sums[at.out + h * stride + c]; });
          vector(g.out_projection.bias, p.C, at.out_bias);
          break;
        case 5:
          write_gradient(g.out_gate.weight, p.gate_width(), p.C, [&](int64_t o, int64_t c) { return sums[at.gate + o * stride + c]; });
          if (p.settings.gate_before_projection) lane_vector(g.out_gate.bias, p.H, at.gate_bias);
          else vector(g.out_gate.bias, p.C, at.gate_bias);
          break;
        default:
          vector(g.norm_in.weight, p.C, at.norm_in_weight), vector(g.norm_in.bias, p.C, at.norm_in_bias);
          lane_vector(g.norm_out.weight, p.H, at.norm_out_weight), lane_vector(g.norm_out.bias, p.H, at.norm_out_bias);
      }
  });
}

template <class M>
void copy_residual_gradient(const Gradients &g, const Parallel &parallel) {
  if (!g.residual.present || g.residual.data == g.out.data) return;
  const Problem &p = g.p;
  parallel.for_each(p.B * p.N, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t j = 0; j < p.N; ++j)
        memcpy(row_of<typename M::Io>(g.residual, row / p.N, row % p.N, j), row_of<typename M::Io>(g.out, row / p.N, row % p.N, j),
               static_cast<size_t>(p.C * M::Io::bytes));
  });
}

template <class M>
Status backward_in_mode(const Gradients &g, const Run &run, Failure &failure) {
  Problem p = g.p;
  if (!p.B || !p.N) {
    const auto zeros = [&](const auto &of, int64_t rows, int64_t columns) {
      write_gradient(of.weight, rows, columns, [](int64_t, int64_t) { return 0; });
      write_gradient(of.bias, rows, 1, [](int64_t, int64_t) { return 0; });
    };
    for (const Linear *of : {&g.a_projection, &g.a_gate, &g.b_projection, &g.b_gate}) zeros(*of, p.H, p.C);
    zeros(g.out_projection, p.C, p.H), zeros(g.out_gate, p.gate_width(), p.C), zeros(g.norm_in, p.C, 1), zeros(g.norm_out, p.H, 1);
    return Status::ok;
  }
  BackwardWorkspace cut(g, M::Product::per_unit, run.parallel.threads);
  char *base = static_cast<char *>(run.workspace);
  p.packed = base + cut.packed;
  LAMINA_TRY(cpu_pack(p, run, failure));
  cut.weights.pack(p, cut.geometry.row_stride, reinterpret_cast<float *>(base + cut.packed_backward));
  float *sums = reinterpret_cast<float *>(base + cut.slice_sums);
  const int64_t pieces = cut.sums.total / 16;
  run.parallel.for_each(cut.slices * pieces, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin * 16; at < end * 16; at += width) cpu::store(sums + at, cpu::zero());
  });
  const SavedLayout kept(p, cut.geometry);
  Job job{p,
          cut.geometry,
          cut.scratch.forward,
          PackedLayout(p, M::Product::per_unit).at(p.packed, p),
          base + cut.operands,
          reinterpret_cast<cpu::RowStatistics *>(base + cut.statistics),
          0};
  const BackwardJob b{job,
                      g,
                      cut.geometry,
                      cut.scratch,
                      cut.sums,
                      cut.weights,
                      Wanted(g),
                      base + cut.gradients,
                      reinterpret_cast<float *>(base + cut.z_rows)};
  for (job.batch = 0; job.batch < p.B; ++job.batch) {
    if (g.save == Save::activations) {
      // Pass 4 writes the statistics again as it goes; what was saved stays as it is.
      char *saved = static_cast<char *>(const_cast<void *>(g.saved)) + job.batch * kept.total;
      memcpy(job.statistics, saved, static_cast<size_t>(p.N * p.N) * sizeof(cpu::RowStatistics));
      job.operands = saved + kept.operands;
    }
    backward_of_entry<M>(b, cut, run);
  }
  run.parallel.for_each(pieces, 256, [&](int64_t begin, int64_t end) {
    for (int64_t slice = 1; slice < cut.slices; ++slice)
      for (int64_t at = begin * 16; at < end * 16; at += width)
        cpu::store(sums + at, cpu::load(sums + at) + cpu::load(sums + slice * cut.sums.total + at));
  });
  write_parameter_gradients(g, cut.sums, cut.geometry.row_stride, sums, run.parallel);
  copy_residual_gradient<M>(g, run.parallel);
  return Status::ok;
}

inline Status cpu_backward(const Gradients &g, const Run &run, Failure &failure) {
  return with_training_mode(g.p, pair_dot(run.state), [&](auto mode) { return backward_in_mode<decltype(mode)>(g, run, failure); });
}

inline Status cpu_training_check(const Problem &, Pass, Save, const void *, Failure &) { return Status::ok; }

}  // namespace lamina::triangle_multiplication
