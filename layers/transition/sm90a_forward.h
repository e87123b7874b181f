// The host half of the fused Hopper kernel: which problems it takes, its tensor maps, its launch.
#pragma once
#include "cuda_forward.h"
#include "kernels/cuda/sm90a_product.h"
#include "sm90a_gradient_job.h"
#include "sm90a_kernels.h"

namespace lamina::transition {

namespace kernel {
#define LAMINA_ROW(name, ...) name,
enum FusedIndex {
  before_fused = cuda::rows_kernel::hopper_count - 1,
  LAMINA_FUSED_KERNELS(LAMINA_ROW) LAMINA_GRADIENT_KERNELS(LAMINA_ROW) LAMINA_HIDDEN_GRADIENT_KERNELS(LAMINA_ROW) fused_count
};
#undef LAMINA_ROW
}  // namespace kernel
#define LAMINA_FUSED_ROW(name, C, ...) {#name, hopper::fused_shape(C).shared_bytes},
#define LAMINA_GRADIENT_ROW(name, ...) {#name, hopper::gradient_shape().shared_bytes},
#define LAMINA_HIDDEN_GRADIENT_ROW(name, ...) {#name, hopper::hidden_gradient_shape().shared_bytes},
#define LAMINA_FUSED_TABLE                                                                                        \
  LAMINA_ROWS_TABLE LAMINA_HOPPER_PRODUCT_KERNELS(LAMINA_HOPPER_TABLE_ROW) LAMINA_FUSED_KERNELS(LAMINA_FUSED_ROW) \
      LAMINA_GRADIENT_KERNELS(LAMINA_GRADIENT_ROW) LAMINA_HIDDEN_GRADIENT_KERNELS(LAMINA_HIDDEN_GRADIENT_ROW)

// The host half of the kernel of a row's gradients.
struct HopperGradients : cuda::HopperKernels {
  static bool aligned(const View &view) { return cuda::line_aligned(view.data, view.stride[0]); }

  static bool whole_gradients(const Problem &p) { return p.C == hopper::gradient_channels; }
  static bool fuses_gradients(const Problem &p, const PackedLayout &layout) {
    return narrow(p.dtype) && p.gated() && layout.rows % 128 == 0 &&
           (whole_gradients(p) || (p.C == hopper::hidden_gradient_channels && layout.folded_up));
  }
  static bool takes_gradients(const Problem &p, const Gradients &g) {
    return aligned(p.x) && cuda::view_aligned(g.x) && (p.row_mask.present || aligned(g.out));
  }

  static Status gradients(const Problem &p, const PackedLayout &layout, const char *packed, const RowGradients &given,
                          cuda::RowsLauncher &rows, Failure &failure) {
    const cuda::DeviceCode &code = rows.code();
    const cuda::MatrixMaps maps(code);
    const auto weights_map = [&](const void *data, int64_t lines, int64_t columns,
                                 CUtensorMap &to) {  // of rank 3, as all CTAs of a cluster load
      const uint64_t width = static_cast<uint64_t>(columns);
      return cuda::make_tensor_map(*code.driver, {data, {width, static_cast<uint64_t>(lines), 1}, width, width, {64, 64, 1}, 3}, to,
                                   failure);
    };
    const auto floats = [packed](int64_t at) { return reinterpret_cast<const float *>(packed + at); };
    const bool whole = whole_gradients(p), normed = whole && p.norm.weight.present;
    hopper::GradientJob job{};
    LAMINA_TRY(maps.make(given.x.data, given.rows, p.C, given.x.stride[0], 64, job.x, failure));
    LAMINA_TRY(maps.make(given.out_gradient.data, given.rows, p.C, given.out_gradient.line, 64, job.out_gradient, failure));
    if (normed) LAMINA_TRY(maps.make(given.z, given.rows, p.C, p.C, 64, job.z, failure));
    if (whole && given.x_gradient.present)
      LAMINA_TRY(maps.make(given.x_gradient.data, given.rows, p.C, given.x_gradient.stride[0], 64, job.x_gradient, failure));
    LAMINA_TRY(weights_map(packed + layout.up, layout.rows, p.C, job.up));
    LAMINA_TRY(weights_map(packed + layout.down, p.C, p.I, job.down));
    const bool biased = p.gate.bias.present || p.up.bias.present;
    job.up_bias = biased ? floats(layout.up_bias) : nullptr, job.norm = normed ? floats(layout.norm) : nullptr;
    job.inner = given.inner, job.hidden = given.hidden, job.norm_sums = given.norm_sums;
    job.normed = normed, job.x_wanted = given.x_gradient.present;
    job.tiles = static_cast<int>((given.rows + hopper::tile - 1) / hopper::tile), job.groups = static_cast<int>(layout.rows / 128);
    job.rows = static_cast<int>(given.rows), job.eps = static_cast<float>(p.settings.eps);
    const int processors = code.processors / hopper::together * hopper::together, pairs = (job.tiles + 1) / 2;
    const int ctas = pairs < processors ? (pairs + 1) / 2 * 2 : processors;
    job.rounds = (job.tiles + 2 * ctas - 1) / (2 * ctas);
    void *parameters[] = {&job};
    const int kernel = whole ? kernel::hopper_gradient_bfloat16 : kernel::hopper_hidden_gradient_bfloat16;
    return rows.launcher().launch({kernel + (p.dtype == DType::float16),
                                   {static_cast<unsigned>(ctas), 1, 1},
                                   hopper::gradient_shape().threads,
                                   true,
                                   0,
                                   hopper::together},
                                  parameters, failure);
  }
};

struct HopperMachine : HopperGradients {
  // What is known when weights are packed.
  static bool folds(const Problem &p) {
    if (p.dtype == DType::float32) return false;
    if (p.gated() ? (p.C != 128 && p.C != 256) : p.C != 128) return false;
    return p.I % (p.gated() ? 64 : 128) == 0 && (p.gated() ? 2 * p.I : p.I) <= hopper::most_rows;
  }
  static bool takes(const Problem &p, const PackedLayout &) { return folds(p) && aligned(p.x) && aligned(p.out) && p.M <= INT32_MAX; }

  static Status forward(const Problem &p, const PackedLayout &layout, const char *packed, char *, cuda::RowsLauncher &rows,
                        Failure &failure) {
    const cuda::DeviceCode &code = rows.code();
    const auto map = [&](const void *data, int64_t lines, int64_t columns, int64_t line, CUtensorMap &to) {
      const uint64_t width = static_cast<uint64_t>(line);
      return cuda::make_tensor_map(*code.driver,
                                   {data, {static_cast<uint64_t>(columns), static_cast<uint64_t>(lines), 1}, width, width, {64, 64, 1}, 3},
                                   to, failure);
    };
    const auto rows_map = [&](const View &view, CUtensorMap &to) {
      const uint64_t width = static_cast<uint64_t>(view.stride[0]);
      return cuda::make_tensor_map(
          *code.driver, {view.data, {static_cast<uint64_t>(p.C), static_cast<uint64_t>(p.M), 1}, width, 0, {64, 64, 1}, 2}, to, failure);
    };
    hopper::FusedJob job{};
    LAMINA_TRY(rows_map(p.x, job.x));
    LAMINA_TRY(rows_map(p.out, job.out));
    LAMINA_TRY(map(packed + layout.folded_up, layout.rows, p.C, p.C, job.up));
    LAMINA_TRY(map(packed + layout.down, p.C, p.I, p.I, job.down));
    job.up_bias = reinterpret_cast<const float *>(packed + layout.folded_up_bias);
    job.down_bias = reinterpret_cast<const float *>(packed + layout.down_bias);
    job.residual = p.residual, job.row_mask = p.row_mask;
    job.residual_is_x = p.residual.present && p.residual.data == p.x.data && p.residual.stride[0] == p.x.stride[0];
    job.normed = p.norm.weight.present;
    job.tiles = static_cast<int>((p.M + hopper::tile - 1) / hopper::tile);
    job.groups = static_cast<int>(layout.rows / 128);
    job.M = p.M;
    job.eps = static_cast<float>(p.settings.eps);
    const int processors = code.processors / hopper::together * hopper::together, pairs = (job.tiles + 1) / 2;
    const int ctas = pairs < processors ? (pairs + 1) / 2 * 2 : processors;
    job.rounds = (job.tiles + 2 * ctas - 1) / (2 * ctas);
    const bool half = p.dtype == DType::float16;
    const int row = p.gated() ? kernel::hopper_swiglu_bfloat16_128 + 2 * half + (p.C == 256) : kernel::hopper_relu_bfloat16_128 + half;
    void *parameters[] = {&job};
    return rows.launcher().launch({row, {static_cast<unsigned>(ctas), 1, 1}, 384, true, 0, hopper::together}, parameters, failure);
  }
};

}  // namespace lamina::transition
