// The host half of the Hopper kernels for one linear map over rows: which problems they take, their tensor maps, their launches.
#pragma once
#include "row_linear.h"
#include "rows_norm_fast.h"
#include "sm90a_norm_linear_job.h"
#include "sm90a_rows_kernels.h"
#include "tensor_map.h"

namespace lamina::cuda {

namespace rows_kernel {
#define LAMINA_ROW(name, ...) name,
enum HopperIndex { before_hopper = count - 1, LAMINA_HOPPER_ROWS_KERNELS(LAMINA_ROW) hopper_count };
#undef LAMINA_ROW
}  // namespace rows_kernel
#define LAMINA_HOPPER_ROWS_TABLE_ROW(name, Job, threads, shared_bytes, function) {#name, shared_bytes},
#define LAMINA_HOPPER_ROWS_TABLE LAMINA_HOPPER_ROWS_KERNELS(LAMINA_HOPPER_ROWS_TABLE_ROW)

// Rows that tensor copies and 16-byte accesses take.
inline bool rows_aligned(const View &view) {
  return !view.present || (view.stride[0] % 8 == 0 && reinterpret_cast<uintptr_t>(view.data) % 16 == 0);
}

// Makes maps of 16-bit matrices [rows][columns].
class MatrixMaps {
 public:
  explicit MatrixMaps(const DeviceCode &code) : driver_(*code.driver) {}
  Status make(const void *data, int64_t rows, int64_t columns, int64_t line, int box_rows, CUtensorMap &to, Failure &failure,
              int box_columns = 64) const {
    const TensorBoxes boxes{data,
                            {static_cast<uint64_t>(columns), static_cast<uint64_t>(rows), 1},
                            static_cast<uint64_t>(line),
                            0,
                            {static_cast<uint32_t>(box_columns), static_cast<uint32_t>(box_rows), 1},
                            2,
                            static_cast<uint16_t>(box_columns * 2)};
    return make_tensor_map(driver_, boxes, to, failure);
  }

 private:
  const Driver &driver_;
};

// Tiles of whole clusters, and how many clusters run at once.
struct LinearRounds {
  int64_t column_tiles, tiles;
  int clusters;
  LinearRounds(const LinearForm &form, int64_t M, int64_t N, int processors) {
    const int64_t rows = (M + form.rows - 1) / form.rows, columns = (N + form.columns - 1) / form.columns, t = form.together;
    column_tiles = columns;
    tiles = form.shares_a ? rows * ((columns + t - 1) / t) : (rows + t - 1) / t * columns;
    clusters = static_cast<int>(processors / t < tiles ? processors / t : tiles);
  }
  int64_t rounds() const { return (tiles + clusters - 1) / clusters; }
};

// The form of the least time for whole rounds of all processors.
inline int linear_form(int64_t M, int64_t N, int processors) {
#ifdef LINEAR_FORM
#ifndef LINEAR_FORM_FROM
#define LINEAR_FORM_FROM 2048
#endif
  if (M >= LINEAR_FORM_FROM) return LINEAR_FORM;
#endif
  int best = 0;
  double least = 0;
  for (int f = 0; f < linear_form_count; ++f) {
    const LinearForm &form = linear_forms[f];
    const double time = static_cast<double>(LinearRounds(form, M, N, processors).rounds()) * form.rows * form.columns * form.cost;
    if (f == 0 || time < least) best = f, least = time;
  }
  return best;
}

// Of those whose clusters have whole rows, for a LayerNorm behind; -1 where none does in about the time that the product alone takes.
inline int linear_norm_form(int64_t M, int64_t N, int processors) {
  const LinearForm &without = linear_forms[linear_form(M, N, processors)];
  double least = 1.2 * static_cast<double>(LinearRounds(without, M, N, processors).rounds()) * without.rows * without.columns * without.cost;
#ifdef LINEAR_NORM_ALWAYS
  least = 1e30;
#endif
  int best = -1;
  for (const int f : linear_norm_forms) {
    const LinearForm &form = linear_forms[f];
    const int64_t together = (N + form.columns - 1) / form.columns, clusters = processors / together, tiles = (M + form.rows - 1) / form.rows;
    if (together > linear_norm_most_tiles) continue;
    const double time = static_cast<double>((tiles + clusters - 1) / clusters) * form.rows * form.columns * form.cost;
    if (time < least) best = f, least = time;
  }
#ifdef LINEAR_NORM_FORM
  best = LINEAR_NORM_FORM;
#endif
  return best;
}

struct HopperMachine {
  static bool sixteen_bit(const RowLinear &p) { return p.dtype != DType::float32 && p.dtype != DType::float64; }
  // Widths whose weights stay in shared memory.
  static bool resident(const RowLinear &p) {
    return p.settings.norm == NormPlace::before && p.settings.activation == Activation::none && p.settings.scale == 1 &&
           !p.residual.present && (p.K == 128 || p.K == 256) && p.N % 8 == 0 && p.N <= 128 * norm_linear_passes(static_cast<int>(p.K));
  }
  static bool folds(const RowLinear &p) { return sixteen_bit(p) && resident(p); }

  static bool takes(const RowLinear &p, const RowLinearLayout &) {
    if (!sixteen_bit(p) || p.K % 8 || p.N % 8 || p.M > INT32_MAX) return false;
    if (!rows_aligned(p.x) || !rows_aligned(p.out) || !rows_aligned(p.residual)) return false;
    const bool smooth = is_smooth(p.settings.activation);
    if (smooth && (p.residual.present || p.settings.scale != 1)) return false;
    if (p.settings.norm == NormPlace::before && !resident(p) && p.K > fast_norm_channels) return false;
    return p.settings.norm != NormPlace::after || p.N <= fast_norm_channels;
  }

  static Status forward(const RowLinear &p, const RowLinearLayout &layout, const char *packed, char *z, int64_t group, RowsLauncher &rows,
                        Failure &failure) {
    const HopperMachine machine{p, layout, packed, rows};
    if (resident(p)) return machine.resident_forward(failure);
#ifndef LINEAR_NORM_NEVER
    if (p.settings.norm == NormPlace::after) {
      const int f = linear_norm_form(p.M, p.N, rows.code().processors);
      if (f >= 0) return machine.linear_norm(f, failure);
    }
#endif
    if (p.settings.norm != NormPlace::before) {
      LAMINA_TRY(machine.linear({p.x.data, p.x.stride[0]}, 0, p.M, failure));
      return p.settings.norm == NormPlace::after ? machine.normalise(p.out.data, p.out.stride[0], p.out.data, p.out.stride[0], p.M, failure)
                                                 : Status::ok;
    }
    for (int64_t first = 0; first < p.M; first += group) {
      const int64_t count = p.M - first < group ? p.M - first : group;
      LAMINA_TRY(machine.normalise(RowLinearGroup::from_row(p.x, first).data, p.x.stride[0], z, layout.line, count, failure));
      LAMINA_TRY(machine.linear({z, layout.line}, first, count, failure));
    }
    return Status::ok;
  }

  const RowLinear &p;
  const RowLinearLayout &layout;
  const char *packed;
  RowsLauncher &rows;

 private:
  static bool is_smooth(Activation activation) { return activation != Activation::none && activation != Activation::relu; }
  int half() const { return p.dtype == DType::float16; }
  const float *floats(int64_t at) const { return reinterpret_cast<const float *>(packed + at); }
  template <class Job>
  Status launch(int kernel, int64_t ctas, unsigned threads, Job &job, Failure &failure, int cluster = 1) const {
    void *parameters[] = {&job};
    return rows.launcher().launch({kernel, {static_cast<unsigned>(ctas), 1, 1}, threads, true, 0, static_cast<unsigned>(cluster)}, parameters,
                                  failure);
  }

  Status linear(const ProductOperand &input, int64_t first, int64_t count, Failure &failure) const {
    const int processors = rows.code().processors, f = linear_form(count, p.N, processors);
    const LinearForm &form = linear_forms[f];
    const LinearRounds of_form(form, count, p.N, processors);
    LinearJob job{};
    LAMINA_TRY(linear_job(input, first, count, form, job, failure));
    job.tiles = static_cast<int>(of_form.tiles), job.column_tiles = static_cast<int>(of_form.column_tiles);
    const int kernel = rows_kernel::hopper_linear_bfloat16_128x256_plain + 2 * (linear_form_count * half() + f) + is_smooth(p.settings.activation);
    return launch(kernel, of_form.clusters * form.together, linear_shape(form).threads, job, failure, form.together);
  }

  // With the LayerNorm behind it.
  Status linear_norm(int f, Failure &failure) const {
    const LinearForm &form = linear_forms[f];
    const int64_t together = (p.N + form.columns - 1) / form.columns, row_tiles = (p.M + form.rows - 1) / form.rows,
                  clusters = rows.code().processors / together;
    LinearJob job{};
    LAMINA_TRY(linear_job({p.x.data, p.x.stride[0]}, 0, p.M, form, job, failure));
    job.tiles = static_cast<int>(row_tiles * together), job.column_tiles = static_cast<int>(together);
    job.norm_weight = floats(layout.norm), job.norm_bias = job.norm_weight + p.N;
    job.norm_eps = static_cast<float>(p.settings.eps);
    const int kernel = rows_kernel::hopper_linear_norm_bfloat16_128x256 + 2 * half() + f - linear_norm_forms[0];
    return launch(kernel, (row_tiles < clusters ? row_tiles : clusters) * together, linear_norm_shape(form).threads, job, failure,
                  static_cast<int>(together));
  }

  // All but the tiles.
  Status linear_job(const ProductOperand &input, int64_t first, int64_t count, const LinearForm &form, LinearJob &job, Failure &failure) const {
    const MatrixMaps maps(rows.code());
    const View out = RowLinearGroup::from_row(p.out, first), residual = RowLinearGroup::from_row(p.residual, first);
    LAMINA_TRY(maps.make(input.data, count, p.K, input.line, linear_a_box(form), job.a, failure));
    LAMINA_TRY(maps.make(packed + layout.weight, p.N, p.K, layout.line, linear_b_box(form), job.b, failure));
    LAMINA_TRY(maps.make(out.data, count, p.N, out.stride[0], form.rows / 2, job.out, failure, form.box_columns));
    if (residual.present)
      LAMINA_TRY(maps.make(residual.data, count, p.N, residual.stride[0], form.rows / 2, job.residual, failure, form.box_columns));
    job.has_residual = residual.present;
    job.chunks = static_cast<int>((p.K + 63) / 64), job.columns = static_cast<int>(p.N);
    job.epilogue = linear_epilogue(p.settings.activation, floats(layout.bias), static_cast<float>(p.settings.scale));
    return Status::ok;
  }

  Status normalise(const void *from, int64_t from_line, void *to, int64_t to_line, int64_t count, Failure &failure) const {
    NormJob job = RowLinearGroup(p, layout, packed, rows).norm();
    job.x = from, job.x_line = from_line;
    job.out = to, job.out_line = to_line;
    job.rows = count;
    const int at_once = fast_norm_rows(job.channels);
    return launch(rows_kernel::hopper_normalise_bfloat16_1024 + 2 * half() + (job.channels > 1024), (count + 8 * at_once - 1) / (8 * at_once),
                  256, job, failure);
  }

  Status resident_forward(Failure &failure) const {
    const MatrixMaps maps(rows.code());
    NormLinearJob job{};
    LAMINA_TRY(maps.make(p.x.data, p.M, p.K, p.x.stride[0], 64, job.x, failure));
    LAMINA_TRY(maps.make(p.out.data, p.M, p.N, p.out.stride[0], 64, job.out, failure));
    LAMINA_TRY(maps.make(packed + layout.folded_weight, p.N, p.K, layout.line, 128, job.weights, failure));
    job.bias = floats(layout.folded_bias);
    job.tiles = static_cast<int>((p.M + 63) / 64), job.columns = static_cast<int>(p.N);
    job.eps = static_cast<float>(p.settings.eps);
    const int processors = rows.code().processors;
    return launch(rows_kernel::hopper_norm_linear_bfloat16_128 + 2 * half() + (p.K == 256), job.tiles < processors ? job.tiles : processors,
                  norm_linear_shape().threads, job, failure);
  }
};

}  // namespace lamina::cuda
