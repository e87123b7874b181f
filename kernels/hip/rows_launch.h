// The host's side of the row kernels: sizes of packed parts, alignment, launches over any number of rows.  No call here allocates.
#pragma once
#include "device_code.h"
#include "rows_job.h"

namespace lamina::hip {

// Of a list of three kernels, for float, bf16 and fp16.
inline int kind_of(DType dtype) { return dtype == DType::float32 ? 0 : dtype == DType::bfloat16 ? 1 : 2; }

// Rows may be moved in pieces of 16 bytes.
inline bool rows_aligned(const View &view) {
  return !view.present ||
         (view.stride[0] * static_cast<int64_t>(size_of(view.dtype)) % 16 == 0 && reinterpret_cast<uintptr_t>(view.data) % 16 == 0);
}
inline View from_row(View view, int64_t row) {
  if (view.present) view.data = static_cast<char *>(view.data) + row * view.stride[0] * static_cast<int64_t>(size_of(view.dtype));
  return view;
}

// Memory from its begin on, in parts of whole 256 bytes.
struct Cuts {
  int64_t total = 0;
  int64_t take(int64_t bytes) {
    const int64_t here = total;
    total += (bytes + 255) / 256 * 256;
    return here;
  }
};

// Where one linear layer of `rows` outputs lies in the packed bytes: whole tiles of rows, each of whole units of depth.
struct PackedLinear {
  int64_t rows = 0, padded_rows = 0, depth = 0, line = 0;
  int64_t weight = 0, bias = 0;  // offsets
  PackedLinear(int64_t rows, int64_t depth, int64_t element_bytes, Cuts &cuts, int64_t tile, int64_t unit)
      : rows(rows), padded_rows((rows + tile - 1) / tile * tile), depth(depth), line((depth + unit - 1) / unit * unit) {
    weight = cuts.take(padded_rows * line * element_bytes), bias = cuts.take(padded_rows * 4);
  }
  // For the product kernels: tiles of 128 columns, lines of 64 bytes.
  PackedLinear(int64_t rows, int64_t depth, int64_t element_bytes, Cuts &cuts)
      : PackedLinear(rows, depth, element_bytes, cuts, product_tile, 64 / element_bytes) {}
  PackPart part(char *packed) const {
    PackPart to;
    to.rows = rows, to.padded_rows = padded_rows, to.depth = static_cast<int>(depth), to.line = static_cast<int>(line);
    to.weight = packed + weight, to.bias = reinterpret_cast<float *>(packed + bias);
    return to;
  }
  void use(const char *packed, ProductJob &job) const {
    job.weight = packed + weight, job.bias = reinterpret_cast<const float *>(packed + bias);
    job.depth = static_cast<int>(depth), job.line = static_cast<int>(line);
    job.column_tiles = static_cast<int>(padded_rows / product_tile);
  }
};

inline void align(ProductJob &job) {
  job.x_aligned = rows_aligned(job.x), job.residual_aligned = rows_aligned(job.residual), job.out_aligned = rows_aligned(job.out);
}

// Launches over all rows, in as many grids as that takes.
inline Status launch_product(Launcher &launcher, int kernel, const ProductJob &whole, Failure &failure) {
  constexpr int64_t most_blocks = 1 << 22;  // the runtime counts threads in 32 bits
  const int64_t tiles = whole.column_tiles < most_blocks ? most_blocks / whole.column_tiles : 1, step = tiles * product_tile;
  for (int64_t first = 0; first < whole.rows; first += step) {
    ProductJob job = whole;
    job.rows = whole.rows - first < step ? whole.rows - first : step;
    job.x = from_row(job.x, first), job.residual = from_row(job.residual, first), job.out = from_row(job.out, first);
    job.row_mask = from_row(job.row_mask, first);
    align(job);
    const int64_t blocks = (job.rows + product_tile - 1) / product_tile * job.column_tiles;
    void *parameters[] = {&job};
    LAMINA_TRY(launcher.launch({kernel, {static_cast<unsigned>(blocks), 1, 1}, rows_threads}, parameters, failure));
  }
  return Status::ok;
}

inline Status launch_norm(Launcher &launcher, int kernel, NormJob job, Failure &failure) {
  constexpr int64_t rows_of_block = rows_threads / 16, step = rows_of_block << 22;
  const NormJob whole = job;
  for (int64_t first = 0; first < whole.rows; first += step) {
    job.rows = whole.rows - first < step ? whole.rows - first : step;
    job.x = whole.x + first * whole.line, job.out = from_row(whole.out, first), job.out_aligned = rows_aligned(job.out);
    void *parameters[] = {&job};
    LAMINA_TRY(launcher.launch({kernel, {static_cast<unsigned>((job.rows + rows_of_block - 1) / rows_of_block), 1, 1}, rows_threads},
                               parameters, failure));
  }
  return Status::ok;
}

inline Status launch_rows_pack(Launcher &launcher, int kernel, RowsPackJob job, Failure &failure) {
  void *parameters[] = {&job};
  return launcher.launch({kernel, {rows_pack_blocks, pack_parts + 1, 1}, rows_threads}, parameters, failure);
}

}  // namespace lamina::hip
