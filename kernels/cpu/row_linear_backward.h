// Gradients of one linear map over rows on a CPU.  Rows go through in chunks of a fixed size; each phase of a chunk is cut into tasks, and
// each sum over rows is made by one task a chunk, chunks in order: the same bytes for any number of threads.
// Include after row_linear.h.
#pragma once
#include "row_linear.h"

namespace lamina::cpu {

// Rows of a chunk: the shared dimension of the weight's gradient, long enough that its sums are seldom read and written.
LAMINA_TUNABLE(row_linear_chunk, 512);  // cpu_avx512,cpu_avx2: 256 512 at M=4096 K=1280 N=5120 dtype=float32,bfloat16
static_assert(row_linear_chunk <= row_linear_units, "a chunk is one pass of the packing scratch");
constexpr int64_t weight_rows = 128, weight_columns = 128;  // of the weight's gradient, in one task

// What a call needs, and where it lies in the workspace; offsets in floats.
struct BackwardCut {
  bool again, whole_rows, before, want_sums, want_x;  // again: the product x weight' is computed again; want_sums: of the norm's parameters
  int64_t chunk, row_n, row_k;                        // rows of a chunk; floats from row to row of what is N or K wide
  PanelLayout turned;                                 // panels of the weight with the depth along N
  RowLinearLayout layout;
  Cut rows, columns;  // of the product with the weight, and of that with the turned weight
  int64_t vectors, panels, turned_at, slope, unit, z, known, weight, bias, norm_weight, norm_bias, workers, worker_bytes, total;

  BackwardCut(const RowLinear &p, const RowLinearGradients &g, int64_t per_unit, uint64_t saved, int threads)
      : again(saved == 0 && (p.settings.norm == NormPlace::after || p.settings.activation != Activation::none)),
        whole_rows(p.settings.norm == NormPlace::after),
        before(p.settings.norm == NormPlace::before),
        want_sums(g.norm_weight.present || g.norm_bias.present),
        want_x(g.x.present || (before && want_sums)),
        chunk(p.M < row_linear_chunk ? round_up(p.M, 2) : row_linear_chunk),
        row_n(round_up(p.N, panel_columns) + 16),
        row_k(round_up(p.K, panel_columns) + 16),
        turned(p.K, p.N, per_unit),
        layout(p, per_unit),
        rows(chunk, layout.weight.panels, whole_rows, threads),
        columns(chunk, turned.panels, before, threads) {
    int64_t at = 0;
    const auto take = [&at](bool needed, int64_t floats) {
      const int64_t here = at;
      if (needed) at += round_up(floats, 16);
      return here;
    };
    vectors = take(true, layout.total - layout.bias);
    panels = take(again, layout.weight.floats());
    turned_at = take(want_x, turned.floats());
    slope = take(true, chunk * row_n);  // gradient of the linear map's result, scale left out
    unit = take(whole_rows && want_sums, chunk * row_n);
    z = take(before && (g.weight.present || want_sums), chunk * row_k);  // normed rows, then the gradient of them
    known = take(before, chunk * 2);
    weight = take(g.weight.present, round_up(p.N, micro_rows) * round_up(p.K, panel_columns));
    bias = take(true, row_n), norm_weight = take(true, row_n > row_k ? row_n : row_k),
    norm_bias = take(true, row_n > row_k ? row_n : row_k);
    workers = round_up(at, 16);
    const RowScratch first(rows), second(columns);
    const int64_t gradient = round_up((weight_rows + weight_columns) * row_linear_chunk * 4, 4096) + 64;
    worker_bytes = first.bytes() > second.bytes() ? first.bytes() : second.bytes();
    if (worker_bytes < gradient) worker_bytes = gradient;
    total = workers * 4 + threads * worker_bytes;
  }
};

struct BackwardJob {
  const RowLinear &p;
  const RowLinearGradients &g;
  const BackwardCut &cut;
  const RowLinearJob &forward;
  const Parallel &parallel;
  float *base;
  int64_t row0, rows;  // of the chunk at hand

  float *at(int64_t offset) const { return base + offset; }
  char *scratch() const { return reinterpret_cast<char *>(base + cut.workers); }
  float *slope(int64_t row) const { return at(cut.slope) + row * cut.row_n; }
  RowStatistics *known() const { return reinterpret_cast<RowStatistics *>(at(cut.known)); }
  template <class F>
  void tasks(int64_t count, F task) const {
    run_tasks(parallel, count, scratch(), cut.worker_bytes, task);
  }
};

// d/dv of a LayerNorm without weight and bias: v is scale * (gradient - mean(gradient) - unit * mean(gradient * unit)), both rows of floats
// that are zero behind `count`.
inline void norm_slope(const float *gradient, const float *unit, int64_t count, float scale, float *v) {
  Vector mean = zero(), product = zero();
  for (int64_t c = 0; c < count; c += width)
    mean += load(gradient + c), product = multiply_add(load(gradient + c), load(unit + c), product);
  const Vector share = splat(1 / static_cast<float>(count));
  mean = splat(sum(mean)) * share, product = splat(sum(product)) * share;
  for (int64_t c = 0; c < count; c += width)
    store(v + c, first_lanes((load(gradient + c) - mean - load(unit + c) * product) * splat(scale), count - c));
}

// slope = out_gradient * activation'(y) in columns [column, column + count) of chunk row r; y is sums + bias.
template <class Io>
inline void activation_slope(const BackwardJob &job, int64_t r, int64_t column, int64_t count, const float *sums, const char *saved) {
  const char *gradient = row_at<Io>(job.g.out, job.row0 + r, column);
  float *to = job.slope(r) + column;
  with_activation(job.p.settings.activation, [&]<Activation activation>() {
    for (int64_t c = 0; c < count; c += width) {
      Vector y = zero();
      if (activation != Activation::none)
        y = saved ? load_some<Io>(saved + c * Io::bytes, count - c) : load(sums + c) + load(job.forward.w.bias + column + c);
      store(to + c, load_some<Io>(gradient + c * Io::bytes, count - c) * slope<activation>(y));
    }
  });
}

// The norm after: u in `values` becomes its unit row; slope = gradient of u.
template <class Io>
inline void norm_after_slope(const BackwardJob &job, int64_t r, float *values) {
  const int64_t N = job.p.N;
  const float scale = normalise_floats(values, N, job.forward.norm.eps);
  const char *gradient = row_at<Io>(job.g.out, job.row0 + r);
  float *to = job.slope(r);
  if (job.cut.want_sums) memcpy(job.at(job.cut.unit) + r * job.cut.row_n, values, static_cast<size_t>(round_up(N, width)) * 4);
  for (int64_t c = 0; c < N; c += width) store(to + c, load_some<Io>(gradient + c * Io::bytes, N - c) * load(job.forward.norm.weight + c));
  norm_slope(to, values, N, scale, to);
}

// Phase 1: the gradient of the linear map's result, without scale, for every row of the chunk.
template <class M>
inline void find_slopes(const BackwardJob &job, uint64_t saved_bytes) {
  using Io = typename M::Io;
  const RowLinear &p = job.p;
  const Cut &cut = job.cut.rows;
  const int64_t row_tasks = (job.rows + cut.rows - 1) / cut.rows, all_panels = job.cut.layout.weight.panels;
  job.tasks(row_tasks * cut.column_tasks, [&](int64_t task, float *scratch) {
    const int64_t begin = task % row_tasks * cut.rows, panel = task / row_tasks * cut.panels;
    const int64_t rows = job.rows - begin < cut.rows ? job.rows - begin : cut.rows;
    const int64_t panels = all_panels - panel < cut.panels ? all_panels - panel : cut.panels, column = panel * panel_columns;
    const int64_t stride = panels * panel_columns, count = p.N - column < stride ? p.N - column : stride;
    const RowScratch parts(cut);
    float *sums = scratch + parts.left;
    if (job.cut.again)
      multiply_x<M>(job.forward, job.row0 + begin, rows, panel, panels, scratch, sums,
                    reinterpret_cast<RowStatistics *>(sums + parts.sums));
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = job.row0 + begin + r;
      float *values = sums + r * stride;
      const char *saved = saved_bytes && !job.cut.before ? static_cast<char *>(p.saved) + (row * p.N + column) * Io::bytes : nullptr;
      if (!job.cut.whole_rows) {
        activation_slope<Io>(job, begin + r, column, count, values, saved);
        continue;
      }
      if (saved)
        for (int64_t c = 0; c < count; c += width) store(values + c, load_some<Io>(saved + c * Io::bytes, count - c));
      else
        finish_row<Io, Activation::none>(job.forward, row, column, count, values,
                                         [&](int64_t c, Vector, Vector u) { store(values + c, u); });
      norm_after_slope<Io>(job, begin + r, values);
    }
  });
}

// Statistics of rows that are normed before, and the normed rows.
template <class Io>
inline void norm_rows(const BackwardJob &job, uint64_t saved_bytes) {
  const RowLinear &p = job.p;
  job.tasks((job.rows + 15) / 16, [&](int64_t task, float *) {
    for (int64_t r = task * 16; r < job.rows && r < task * 16 + 16; ++r) {
      const char *x = row_at<Io>(p.x, job.row0 + r);
      RowStatistics &known = job.known()[r];
      if (saved_bytes) known = static_cast<const RowStatistics *>(p.saved)[job.row0 + r];
      else known = row_statistics<Io>(x, p.K, job.forward.norm.eps);
      if (job.g.weight.present)
        fill_row<Io, FloatProduct>(x, 0, round_up(p.K, width), p.K, &job.forward.norm, known, job.at(job.cut.z) + r * job.cut.row_k);
    }
  });
}

// One chunk's part of the weight's gradient: sums[n][k] += slope' z.
template <class M>
inline void add_weight_gradient(const BackwardJob &job, bool first) {
  using Io = typename M::Io;
  using Product = typename M::Product;
  const RowLinear &p = job.p;
  const int64_t row_k = round_up(p.K, panel_columns), group = weight_columns / panel_columns;
  const int64_t units = (job.rows + Product::per_unit - 1) / Product::per_unit, panel_units = round_up(units, width);
  const int64_t row_tasks = (p.N + weight_rows - 1) / weight_rows, panels = row_k / panel_columns, groups = (panels + group - 1) / group;
  Matrix z{reinterpret_cast<const char *>(job.at(job.cut.z)), DType::float32, 1, job.cut.row_k};
  if (!job.cut.before) z = {row_at<Io>(p.x, job.row0), p.dtype, 1, p.x.stride[0]};
  job.tasks(row_tasks * groups, [&](int64_t task, float *left) {
    const int64_t n0 = task % row_tasks * weight_rows, panel = task / row_tasks * group;
    const int64_t count = panels - panel < group ? panels - panel : group;
    const int64_t rows = p.N - n0 < weight_rows ? round_up(p.N - n0, micro_rows) : weight_rows;
    float *right = left + weight_rows * row_linear_chunk;
    for (int64_t unit = 0; unit < units; ++unit)
      for (int64_t n = 0; n < rows; n += width) {
        float *to = left + unit * weight_rows + n;
        if constexpr (Product::per_unit == 1) store(to, load(job.slope(unit) + n0 + n));
#ifdef LAMINA_PAIR_DOT
        else
          store(to, pairs(load(job.slope(2 * unit) + n0 + n), 2 * unit + 1 < job.rows ? load(job.slope(2 * unit + 1) + n0 + n) : zero()));
#endif
      }
    for (int64_t i = 0; i < count; ++i) {
      Matrix part = z;
      const int64_t column = (panel + i) * panel_columns;
      part.data += column * static_cast<int64_t>(size_of(z.dtype));
      pack_panel<Product>(part, p.K - column < panel_columns ? p.K - column : panel_columns, 0, job.rows, panel_units, nullptr,
                          right + i * panel_units * panel_columns);
    }
    multiply_block<Product>({rows, units, count, left, 1, weight_rows, right, panel_units * panel_columns,
                             job.at(job.cut.weight) + n0 * row_k + panel * panel_columns, row_k, !first});
  });
}

// The gradient of the rows that the linear map takes, and through the norm before it that of x.
template <class M>
inline void find_x_gradient(const BackwardJob &job) {
  using Io = typename M::Io;
  const RowLinear &p = job.p;
  const Cut &cut = job.cut.columns;
  const int64_t row_tasks = (job.rows + cut.rows - 1) / cut.rows;
  const Vector scale = splat(static_cast<float>(p.settings.scale));
  job.tasks(row_tasks * cut.column_tasks, [&](int64_t task, float *scratch) {
    const int64_t begin = task % row_tasks * cut.rows, panel = task / row_tasks * cut.panels;
    const int64_t rows = job.rows - begin < cut.rows ? job.rows - begin : cut.rows;
    const int64_t panels = job.cut.turned.panels - panel < cut.panels ? job.cut.turned.panels - panel : cut.panels;
    const int64_t column = panel * panel_columns, stride = panels * panel_columns, count = p.K - column < stride ? p.K - column : stride;
    float *sums = scratch + RowScratch(cut).left;
    multiply_rows<typename M::Product>(rows, job.cut.turned, job.at(job.cut.turned_at), panel, panels, scratch, sums,
                                       [&](int64_t r, int64_t from, int64_t to, float *units) {
                                         fill_row<Float32, typename M::Product>(reinterpret_cast<const char *>(job.slope(begin + r)), from,
                                                                                to, p.N, nullptr, {0, 1}, units);
                                       });
    for (int64_t r = 0; r < rows; ++r) {
      float *d = sums + r * stride, *unit = scratch;  // the left operand is used up
      for (int64_t c = 0; c < count; c += width) store(d + c, load(d + c) * scale);
      if (job.cut.before) {
        const RowStatistics known = job.known()[begin + r];
        if (job.cut.want_sums) memcpy(job.at(job.cut.z) + (begin + r) * job.cut.row_k, d, static_cast<size_t>(round_up(count, width)) * 4);
        if (!job.g.x.present) continue;
        const char *x = row_at<Io>(p.x, job.row0 + begin + r);
        for (int64_t c = 0; c < count; c += width) {
          store(unit + c, first_lanes((load_some<Io>(x + c * Io::bytes, count - c) - splat(known.mean)) * splat(known.scale), count - c));
          store(d + c, load(d + c) * load(job.forward.norm.weight + c));
        }
        norm_slope(d, unit, count, known.scale, d);
      }
      char *to = row_at<Io>(job.g.x, job.row0 + begin + r, column);
      for (int64_t c = 0; c < count; c += width) store_some<Io>(to + c * Io::bytes, load(d + c), count - c);
    }
  });
}

// sums[column] += over the chunk's rows of value(row, column); a task has 64 columns, or the last few.
template <class Value>
inline void add_columns(const BackwardJob &job, int64_t columns, bool first, float *sums, Value value) {
  job.tasks((columns + 63) / 64, [&](int64_t task, float *) {
    for (int64_t c = task * 64; c < columns && c < task * 64 + 64; c += width) {
      Vector total = zero();
      for (int64_t r = 0; r < job.rows; ++r) total += value(r, c);
      store(sums + c, first ? total : load(sums + c) + total);
    }
  });
}

template <class Io>
inline void add_vectors(const BackwardJob &job, bool first) {
  const RowLinear &p = job.p;
  const BackwardCut &cut = job.cut;
  const auto incoming = [&](int64_t r, int64_t c) { return load_some<Io>(row_at<Io>(job.g.out, job.row0 + r, c), p.N - c); };
  const auto d_z = [&](int64_t r, int64_t c) { return load(job.at(cut.z) + r * cut.row_k + c); };
  if (job.g.bias.present) add_columns(job, p.N, first, job.at(cut.bias), [&](int64_t r, int64_t c) { return load(job.slope(r) + c); });
  if (job.g.norm_bias.present && cut.before) add_columns(job, p.K, first, job.at(cut.norm_bias), d_z);
  if (job.g.norm_bias.present && cut.whole_rows) add_columns(job, p.N, first, job.at(cut.norm_bias), incoming);
  if (job.g.norm_weight.present && cut.before)
    add_columns(job, p.K, first, job.at(cut.norm_weight), [&](int64_t r, int64_t c) {
      const RowStatistics known = job.known()[r];
      return d_z(r, c) * (load_some<Io>(row_at<Io>(p.x, job.row0 + r, c), p.K - c) - splat(known.mean)) * splat(known.scale);
    });
  if (job.g.norm_weight.present && cut.whole_rows)
    add_columns(job, p.N, first, job.at(cut.norm_weight),
                [&](int64_t r, int64_t c) { return incoming(r, c) * load(job.at(cut.unit) + r * cut.row_n + c); });
}

// Last, because it may be the memory of out_gradient.
template <class Io>
inline void store_residual_gradient(const BackwardJob &job) {
  const RowLinear &p = job.p;
  if (!job.g.residual.present || (!job.cut.whole_rows && job.g.residual.data == job.g.out.data)) return;
  job.tasks((job.rows + 15) / 16, [&](int64_t task, float *) {
    for (int64_t r = task * 16; r < job.rows && r < task * 16 + 16; ++r) {
      char *to = row_at<Io>(job.g.residual, job.row0 + r);
      const char *from = row_at<Io>(job.g.out, job.row0 + r);
      for (int64_t c = 0; c < p.N; c += width)
        store_some<Io>(to + c * Io::bytes, job.cut.whole_rows ? load(job.slope(r) + c) : load_some<Io>(from + c * Io::bytes, p.N - c),
                       p.N - c);
    }
  });
}

template <class Io>
inline void store_row(char *to, int64_t columns, const float *sums, Vector scale) {
  for (int64_t c = 0; c < columns; c += width) store_some<Io>(to + c * Io::bytes, load(sums + c) * scale, columns - c);
}

// sums [rows][stride], padded to whole vectors, times scale; zeros where there were no rows to sum over.
inline void store_sums(const Parallel &parallel, const View &to, int64_t rows, int64_t columns, int64_t stride, const float *sums,
                       double scale, bool none) {
  if (!to.present) return;
  parallel.for_each(rows, 1 + 4096 / columns, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float *row = sums + i * stride;
      char *data = static_cast<char *>(to.data) + i * to.stride[0] * static_cast<int64_t>(size_of(to.dtype));
      const Vector factor = splat(static_cast<float>(scale));
      if (none || to.stride[1] != 1 || to.dtype == DType::float64)
        for (int64_t j = 0; j < columns; ++j) store_at(to, i, j, none ? 0 : scale * static_cast<double>(row[j]));
      else if (to.dtype == DType::float32) store_row<Float32>(data, columns, row, factor);
      else if (to.dtype == DType::float16) store_row<Float16>(data, columns, row, factor);
      else store_row<BFloat16>(data, columns, row, factor);
    }
  });
}

template <class M>
inline void backward_in_mode(const RowLinear &p, const RowLinearGradients &g, const RowLinearRun &run, uint64_t saved) {
  using Io = typename M::Io;
  using Product = typename M::Product;
  const int threads = run.parallel.threads;
  const BackwardCut cut(p, g, Product::per_unit, saved, threads);
  float *base = static_cast<float *>(run.workspace);
  RowLinearJob forward(p, nullptr, Product::per_unit, threads);
  forward.w.panels = base + cut.panels;
  forward.w.take_vectors(base + cut.vectors, cut.layout);
  forward.norm = {forward.w.norm_weight, forward.w.norm_bias, static_cast<float>(p.settings.eps)};
  pack_vectors(p, cut.layout, base + cut.vectors);
  BackwardJob job{p, g, cut, forward, run.parallel, base, 0, 0};
  const char *data = static_cast<const char *>(p.weight.data);
  if (cut.again && p.M)
    pack_matrix<Product>({data, p.weight.dtype, p.weight.stride[0], p.weight.stride[1]}, p.N, p.K, base + cut.panels, run.parallel,
                         job.scratch(), cut.worker_bytes);
  if (cut.want_x && p.M)
    pack_matrix<Product>({data, p.weight.dtype, p.weight.stride[1], p.weight.stride[0]}, p.K, p.N, base + cut.turned_at, run.parallel,
                         job.scratch(), cut.worker_bytes);
  for (job.row0 = 0; job.row0 < p.M; job.row0 += cut.chunk) {
    const bool first = job.row0 == 0;
    job.rows = p.M - job.row0 < cut.chunk ? p.M - job.row0 : cut.chunk;
    find_slopes<M>(job, saved);
    if (cut.before) norm_rows<Io>(job, saved);
    if (g.weight.present) add_weight_gradient<M>(job, first);
    if (cut.want_x) find_x_gradient<M>(job);
    add_vectors<Io>(job, first);
    store_residual_gradient<Io>(job);
  }
  const bool none = p.M == 0;
  store_sums(run.parallel, g.weight, p.N, p.K, round_up(p.K, panel_columns), base + cut.weight, p.settings.scale, none);
  store_sums(run.parallel, g.bias, p.N, 1, 1, base + cut.bias, p.settings.scale, none);
  const int64_t norm_width = cut.layout.norm_width;
  store_sums(run.parallel, g.norm_weight, norm_width, 1, 1, base + cut.norm_weight, 1, none);
  store_sums(run.parallel, g.norm_bias, norm_width, 1, 1, base + cut.norm_bias, 1, none);
}

inline uint64_t row_linear_backward_workspace_bytes(const RowLinear &p, const RowLinearGradients &g, const void *state, int threads) {
  return static_cast<uint64_t>(BackwardCut(p, g, uses_pairs(p, state) ? 2 : 1, row_linear_saved_bytes(p, state), threads).total);
}

inline Status row_linear_backward(const RowLinear &p, const RowLinearGradients &g, const RowLinearRun &run, Failure &) {
  return with_mode(p, run.state, [&](auto mode) {
    backward_in_mode<decltype(mode)>(p, g, run, row_linear_saved_bytes(p, run.state));
    return Status::ok;
  });
}

}  // namespace lamina::cpu
