// Launches of the row layers' portable kernels, from the host.
#pragma once
#include "device_code.h"
#include "rows_job.h"
#include "rows_kernels.h"

namespace lamina::cuda {

namespace rows_kernel {
#define LAMINA_ROW(name, ...) name,
enum Index { LAMINA_ROWS_KERNELS(LAMINA_ROW) count };
#undef LAMINA_ROW
}  // namespace rows_kernel

// Rows of an Image's kernel table, in the order of rows_kernel::Index; a build's own kernels follow.
#define LAMINA_ROWS_TABLE_ROW(name, ...) {#name, 0},
#define LAMINA_ROWS_TABLE LAMINA_ROWS_KERNELS(LAMINA_ROWS_TABLE_ROW)

// Cuts the workspace, or packed bytes, into pieces.
class Pieces {
 public:
  int64_t take(int64_t bytes) {
    const int64_t here = at_;
    at_ += (bytes + packed_align - 1) / packed_align * packed_align;
    return here;
  }
  int64_t total() const { return at_; }

 private:
  int64_t at_ = 0;
};

constexpr int64_t whole_eights(int64_t count) { return (count + 7) / 8 * 8; }

// How many parts the depth of a product is split in, so that a few tiles still fill a GPU.  A constant of the problem, not of the GPU: the
// same sums come out of every one.
inline int product_splits(int64_t rows, int64_t columns, int64_t depth) {
  const int64_t tiles = ((rows + 127) / 128) * ((columns + 127) / 128);
  int64_t splits = 256 / tiles;
  if (splits > depth / 512) splits = depth / 512;
  return splits < 1 ? 1 : splits > 64 ? 64 : static_cast<int>(splits);
}

class RowsLauncher {
 public:
  // T: float32, bfloat16 or float16.
  RowsLauncher(const DeviceCode &code, void *stream, DType T)
      : code_(code),
        launcher_(code, stream),
        type_(T == DType::float32    ? 0
              : T == DType::bfloat16 ? 1
                                     : 2) {}

  Status open(Failure &failure) { return launcher_.open(failure); }
  Launcher &launcher() { return launcher_; }
  const DeviceCode &code() const { return code_; }
  int type() const { return type_; }  // of T: 0 float32, 1 bfloat16, 2 float16

  Status product(ProductJob job, int splits, Failure &failure) {
    const int64_t tiles = ((job.rows + 127) / 128) * ((job.columns + 127) / 128), chunks = (job.depth + 31) / 32;
    job.split_depth = (chunks + splits - 1) / splits * 32;
    return launch(rows_kernel::rows_product_float32 + type_, {blocks(tiles), 1, static_cast<unsigned>(splits)}, &job, failure);
  }
  Status normalise(NormJob job, Failure &failure) { return warps(rows_kernel::rows_normalise_float32, job.rows, &job, failure); }
  Status norm_gradient(NormGradientJob job, Failure &failure) {
    return warps(rows_kernel::rows_norm_gradient_float32, job.rows, &job, failure);
  }
  Status column_sums(ColumnSumsJob job, Failure &failure) {
    return launch(rows_kernel::rows_column_sums_float32 + type_,
                  {blocks((job.columns + 31) / 32), blocks((job.rows + job.slab - 1) / job.slab), 1}, &job, failure);
  }
  Status activation_gradient(ActivationGradientJob job, Failure &failure) {
    return launch(rows_kernel::rows_activation_gradient_float32 + type_, {blocks((job.rows * job.columns + 255) / 256), 1, 1}, &job,
                  failure);
  }
  Status pack(PackJob job, Failure &failure) {
    return launch(rows_kernel::rows_pack_float32 + type_, {128, pack_parts + 1, 1}, &job, failure);
  }
  // All in one launch.  Nothing where `to` is not there; zeros where there are no splits.
  template <int count>
  Status gather(const GatherJob (&given)[count], Failure &failure) {
    static_assert(count <= most_gathers);
    GatherJobs jobs;
    unsigned kept = 0;
    int64_t most = 0;
    for (const GatherJob &job : given) {
      if (!job.to.present) continue;
      if (job.rows * job.columns > most) most = job.rows * job.columns;
      jobs.job[kept] = job;
      if (!job.splits) jobs.job[kept].sums = nullptr;
      ++kept;
    }
    return kept ? launch(rows_kernel::rows_gather, {blocks((most + 255) / 256), kept, 1}, &jobs, failure) : Status::ok;
  }

 private:
  static unsigned blocks(int64_t count) { return static_cast<unsigned>(count); }
  Status warps(int kernel, int64_t rows, void *job, Failure &failure) {
    return launch(kernel + type_, {blocks((rows + 7) / 8), 1, 1}, job, failure);
  }
  struct Grid {
    unsigned x, y, z;
  };
  Status launch(int kernel, Grid grid, void *job, Failure &failure) {
    void *parameters[] = {job};
    return launcher_.launch({kernel, {grid.x, grid.y, grid.z}, 256}, parameters, failure);
  }

  const DeviceCode &code_;
  Launcher launcher_;
  int type_;
};

// The kernels of a build's products, norms and activations where gradients are computed.  narrow: what lies between two of them is T, else
// float where that is more exact.  A machine with faster kernels has the same functions.
struct PortableKernels {
  static bool narrow(DType) { return false; }
  static Status product(RowsLauncher &rows, const ProductJob &job, int splits, Failure &failure) {
    return rows.product(job, splits, failure);
  }
  static Status normalise(RowsLauncher &rows, const NormJob &job, Failure &failure) { return rows.normalise(job, failure); }
  static Status norm_gradient(RowsLauncher &rows, const NormGradientJob &job, Failure &failure) { return rows.norm_gradient(job, failure); }
  static Status activation_gradient(RowsLauncher &rows, const ActivationGradientJob &job, Failure &failure) {
    return rows.activation_gradient(job, failure);
  }
};

}  // namespace lamina::cuda
