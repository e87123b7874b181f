// The host half of the Hopper kernels that every row layer's build has: products of 16-bit matrices in the forms of ProductJob, norms and
// activations of aligned rows.  What they do not take goes to the portable kernels.
#pragma once
#include "rows_launch.h"
#include "rows_norm_fast.h"
#include "sm90a_norm_linear_job.h"
#include "sm90a_rows_kernels.h"
#include "tensor_map.h"

namespace lamina::cuda {

namespace rows_kernel {
#define LAMINA_ROW(name, ...) name,
enum HopperIndex { before_hopper = count - 1, LAMINA_HOPPER_PRODUCT_KERNELS(LAMINA_ROW) hopper_count };
#undef LAMINA_ROW
}  // namespace rows_kernel
#define LAMINA_HOPPER_TABLE_ROW(name, Job, threads, shared_bytes, function) {#name, shared_bytes},
constexpr int hopper_per_dtype = (rows_kernel::hopper_count - rows_kernel::before_hopper - 1) / 2;

// Rows that tensor copies and 16-byte accesses take: lines in elements of 16 bits.
inline bool line_aligned(const void *data, int64_t line) { return line % 8 == 0 && reinterpret_cast<uintptr_t>(data) % 16 == 0; }
inline bool view_aligned(const View &view) { return !view.present || line_aligned(view.data, view.stride[0]); }

// Makes maps of 16-bit matrices [rows][columns], boxes of 64 columns or 32.
class MatrixMaps {
 public:
  explicit MatrixMaps(const DeviceCode &code) : driver_(*code.driver) {}
  Status make(const void *data, int64_t rows, int64_t columns, int64_t line, int box_rows, CUtensorMap &to, Failure &failure,
              int box_columns = 64) const {
    const TensorBoxes boxes{data, {static_cast<uint64_t>(columns), static_cast<uint64_t>(rows), 1},         static_cast<uint64_t>(line),
                            0,    {static_cast<uint32_t>(box_columns), static_cast<uint32_t>(box_rows), 1}, 2};
    return make_tensor_map(driver_, boxes, to, failure);
  }

 private:
  const Driver &driver_;
};

template <class Job>
Status launch_hopper(RowsLauncher &rows, int kernel, int64_t ctas, unsigned threads, Job &job, Failure &failure) {
  void *parameters[] = {&job};
  return rows.launcher().launch({kernel, {static_cast<unsigned>(ctas), 1, 1}, threads, true}, parameters, failure);
}

// Tiles, and how many CTAs work on them at once.
struct LinearRounds {
  int64_t column_tiles, tiles;
  int ctas;
  LinearRounds(const LinearForm &form, int64_t M, int64_t N, int processors) {
    column_tiles = (N + form.columns - 1) / form.columns;
    tiles = (M + form.rows - 1) / form.rows * column_tiles;
    ctas = static_cast<int>(processors < tiles ? processors : tiles);
  }
  int64_t rounds() const { return (tiles + ctas - 1) / ctas; }
};

// The form of the least time for whole rounds of all processors.  across: b lies along its rows, in boxes of 64 columns.
inline int linear_form(int64_t M, int64_t N, int processors, bool across = false) {
  int best = -1;
  double least = 0;
  for (int f = 0; f < linear_form_count; ++f) {
    const LinearForm &form = linear_forms[f];
    if (across && form.columns % 64) continue;
    const double time = static_cast<double>(LinearRounds(form, M, N, processors).rounds()) * form.rows * form.columns * form.cost;
    if (best < 0 || time < least) best = f, least = time;
  }
  return best;
}

inline bool is_smooth(Activation activation) { return activation != Activation::none && activation != Activation::relu; }

inline bool takes_linear(const RowsLauncher &rows, const ProductJob &job) {
  if (rows.type() == 0 || job.gated || job.a.transposed || job.out_is_float || job.row_mask.present || job.rows > INT32_MAX) return false;
  if (is_smooth(job.activation) && (job.residual.present || job.scale != 1 || job.b.transposed)) return false;
  return line_aligned(job.a.data, job.a.line) && line_aligned(job.b.data, job.b.line) && line_aligned(job.out, job.out_line) &&
         view_aligned(job.residual);
}

inline Status launch_linear(RowsLauncher &rows, const ProductJob &product, Failure &failure) {
  const MatrixMaps maps(rows.code());
  const int processors = rows.code().processors, f = linear_form(product.rows, product.columns, processors, product.b.transposed);
  const LinearForm &form = linear_forms[f];
  const LinearRounds of_form(form, product.rows, product.columns, processors);
  LinearJob job{};
  LAMINA_TRY(maps.make(product.a.data, product.rows, product.depth, product.a.line, 128, job.a, failure));
  if (product.b.transposed) LAMINA_TRY(maps.make(product.b.data, product.depth, product.columns, product.b.line, 64, job.b, failure));
  else
    LAMINA_TRY(
        maps.make(product.b.data, product.columns, product.depth, product.b.line, static_cast<uint32_t>(form.columns), job.b, failure));
  LAMINA_TRY(maps.make(product.out, product.rows, product.columns, product.out_line, form.rows / 2, job.out, failure, form.box_columns));
  const View &residual = product.residual;
  if (residual.present)
    LAMINA_TRY(maps.make(residual.data, product.rows, product.columns, residual.stride[0], form.rows / 2, job.residual, failure,
                         form.box_columns));
  job.has_residual = residual.present;
  job.tiles = static_cast<int>(of_form.tiles), job.column_tiles = static_cast<int>(of_form.column_tiles);
  job.chunks = static_cast<int>((product.depth + 63) / 64), job.columns = product.columns;
  job.epilogue = linear_epilogue(product.activation, product.bias, product.scale);
  const int epilogue = product.b.transposed ? 2 : is_smooth(product.activation);
  return launch_hopper(rows, rows_kernel::hopper_linear_bfloat16_128x256_plain + (rows.type() - 1) * hopper_per_dtype + 3 * f + epilogue,
                       of_form.ctas, linear_shape(form).threads, job, failure);
}

inline bool takes_sums(const RowsLauncher &rows, const ProductJob &job) {
  return rows.type() != 0 && job.a.transposed && job.b.transposed && job.out_is_float && !job.gated && !job.bias && !job.residual.present &&
         !job.row_mask.present && job.activation == Activation::none && job.scale == 1 && job.out_line == job.columns &&
         job.depth <= INT32_MAX && line_aligned(job.a.data, job.a.line) && line_aligned(job.b.data, job.b.line);
}

inline Status launch_sums(RowsLauncher &rows, const ProductJob &product, int splits, Failure &failure) {
  const MatrixMaps maps(rows.code());
  const int columns = product.columns > 128 ? 256 : 128;
  SumsJob job{};
  LAMINA_TRY(maps.make(product.a.data, product.depth, product.rows, product.a.line, 64, job.a, failure));
  LAMINA_TRY(maps.make(product.b.data, product.depth, product.columns, product.b.line, 64, job.b, failure));
  job.row_tiles = static_cast<int>((product.rows + 127) / 128), job.column_tiles = (product.columns + columns - 1) / columns;
  job.splits = splits;
  job.chunks = static_cast<int>((product.depth + 63) / 64), job.split_chunks = (job.chunks + splits - 1) / splits;
  job.rows = product.rows, job.columns = product.columns;
  job.sums = static_cast<float *>(product.out), job.add = product.add_to_out;
  const int64_t tiles = static_cast<int64_t>(job.row_tiles) * job.column_tiles * splits;
  const int processors = rows.code().processors;
  return launch_hopper(rows, rows_kernel::hopper_sums_bfloat16_128 + (rows.type() - 1) * hopper_per_dtype + (columns == 256),
                       tiles < processors ? tiles : processors, sums_shape(columns).threads, job, failure);
}

// The functions of PortableKernels.
struct HopperKernels {
  static bool narrow(DType dtype) { return dtype == DType::bfloat16 || dtype == DType::float16; }

  static Status product(RowsLauncher &rows, const ProductJob &job, int splits, Failure &failure) {
    if (splits == 1 && takes_linear(rows, job)) return launch_linear(rows, job, failure);
    return takes_sums(rows, job) ? launch_sums(rows, job, splits, failure) : rows.product(job, splits, failure);
  }
  static Status normalise(RowsLauncher &rows, const NormJob &given, Failure &failure) {
    const bool takes = rows.type() != 0 && !given.x_is_float && given.channels % 8 == 0 && given.channels <= fast_norm_channels &&
                       line_aligned(given.x, given.x_line) && line_aligned(given.out, given.out_line);
    if (!takes) return rows.normalise(given, failure);
    NormJob job = given;
    const int at_once = 8 * fast_norm_rows(job.channels);
    return launch_hopper(rows, rows_kernel::hopper_normalise_bfloat16_1024 + (rows.type() - 1) * hopper_per_dtype + (job.channels > 1024),
                         (job.rows + at_once - 1) / at_once, 256, job, failure);
  }
  static Status norm_gradient(RowsLauncher &rows, const NormGradientJob &given, Failure &failure) {
    const bool takes = rows.type() != 0 && !given.x_is_float && !given.gradient_is_float && given.channels % 8 == 0 &&
                       given.channels <= fast_norm_channels && line_aligned(given.x, given.x_line) &&
                       line_aligned(given.gradient, given.gradient_line) && line_aligned(given.x_gradient, given.x_gradient_line);
    if (!takes) return rows.norm_gradient(given, failure);
    NormGradientJob job = given;
    return launch_hopper(rows, rows_kernel::hopper_norm_gradient_bfloat16 + (rows.type() - 1) * hopper_per_dtype, (job.rows + 7) / 8, 256,
                         job, failure);
  }
  static Status activation_gradient(RowsLauncher &rows, const ActivationGradientJob &given, Failure &failure) {
    const bool takes = rows.type() != 0 && given.before && !given.before_is_float && !given.gradient_is_float && !given.row_mask.present &&
                       given.columns % 8 == 0 && line_aligned(given.before, given.before_line) &&
                       line_aligned(given.gradient, given.gradient_line) && line_aligned(given.out, given.out_line) &&
                       line_aligned(given.hidden, given.hidden_line);
    if (!takes) return rows.activation_gradient(given, failure);
    ActivationGradientJob job = given;
    return launch_hopper(rows, rows_kernel::hopper_activation_gradient_bfloat16 + (rows.type() - 1) * hopper_per_dtype,
                         (job.rows * (job.columns / 8) + 255) / 256, 256, job, failure);
  }
};

}  // namespace lamina::cuda
