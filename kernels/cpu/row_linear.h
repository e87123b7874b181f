// One linear map over rows (kernels/common/row_linear.h) on a CPU: packed weights, blocking, forward.  Every result is made by one task in
// one order along K, so it depends neither on threads nor on how rows and columns are cut.
// Include after simd_avx512.h or simd_avx2.h, microkernel.h and rownorm.h.
#pragma once
#include "activation.h"
#include "gemm.h"
#include "kernels/common/tunable.h"
#include "tasks.h"

namespace lamina::cpu {

struct RowLinearState {  // what a plan chose, besides the settings that every problem carries
  bool pair_dot;         // vdpbf16ps is there
};

template <class IoType, class ProductType>
struct RowLinearMode {
  using Io = IoType;
  using Product = ProductType;
};

inline bool uses_pairs(const RowLinear &p, const void *state) {
  if (!has_pair_dot || !static_cast<const RowLinearState *>(state)->pair_dot) return false;
  return p.dtype == DType::bfloat16 || (p.dtype == DType::float32 && p.settings.compute == Compute::bf16);
}

template <class F>
auto with_mode(const RowLinear &p, [[maybe_unused]] const void *state, F use) {
#ifdef LAMINA_PAIR_DOT
  if (uses_pairs(p, state))
    return p.dtype == DType::float32 ? use(RowLinearMode<Float32, PairProduct>{})
                                     : use(RowLinearMode<BFloat16ByInstruction, PairProduct>{});
#endif
  if (p.dtype == DType::float32) return use(RowLinearMode<Float32, FloatProduct>{});
  if (p.dtype == DType::float16) return use(RowLinearMode<Float16, FloatProduct>{});
  return use(RowLinearMode<BFloat16, FloatProduct>{});
}

// Units of one pass along K: a panel of them (64 KB) streams from L2 while eight rows of them stay in L1.
LAMINA_TUNABLE(row_linear_units, 512);  // cpu_avx512,cpu_avx2: 256 512 1024 at M=4096 K=1280 N=5120 dtype=float32,bfloat16
// Rows and columns whose sums one task keeps: 256 KB of sums and as much of rows, within 1 MB of L2.
LAMINA_TUNABLE(row_linear_rows, 128);     // cpu_avx512,cpu_avx2: 64 128 256 at M=4096 K=1280 N=5120 dtype=float32,bfloat16
LAMINA_TUNABLE(row_linear_columns, 512);  // cpu_avx512,cpu_avx2: 256 512 1024 at M=4096 K=1280 N=5120 dtype=float32,bfloat16

// Panels of one operand over `depth` elements of the shared dimension; offsets in floats.
struct PanelLayout {
  int64_t panels, units, used_units, stride;  // units are padded to whole vectors, used_units hold something; stride: from panel to panel
  PanelLayout(int64_t columns, int64_t depth, int64_t per_unit)
      : panels(round_up(columns, panel_columns) / panel_columns),
        units(round_up(depth, width * per_unit) / per_unit),
        used_units((depth + per_unit - 1) / per_unit),
        stride(units * panel_columns) {}
  int64_t floats() const { return panels * stride; }
};

// Packed: panels of weight, then bias, norm weight and norm bias as floats padded with zeros to a panel; what is absent is its default.
struct RowLinearLayout {
  PanelLayout weight;
  int64_t norm_width, bias, norm_weight, norm_bias, total;
  RowLinearLayout(const RowLinear &p, int64_t per_unit)
      : weight(p.N, p.K, per_unit),
        norm_width(p.settings.norm == NormPlace::none     ? 0
                   : p.settings.norm == NormPlace::before ? p.K
                                                          : p.N) {
    bias = weight.floats();
    norm_weight = bias + round_up(p.N, panel_columns);
    norm_bias = norm_weight + round_up(norm_width, panel_columns);
    total = round_up(norm_bias + round_up(norm_width, panel_columns), 16);
  }
};

struct RowLinearWeights {
  const float *panels, *bias, *norm_weight, *norm_bias;
  // Of packed bytes, or, without them, of nothing yet.
  RowLinearWeights(const void *packed, const RowLinearLayout &layout) : panels(static_cast<const float *>(packed)) {
    take_vectors(packed ? panels + layout.bias : nullptr, layout);
  }
  void take_vectors(const float *vectors, const RowLinearLayout &layout) {
    bias = vectors;
    norm_weight = vectors ? vectors + (layout.norm_weight - layout.bias) : nullptr;
    norm_bias = vectors ? vectors + (layout.norm_bias - layout.bias) : nullptr;
  }
};

// How one product of rows is cut into tasks.
struct Cut {
  int64_t rows, panels, row_tasks, column_tasks;
  // whole_rows: a task needs all columns of its rows.
  Cut(int64_t M, int64_t all_panels, bool whole_rows, int threads) {
    panels = whole_rows ? all_panels : row_linear_columns / panel_columns;
    if (panels > all_panels) panels = all_panels;
    rows = row_linear_rows * row_linear_columns / (panels * panel_columns) / micro_rows * micro_rows;
    if (rows > 2 * row_linear_rows) rows = 2 * row_linear_rows;
    column_tasks = (all_panels + panels - 1) / panels;
    // Few rows: smaller pieces, so that all threads have some.
    while (rows > micro_rows && (M + rows - 1) / rows * column_tasks < 3 * threads) rows = round_up(rows / 2, micro_rows);
    if (rows < micro_rows) rows = micro_rows;
    row_tasks = (M + rows - 1) / rows;
  }
  int64_t tasks() const { return row_tasks * column_tasks; }
};

// Floats of one worker: left operand, sums, statistics of rows.
struct RowScratch {
  int64_t left, sums, statistics, total;
  static constexpr int64_t left_row = row_linear_units + 16;  // 64 bytes against power-of-two strides
  explicit RowScratch(const Cut &cut) {
    const int64_t packing = panel_columns * row_linear_units, row = cut.panels * panel_columns;
    left = cut.rows * left_row > packing ? cut.rows * left_row : packing;
    if (left < row) left = row;  // a row of sums can be worked on there
    sums = cut.rows * row, statistics = round_up(cut.rows * 2, 16);
    total = left + sums + statistics;
  }
  int64_t bytes() const { return round_up(total * 4, 4096) + 64; }
};

inline Vector first_lanes(Vector v, int64_t count) {
  if (count >= width) return v;
  alignas(64) float copy[width];
  store(copy, v);
  return load_some<Float32>(reinterpret_cast<const char *>(copy), count);
}

template <class Io>
inline RowStatistics row_statistics(const char *row, int64_t count, float eps) {
  Vector sums[2] = {zero(), zero()};
  for (int64_t c = 0; c < count; c += width) sums[c / width & 1] += load_some<Io>(row + c * Io::bytes, count - c);
  const float share = 1 / static_cast<float>(count), mean = sum(sums[0] + sums[1]) * share;
  const Vector shift = splat(mean);
  sums[0] = sums[1] = zero();
  for (int64_t c = 0; c < count; c += width) {
    const Vector v = first_lanes(load_some<Io>(row + c * Io::bytes, count - c) - shift, count - c);
    sums[c / width & 1] = multiply_add(v, v, sums[c / width & 1]);
  }
  return {mean, 1 / __builtin_sqrtf(sum(sums[0] + sums[1]) * share + eps)};
}

// Elements [begin, end) of a row as operand units, zeros behind the row's `count`; normalised where norm is given.
template <class Io, class Product>
inline void fill_row(const char *row, int64_t begin, int64_t end, int64_t count, const RowNorm *norm, RowStatistics known, float *units) {
  if constexpr (Io::bytes * Product::per_unit == 4)  // units are the row as it lies in memory
    if (!norm) {
      const int64_t there = (end < count ? end : count) - begin;
      memcpy(units, row + begin * Io::bytes, static_cast<size_t>(there * Io::bytes));
      memset(reinterpret_cast<char *>(units) + there * Io::bytes, 0, static_cast<size_t>((end - begin - there) * Io::bytes));
      return;
    }
  const Vector shift = splat(known.mean), scale = splat(known.scale);
  for (int64_t c = begin; c < end; c += width) {
    Vector v = c < count ? load_some<Io>(row + c * Io::bytes, count - c) : zero();
    if (norm && c < count) v = multiply_add((v - shift) * scale, load(norm->weight + c), load(norm->bias + c));
    store_units<Product>(units, c - begin, v);
  }
}

// The product of `rows` filled by fill(row, begin, end, units) with panels [first, first + count); sums come out whole.
template <class Product, class Fill>
inline void multiply_rows(int64_t rows, const PanelLayout &layout, const float *panels, int64_t first, int64_t count, float *left,
                          float *sums, Fill fill) {
  const int64_t padded = round_up(rows, micro_rows);
  for (int64_t unit = 0; unit < layout.used_units; unit += row_linear_units) {
    const int64_t stop = unit + row_linear_units < layout.units ? unit + row_linear_units : layout.units;
    const int64_t used = stop < layout.used_units ? stop : layout.used_units;
    for (int64_t row = 0; row < padded; ++row) {
      float *units = left + row * RowScratch::left_row;
      if (row < rows) fill(row, unit * Product::per_unit, stop * Product::per_unit, units);
      else memset(units, 0, static_cast<size_t>(stop - unit) * 4);
    }
    multiply_block<Product>({padded, used - unit, count, left, RowScratch::left_row, 1,
                             panels + first * layout.stride + unit * panel_columns, layout.stride, sums, count * panel_columns, unit > 0});
  }
}

struct RowLinearJob {
  const RowLinear &p;
  RowLinearLayout layout;
  RowLinearWeights w;
  RowNorm norm;
  Cut cut;
  RowScratch scratch;
  bool whole_rows;

  RowLinearJob(const RowLinear &problem, const void *packed, int64_t per_unit, int threads)
      : p(problem),
        layout(problem, per_unit),
        w(packed, layout),
        norm{w.norm_weight, w.norm_bias, static_cast<float>(problem.settings.eps)},
        cut(problem.M, layout.weight.panels, problem.settings.norm == NormPlace::after, threads),
        scratch(cut),
        whole_rows(problem.settings.norm == NormPlace::after) {}
  bool normalises_before() const { return p.settings.norm == NormPlace::before; }
};

template <class Io>
inline char *row_at(const View &view, int64_t row, int64_t column = 0) {
  return static_cast<char *>(view.data) + (row * view.stride[0] + column) * Io::bytes;
}

// What forward_train keeps: rows of N elements of the problem's dtype without gaps, or statistics of rows.
inline uint64_t row_linear_saved_bytes(const RowLinear &p, const void *) {
  const RowLinearSettings &s = p.settings;
  if (!s.save_activations) return 0;
  if (s.norm == NormPlace::before) return static_cast<uint64_t>(p.M) * sizeof(RowStatistics);
  return s.norm == NormPlace::after || s.activation != Activation::none ? static_cast<uint64_t>(p.M * p.N) * size_of(p.dtype) : 0;
}

// sums -> u = residual + scale * activation(sums + bias) in columns [column, column + count) of a row; `keep(c, y, u)` sees each vector.
template <class Io, Activation activation, class Keep>
inline void finish_row(const RowLinearJob &job, int64_t row, int64_t column, int64_t count, const float *sums, Keep keep) {
  const RowLinear &p = job.p;
  const Vector scale = splat(static_cast<float>(p.settings.scale));
  const char *residual = p.residual.present ? row_at<Io>(p.residual, row, column) : nullptr;
  for (int64_t c = 0; c < count; c += width) {
    const Vector y = load(sums + c) + load(job.w.bias + column + c);
    Vector u = activate<activation>(y) * scale;
    if (residual) u += load_some<Io>(residual + c * Io::bytes, count - c);
    keep(c, y, u);
  }
}

// LayerNorm of a row of floats in place, without weight and bias; what is behind `count` becomes 0.  Returns 1 / sqrt(variance + eps).
inline float normalise_floats(float *row, int64_t count, float eps) {
  const RowStatistics known = row_statistics<Float32>(reinterpret_cast<const char *>(row), count, eps);
  for (int64_t c = 0; c < count; c += width)
    store(row + c, first_lanes((load(row + c) - splat(known.mean)) * splat(known.scale), count - c));
  return known.scale;
}

template <class Io, Activation activation>
inline void finish_rows(const RowLinearJob &job, int64_t row0, int64_t rows, int64_t panel, int64_t panels, float *sums) {
  const RowLinear &p = job.p;
  const int64_t column = panel * panel_columns, stride = panels * panel_columns, count = p.N - column < stride ? p.N - column : stride;
  char *saved = p.saved && p.settings.save_activations && !job.normalises_before() ? static_cast<char *>(p.saved) : nullptr;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = row0 + r;
    float *values = sums + r * stride;
    char *out = row_at<Io>(p.out, row, column), *keep = saved ? saved + (row * p.N + column) * Io::bytes : nullptr;
    if (!job.whole_rows) {
      finish_row<Io, activation>(job, row, column, count, values, [&](int64_t c, Vector y, Vector u) {
        if (activation != Activation::none && keep) store_some<Io>(keep + c * Io::bytes, y, count - c);
        store_some<Io>(out + c * Io::bytes, u, count - c);
      });
      continue;
    }
    finish_row<Io, activation>(job, row, column, count, values, [&](int64_t c, Vector, Vector u) {
      if (keep) store_some<Io>(keep + c * Io::bytes, u, count - c);
      store(values + c, u);
    });
    normalise_floats(values, count, job.norm.eps);
    for (int64_t c = 0; c < count; c += width)
      store_some<Io>(out + c * Io::bytes, multiply_add(load(values + c), load(job.norm.weight + c), load(job.norm.bias + c)), count - c);
  }
}

// sums of rows [row0, row0 + rows) of x, normalised where that comes before, with panels [panel, panel + panels).
template <class M>
inline void multiply_x(const RowLinearJob &job, int64_t row0, int64_t rows, int64_t panel, int64_t panels, float *left, float *sums,
                       RowStatistics *known) {
  using Io = typename M::Io;
  const RowLinear &p = job.p;
  if (job.normalises_before())
    for (int64_t r = 0; r < rows; ++r) known[r] = row_statistics<Io>(row_at<Io>(p.x, row0 + r), p.K, job.norm.eps);
  multiply_rows<typename M::Product>(
      rows, job.layout.weight, job.w.panels, panel, panels, left, sums, [&](int64_t r, int64_t begin, int64_t end, float *units) {
        const bool normalise = job.normalises_before();
        fill_row<Io, typename M::Product>(row_at<Io>(p.x, row0 + r), begin, end, p.K, normalise ? &job.norm : nullptr,
                                          normalise ? known[r] : RowStatistics{0, 1}, units);
      });
}

template <class M>
inline void forward_task(const RowLinearJob &job, int64_t task, float *scratch) {
  const RowLinear &p = job.p;
  const Cut &cut = job.cut;
  const int64_t row0 = task % cut.row_tasks * cut.rows, panel = task / cut.row_tasks * cut.panels;
  const int64_t rows = p.M - row0 < cut.rows ? p.M - row0 : cut.rows;
  const int64_t panels = job.layout.weight.panels - panel < cut.panels ? job.layout.weight.panels - panel : cut.panels;
  float *sums = scratch + job.scratch.left;
  RowStatistics *known = reinterpret_cast<RowStatistics *>(sums + job.scratch.sums);
  multiply_x<M>(job, row0, rows, panel, panels, scratch, sums, known);
  if (p.saved && p.settings.save_activations && job.normalises_before() && panel == 0)
    memcpy(static_cast<RowStatistics *>(p.saved) + row0, known, static_cast<size_t>(rows) * sizeof *known);
  with_activation(p.settings.activation,
                  [&]<Activation activation>() { finish_rows<typename M::Io, activation>(job, row0, rows, panel, panels, sums); });
}

// Panels of a whole matrix, task by task.
template <class Product>
inline void pack_matrix(const Matrix &m, int64_t columns, int64_t depth, float *to, const Parallel &parallel, char *scratch,
                        int64_t scratch_bytes) {
  const PanelLayout layout(columns, depth, Product::per_unit);
  run_tasks(parallel, layout.panels, scratch, scratch_bytes, [&](int64_t panel, float *rows) {
    Matrix part = m;
    part.data += panel * panel_columns * m.column_stride * static_cast<int64_t>(size_of(m.dtype));
    const int64_t left = columns - panel * panel_columns;
    for (int64_t unit = 0; unit < layout.units; unit += row_linear_units) {
      const int64_t units = layout.units - unit < row_linear_units ? layout.units - unit : row_linear_units;
      const int64_t begin = unit * Product::per_unit;
      pack_panel<Product>(part, left < panel_columns ? left : panel_columns, begin, depth - begin, units, rows,
                          to + panel * layout.stride + unit * panel_columns);
    }
  });
}

inline void pack_vector(const View &view, int64_t count, float otherwise, float *to) {
  for (int64_t i = 0; i < round_up(count, panel_columns); ++i)
    to[i] = i >= count ? 0 : view.present ? static_cast<float>(load_at(view, i)) : otherwise;
}

// Bias and norm, the part of the packed bytes that begins at layout.bias.
inline void pack_vectors(const RowLinear &p, const RowLinearLayout &layout, float *vectors) {
  float *norm_bias = vectors + (layout.norm_bias - layout.bias), *end = vectors + (layout.total - layout.bias);
  pack_vector(p.bias, p.N, 0, vectors);
  pack_vector(p.norm_weight, layout.norm_width, 1, vectors + (layout.norm_weight - layout.bias));
  pack_vector(p.norm_bias, layout.norm_width, 0, norm_bias);
  for (float *rest = norm_bias + round_up(layout.norm_width, panel_columns); rest < end; ++rest) *rest = 0;
}

template <class Product>
inline void pack_row_linear(const RowLinear &p, float *to, const Parallel &parallel, char *scratch, int64_t scratch_bytes) {
  const Matrix weight{static_cast<const char *>(p.weight.data), p.weight.dtype, p.weight.stride[0], p.weight.stride[1]};
  pack_matrix<Product>(weight, p.N, p.K, to, parallel, scratch, scratch_bytes);
  const RowLinearLayout layout(p, Product::per_unit);
  pack_vectors(p, layout, to + layout.bias);
}

inline uint64_t row_linear_packed_bytes(const RowLinear &p, const void *state) {
  return static_cast<uint64_t>(RowLinearLayout(p, uses_pairs(p, state) ? 2 : 1).total) * 4;
}

inline uint64_t row_linear_workspace_bytes(const RowLinear &p, const void *state, int threads) {
  const RowLinearJob job(p, nullptr, uses_pairs(p, state) ? 2 : 1, threads);
  return (p.packed ? 0 : round_up(job.layout.total * 4, 64)) + static_cast<uint64_t>(threads * job.scratch.bytes());
}

template <class Product>
inline void pack_alone(const RowLinear &p) {  // op pack: no workspace, one thread
  alignas(64) float rows[panel_columns * row_linear_units];
  pack_row_linear<Product>(p, static_cast<float *>(p.packed), {}, reinterpret_cast<char *>(rows), sizeof rows);
}

inline Status row_linear_pack(const RowLinear &p, const RowLinearRun &run, Failure &) {
#ifdef LAMINA_PAIR_DOT
  if (uses_pairs(p, run.state)) return pack_alone<PairProduct>(p), Status::ok;
#endif
  (void)run;
  return pack_alone<FloatProduct>(p), Status::ok;
}

inline Status row_linear_forward(const RowLinear &p, const RowLinearRun &run, Failure &) {
  return with_mode(p, run.state, [&](auto mode) {
    using M = decltype(mode);
    char *workspace = static_cast<char *>(run.workspace);
    void *packed = p.packed ? p.packed : workspace;
    const RowLinearJob job(p, packed, M::Product::per_unit, run.parallel.threads);
    if (!p.packed) {
      workspace += round_up(job.layout.total * 4, 64);
      pack_row_linear<typename M::Product>(p, static_cast<float *>(packed), run.parallel, workspace, job.scratch.bytes());
    }
    run_tasks(run.parallel, job.cut.tasks(), workspace, job.scratch.bytes(),
              [&](int64_t task, float *scratch) { forward_task<M>(job, task, scratch); });
    return Status::ok;
  });
}

inline void row_linear_destroy(void *) {}
inline Status row_linear_check(const RowLinear &, const void *, Failure &) { return Status::ok; }

}  // namespace lamina::cpu
