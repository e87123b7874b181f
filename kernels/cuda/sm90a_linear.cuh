// A linear map over rows on Hopper: out = residual + scale * activation(a b' + bias), a tile of one of linear_forms at a time.
//
// Persistent CTAs.  One thread loads stages of 64 deep, two warpgroups multiply half of the tile's rows each, and one thread a warpgroup
// fetches the residual and stores the result, box by box in place, so that a warpgroup in its epilogue waits for nobody and the other one
// multiplies on, up to the depth of the ring.
#pragma once
#include "sm90a_linear_job.h"
#include "wgmma_product.cuh"

namespace lamina::cuda {

template <class T, int f>
struct LinearShared {
  static constexpr LinearForm form = linear_forms[f];
  alignas(1024) T a[form.stages][form.rows][64];
  alignas(1024) T b[form.stages][form.columns][64];
  alignas(1024) T box[2][form.slots][form.rows / 2][form.box_columns];  // of a warpgroup, in turn
  Barrier full[form.stages], free[form.stages];
  Barrier ready[2][form.slots], staged[2][form.slots];  // a box holds the residual or nothing anyone needs; a box holds the result
};

// Goes round `count` places, with the parity of the round.
template <int count>
struct Round {
  int at = 0, parity = 0;
  __device__ void advance() {
    if (++at == count) at = 0, parity ^= 1;
  }
  __device__ int before() const { return at ? at - 1 : count - 1; }
};

// Columns next to each other first: a few rows of a stay in the L2 cache while all of b passes.
template <int f>
struct LinearTile {
  int row, column, boxes;
  __device__ LinearTile(const LinearJob &job, int index) {
    constexpr LinearForm form = linear_forms[f];
    row = index / job.column_tiles * form.rows;
    column = index % job.column_tiles * form.columns;
    const int left = (job.columns - column + form.box_columns - 1) / form.box_columns, most = form.columns / form.box_columns;
    boxes = left < most ? left : most;
  }
};

// b_lines: b is [columns, depth], or [depth, columns] in boxes of 64 deep and 64 columns, their lines along the columns.
template <class T, int f, Lines b_lines>
__device__ void load_linear(const LinearJob &job, LinearShared<T, f> &shared) {
  constexpr LinearForm form = linear_forms[f];
  constexpr int b_box = b_lines == Lines::along_k ? form.columns : 64;
  Round<form.stages> stage;
  for (int index = static_cast<int>(blockIdx.x); index < job.tiles; index += static_cast<int>(gridDim.x)) {
    const LinearTile<f> tile(job, index);
    for (int chunk = 0; chunk < job.chunks; ++chunk, stage.advance()) {
      Barrier &full = shared.full[stage.at];
      T(*a)[64] = shared.a[stage.at], (*b)[64] = shared.b[stage.at];
      shared.free[stage.at].wait(stage.parity ^ 1);
      full.expect((form.rows + form.columns) * 64 * 2);
      for (int row = 0; row < form.rows; row += 128) load_box(job.a, full, a[row], chunk * 64, tile.row + row);
      for (int column = 0; column < form.columns; column += b_box) {
        const int x = b_lines == Lines::along_k ? chunk * 64 : tile.column + column,
                  y = b_lines == Lines::along_k ? tile.column + column : chunk * 64;
        load_box(job.b, full, b[column], x, y);
      }
    }
  }
}

// A warpgroup's boxes in the order of its tiles.
template <int f>
class LinearBoxes {
 public:
  __device__ LinearBoxes(const LinearJob &job, int group) : job_(job), group_(group), tile_(job, index_) {}
  __device__ bool more() const { return index_ < job_.tiles; }
  __device__ void advance() {
    if (++box_ < tile_.boxes) return;
    box_ = 0, index_ += static_cast<int>(gridDim.x), tile_ = LinearTile<f>(job_, index_);
  }
  __device__ int row() const { return tile_.row + group_ * (linear_forms[f].rows / 2); }
  __device__ int column(int further = 0) const { return tile_.column + (box_ + further) * linear_forms[f].box_columns; }
  __device__ bool first_of_tile() const { return box_ == 0; }
  __device__ int of_tile() const { return tile_.boxes; }

 private:
  const LinearJob &job_;
  const int group_;
  int index_ = static_cast<int>(blockIdx.x), box_ = 0;
  LinearTile<f> tile_;
};

template <class T, int f>
__device__ void serve_linear(const LinearJob &job, LinearShared<T, f> &shared, int group) {
  constexpr LinearForm form = linear_forms[f];
  LinearBoxes<f> coming(job, group), going(job, group);
  Round<form.slots> into, from;
  const auto fetch = [&] {
    if (!coming.more()) return;
    Barrier &ready = shared.ready[group][into.at];
    if (job.has_residual) {
      ready.expect(sizeof shared.box[0][0]);
      load_box(job.residual, ready, shared.box[group][into.at], coming.column(), coming.row());
      if (coming.first_of_tile())  // no slot will be free for these before the epilogue
        for (int box = form.slots; box < coming.of_tile(); ++box) prefetch_box(job.residual, coming.column(box), coming.row());
    } else {
      ready.arrive();
    }
    into.advance(), coming.advance();
  };
  for (int slot = 0; slot < form.slots; ++slot) fetch();
  for (; going.more(); from.advance(), going.advance()) {
    shared.staged[group][from.at].wait(from.parity);
    store_box(job.out, shared.box[group][from.at], going.column(), going.row());
    commit_stores();
    wait_stores_read<0>();
    fetch();
  }
  wait_stores<0>();
}

template <bool smooth>
__device__ float finish(const LinearEpilogue &epilogue, float sum, float bias) {
  const float v = sum + bias;
  if constexpr (!smooth) return v < epilogue.floor ? epilogue.floor : v;  // a NaN stays one
  const float w = fminf(v * v, epilogue.most), half = 0.5f * v;
  return fmaf(half, tanh_approximate(v * fmaf(w, fmaf(w, epilogue.c2, epilogue.c1), epilogue.c0)), half);
}

// The biases of a lane's columns of a box.
template <int box_columns>
struct BoxBias {
  float2 pair[box_columns / 8];
  __device__ void load(const LinearEpilogue &epilogue, int column) {
#pragma unroll
    for (int j = 0; j < box_columns / 8; ++j)
      pair[j] =
          epilogue.bias ? __ldg(reinterpret_cast<const float2 *>(epilogue.bias + column + j * 8 + threadIdx.x % 4 * 2)) : float2{0, 0};
  }
};

// Where 8 columns of a box's line lie.
template <int box_columns>
__device__ uint32_t box_piece(uint32_t box, int line, int piece) {
  return box_columns == 64 ? swizzled(box, line, piece) : swizzled_half(box, line, piece);
}

// 64 rows of a box of the result, from `row` on, out of their sums, over the residual that may stand there.
template <class T, int box_columns, bool smooth>
__device__ void finish_box(const LinearJob &job, const float *sum, const BoxBias<box_columns> &bias, void *box, int row) {
  const int lane = threadIdx.x % 32, matrix = lane / 8;
  const LinearEpilogue &epilogue = job.epilogue;
  const uint32_t to = shared_address(box);
  row += threadIdx.x % 128 / 32 * 16;
#pragma unroll
  for (int j = 0; j < box_columns / 8; j += 2) {
    uint32_t result[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // upper and lower rows of the first 8 columns, then of the second
      const float *s = sum + (j + i / 2) * 4 + i % 2 * 2;
      const float2 b = bias.pair[j + i / 2];
      float y0 = finish<smooth>(epilogue, s[0], b.x), y1 = finish<smooth>(epilogue, s[1], b.y);
      if constexpr (!smooth) {
        y0 *= epilogue.scale, y1 *= epilogue.scale;
        if (job.has_residual) {
          const float2 before =
              unpack_pair<T>(load_shared_4(box_piece<box_columns>(to, row + lane / 4 + i % 2 * 8, j + i / 2) + lane % 4 * 4));
          y0 += before.x, y1 += before.y;
        }
      }
      result[i] = pack_pair<T>(y0, y1);
    }
    __syncwarp();  // the residual of these 16 columns is in registers of the whole warp before it is overwritten
    store_matrices(box_piece<box_columns>(to, row + matrix % 2 * 8 + lane % 8, j + matrix / 2), result[0], result[1], result[2], result[3]);
  }
}

template <int f>
using LinearSums = float[linear_forms[f].rows / 128][linear_forms[f].columns / 2];

template <class T, int f>
__device__ void hand_back_stage(LinearShared<T, f> &shared, const Round<linear_forms[f].stages> &stage) {
  if (threadIdx.x % 128 == 0) shared.free[stage.before()].arrive();
}

// A tile's products, all but the last stage's waited for: finish with wait_products<0>() and hand_back_stage.
template <class T, int f, Lines b_lines>
__device__ __forceinline__ void multiply_tile(const LinearJob &job, LinearShared<T, f> &shared, int group,
                                              Round<linear_forms[f].stages> &stage, LinearSums<f> &sum) {
  constexpr LinearForm form = linear_forms[f];
  for (int chunk = 0; chunk < job.chunks; ++chunk) {
    shared.full[stage.at].wait(stage.parity);
    const uint64_t a = operand(shared_address(shared.a[stage.at][group * (form.rows / 2)])),
                   b = operand(shared_address(shared.b[stage.at]), 8192);
    begin_products();
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
      for (int h = 0; h < form.rows / 128; ++h)
        product<T, Lines::along_k, b_lines>(sum[h], deeper<Lines::along_k>(a + h * (64 * line_bytes >> 4), k), deeper<b_lines>(b, k),
                                            chunk > 0 || k > 0);
    commit_products();
    if (chunk > 0) {  // the products of the stage before are done
      wait_products<1>();
      hand_back_stage(shared, stage);
    }
    stage.advance();
  }
}

template <class T, int f, bool smooth, Lines b_lines>
__device__ void work_linear(const LinearJob &job, LinearShared<T, f> &shared, int group) {
  constexpr LinearForm form = linear_forms[f];
  constexpr int boxes = form.columns / form.box_columns, box_sums = form.box_columns / 2;
  Round<form.stages> stage;
  Round<form.slots> slot;
  for (int index = static_cast<int>(blockIdx.x); index < job.tiles; index += static_cast<int>(gridDim.x)) {
    LinearSums<f> sum;
    multiply_tile<T, f, b_lines>(job, shared, group, stage, sum);
    const LinearTile<f> tile(job, index);
    BoxBias<form.box_columns> bias;
    bias.load(job.epilogue, tile.column);
    wait_products<0>();
    hand_back_stage(shared, stage);
#pragma unroll
    for (int box = 0; box < boxes; ++box) {
      if (box >= tile.boxes) break;
      const BoxBias<form.box_columns> of_box = bias;
      if (box + 1 < tile.boxes) bias.load(job.epilogue, tile.column + (box + 1) * form.box_columns);
      shared.ready[group][slot.at].wait(slot.parity);
#pragma unroll
      for (int h = 0; h < form.rows / 128; ++h)
        finish_box<T, form.box_columns, smooth>(job, sum[h] + box * box_sums, of_box, shared.box[group][slot.at], h * 64);
      publish_shared();
      __syncwarp();
      if (threadIdx.x % 32 == 0) shared.staged[group][slot.at].arrive();
      slot.advance();
    }
  }
}

// Once, before any other use of `shared`.
template <class T, int f>
__device__ void init_barriers(LinearShared<T, f> &shared) {
  constexpr LinearForm form = linear_forms[f];
  for (Barrier &barrier : shared.full) barrier.init(1);
  for (Barrier &barrier : shared.free) barrier.init(2);
  for (int g = 0; g < 2; ++g)
    for (int i = 0; i < form.slots; ++i) shared.ready[g][i].init(1), shared.staged[g][i].init(4);
}

template <class T, int f, bool smooth, Lines b_lines = Lines::along_k>
__device__ void linear(const LinearJob &job) {
  constexpr LinearForm form = linear_forms[f];
  extern __shared__ __align__(1024) char dynamic[];
  auto &shared = *reinterpret_cast<LinearShared<T, f> *>(dynamic);
  static_assert(sizeof shared <= linear_shape(form).shared_bytes && registers_fit(2, 232, 40));
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  if (threadIdx.x == 0) {
    allow_next_kernel();
    init_barriers(shared);
    publish_barriers();
  }
  __syncthreads();
  if (group == 2) {
    lower_registers<40>();
    if (threadIdx.x % 32 == 0) {
      wait_for_previous_kernel();
      if (warp == 0) load_linear<T, f, b_lines>(job, shared);
      else if (warp < 3) serve_linear<T, f>(job, shared, warp - 1);
    }
    __syncwarp();
  } else {
    raise_registers<232>();
    work_linear<T, f, smooth, b_lines>(job, shared, group);
  }
}

}  // namespace lamina::cuda
