// The host half of the Hopper kernels for one linear map over rows: which problems they take, their tensor maps, their launches.
#pragma once
#include "row_linear.h"
#include "sm90a_norm_linear_job.h"
#include "sm90a_product.h"

namespace lamina::cuda {

namespace rows_kernel {
#define LAMINA_ROW(name, ...) name,
enum NormLinearIndex { before_norm_linear = hopper_count - 1, LAMINA_HOPPER_NORM_LINEAR_KERNELS(LAMINA_ROW) row_linear_count };
#undef LAMINA_ROW
}  // namespace rows_kernel
#define LAMINA_ROW_LINEAR_TABLE \
  LAMINA_ROWS_TABLE LAMINA_HOPPER_PRODUCT_KERNELS(LAMINA_HOPPER_TABLE_ROW) LAMINA_HOPPER_NORM_LINEAR_KERNELS(LAMINA_HOPPER_TABLE_ROW)

struct HopperMachine : HopperKernels {
  // Widths whose weights stay in shared memory.
  static bool resident(const RowLinear &p) {
    return p.settings.norm == NormPlace::before && p.settings.activation == Activation::none && p.settings.scale == 1 &&
           !p.residual.present && (p.K == 128 || p.K == 256) && p.N % 8 == 0 && p.N <= 128 * norm_linear_passes(static_cast<int>(p.K));
  }
  static bool folds(const RowLinear &p) { return narrow(p.dtype) && resident(p); }

  static bool takes(const RowLinear &p, const RowLinearLayout &) {
    if (!narrow(p.dtype) || p.K % 8 || p.N % 8 || p.M > INT32_MAX) return false;
    if (!view_aligned(p.x) || !view_aligned(p.out) || !view_aligned(p.residual)) return false;
    const bool smooth = is_smooth(p.settings.activation);
    if (smooth && (p.residual.present || p.settings.scale != 1)) return false;
    if (p.settings.norm == NormPlace::before && !resident(p) && p.K > fast_norm_channels) return false;
    return p.settings.norm != NormPlace::after || p.N <= fast_norm_channels;
  }

  static Status forward(const RowLinear &p, const RowLinearLayout &layout, const char *packed, char *z, int64_t group, RowsLauncher &rows,
                        Failure &failure) {
    const HopperMachine machine{{}, p, layout, packed, rows};
    if (resident(p)) return machine.resident_forward(failure);
    if (p.settings.norm != NormPlace::before) {
      LAMINA_TRY(machine.linear({p.x.data, p.x.stride[0]}, 0, p.M, failure));
      return p.settings.norm == NormPlace::after ? machine.norm_rows(p.out.data, p.out.stride[0], p.out.data, p.out.stride[0], p.M, failure)
                                                 : Status::ok;
    }
    for (int64_t first = 0; first < p.M; first += group) {
      const int64_t count = p.M - first < group ? p.M - first : group;
      LAMINA_TRY(machine.norm_rows(RowLinearGroup::from_row(p.x, first).data, p.x.stride[0], z, layout.line, count, failure));
      LAMINA_TRY(machine.linear({z, layout.line}, first, count, failure));
    }
    return Status::ok;
  }

  const RowLinear &p;
  const RowLinearLayout &layout;
  const char *packed;
  RowsLauncher &rows;

 private:
  int half() const { return p.dtype == DType::float16; }
  const float *floats(int64_t at) const { return reinterpret_cast<const float *>(packed + at); }
  Status linear(const ProductOperand &input, int64_t first, int64_t count, Failure &failure) const {
    ProductJob job = RowLinearGroup(p, layout, packed, rows).product(input, first, count);
    const View out = RowLinearGroup::from_row(p.out, first);
    job.out = out.data, job.out_line = out.stride[0];
    return launch_linear(rows, job, failure);
  }

  Status norm_rows(const void *from, int64_t from_line, void *to, int64_t to_line, int64_t count, Failure &failure) const {
    NormJob job = RowLinearGroup(p, layout, packed, rows).norm();
    job.x = from, job.x_line = from_line;
    job.out = to, job.out_line = to_line;
    job.rows = count;
    return HopperKernels::normalise(rows, job, failure);
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
    return launch_hopper(rows, rows_kernel::hopper_norm_linear_bfloat16_128 + 2 * half() + (p.K == 256),
                         job.tiles < processors ? job.tiles : processors, norm_linear_shape().threads, job, failure);
  }
};

}  // namespace lamina::cuda
