// A linear map, its residual and the LayerNorm behind them on Hopper: out = LayerNorm(residual + scale * (a b' + bias)).
//
// The CTAs of a cluster have the neighbouring tiles that make up whole rows, one each.  A CTA adds the residual to its sums, takes mean and
// squares of its part of each row, and finds those of the other parts in the others' shared memory: the result goes out once, and what the
// norm sees was never rounded.
#pragma once
#include "sm90a_linear.cuh"
#include "tile_statistics.cuh"

namespace lamina::cuda {

template <class T, int f>
struct LinearNormShared {
  LinearShared<T, f> linear;
  float2 part[2][linear_forms[f].rows];  // of one tile and the next: a row's mean, and the sum of its squares around it, in this tile
};

// A box's uses in the order of the tiles: a tile's boxes of the residual, where there is one, then the same boxes of the result.
template <int f>
class NormBoxes {
 public:
  __device__ NormBoxes(const LinearJob &job, int group)
      : job_(job), group_(group), index_(LinearTile<f>::first()), bringing_(job.has_residual), tile_(job, index_) {}
  __device__ bool more() const { return index_ < job_.tiles; }
  __device__ bool bringing() const { return bringing_; }
  __device__ void advance() {
    if (++box_ < tile_.boxes) return;
    box_ = 0;
    if (bringing_) {
      bringing_ = false;
    } else {
      bringing_ = job_.has_residual, index_ += LinearTile<f>::step(), tile_ = LinearTile<f>(job_, index_);
    }
  }
  __device__ int row() const { return tile_.row + group_ * (linear_forms[f].rows / 2); }
  __device__ int column(int further = 0) const { return tile_.column + (box_ + further) * linear_forms[f].box_columns; }
  __device__ bool first_of_tile() const { return box_ == 0; }
  __device__ int of_tile() const { return tile_.boxes; }

 private:
  const LinearJob &job_;
  const int group_;
  int index_, box_ = 0;
  bool bringing_;
  LinearTile<f> tile_;
};

template <class T, int f>
__device__ void serve_linear_norm(const LinearJob &job, LinearShared<T, f> &shared, int group) {
  constexpr LinearForm form = linear_forms[f];
  NormBoxes<f> coming(job, group), going(job, group);
  Round<form.slots> into, from;
  const auto fetch = [&] {
    if (!coming.more()) return;
    Barrier &ready = shared.ready[group][into.at];
    if (coming.bringing()) {
      ready.expect(sizeof shared.box[0][0]);
      load_box(job.residual, ready, shared.box[group][into.at], coming.column(), coming.row());
      if (coming.first_of_tile())
        for (int box = form.slots; box < coming.of_tile(); ++box) prefetch_box(job.residual, coming.column(box), coming.row());
    } else {
      ready.arrive();
    }
    into.advance(), coming.advance();
  };
  for (int slot = 0; slot < form.slots; ++slot) fetch();
  for (; going.more(); from.advance(), going.advance()) {
    shared.staged[group][from.at].wait(from.parity);
    if (!going.bringing()) {
      store_box(job.out, shared.box[group][from.at], going.column(), going.row());
      commit_stores();
      wait_stores_read<0>();
    }
    fetch();
  }
  wait_stores<0>();
}

// Sums of 64 rows of a box, `left` of whose columns exist, become scale * (sum + bias) + residual.  What comes back hangs on all loads.
template <class T, int box_columns>
__device__ uint32_t add_residual(const LinearJob &job, float *sum, const BoxBias<box_columns> &bias, const void *box, int row) {
  const int lane = threadIdx.x % 32;
  const uint32_t from = shared_address(box);
  row += threadIdx.x % 128 / 32 * 16 + lane / 4;
  uint32_t read = 0;
#pragma unroll
  for (int j = 0; j < box_columns / 8; ++j)
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float *s = sum + j * 4 + i * 2;
      s[0] = (s[0] + bias.pair[j].x) * job.epilogue.scale, s[1] = (s[1] + bias.pair[j].y) * job.epilogue.scale;
      if (!job.has_residual) continue;
      const uint32_t pair = load_shared_4(box_piece<box_columns>(from, row + i * 8, j) + lane % 4 * 4);
      const float2 before = unpack_pair<T>(pair);
      s[0] += before.x, s[1] += before.y, read ^= pair;
    }
  return read;
}

// Mean and squares of a lane's two rows over the first `columns` of a tile.
template <int sums>
__device__ void row_parts(const float (&sum)[sums], int columns, float2 (&part)[2]) {
  float mean[2] = {}, square[2] = {};
#pragma unroll
  for (int j = 0; j < sums / 4; ++j)
    if (j * 8 < columns)
#pragma unroll
      for (int i = 0; i < 2; ++i) mean[i] += sum[j * 4 + i * 2] + sum[j * 4 + i * 2 + 1];
#pragma unroll
  for (int i = 0; i < 2; ++i) mean[i] = over_quad(mean[i]) / static_cast<float>(columns);
#pragma unroll
  for (int j = 0; j < sums / 4; ++j)
    if (j * 8 < columns)
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const float centred = sum[j * 4 + i * 2 + e] - mean[i];
          square[i] = fmaf(centred, centred, square[i]);
        }
#pragma unroll
  for (int i = 0; i < 2; ++i) part[i] = {mean[i], over_quad(square[i])};
}

// A whole row's mean and 1 / deviation out of the parts that `count` CTAs have, always in the same order.
__device__ inline float2 merged_parts(const float2 *part, int count, int tile_columns, int columns, float eps) {
  float sum = 0, square = 0;
#pragma unroll 4
  for (int rank = 0; rank < count; ++rank)
    sum = fmaf(load_two_at(part, rank).x, static_cast<float>(min(tile_columns, columns - rank * tile_columns)), sum);
  const float mean = sum / static_cast<float>(columns);
#pragma unroll 4
  for (int rank = 0; rank < count; ++rank) {
    const float2 of = load_two_at(part, rank);
    square += fmaf((of.x - mean) * (of.x - mean), static_cast<float>(min(tile_columns, columns - rank * tile_columns)), of.y);
  }
  return {mean, rsqrtf(square / static_cast<float>(columns) + eps)};
}

// 64 rows of a box of the result; `columns` of it exist.  moments: mean and 1 / deviation of a lane's two rows.
template <class T, int box_columns>
__device__ void normalise_box(const LinearJob &job, const float *sum, const float2 (&moments)[2], void *box, int row, int column) {
  const int lane = threadIdx.x % 32, matrix = lane / 8;
  const uint32_t to = shared_address(box);
  row += threadIdx.x % 128 / 32 * 16;
#pragma unroll
  for (int j = 0; j < box_columns / 8; j += 2) {
    uint32_t result[4];
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
      const int at = column + (j + pair) * 8 + lane % 4 * 2;
      float2 weight{}, bias{};
      if (at < job.columns) {
        weight = __ldg(reinterpret_cast<const float2 *>(job.norm_weight + at));
        bias = __ldg(reinterpret_cast<const float2 *>(job.norm_bias + at));
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float *s = sum + (j + pair) * 4 + i * 2;
        result[pair * 2 + i] = pack_pair<T>(fmaf((s[0] - moments[i].x) * moments[i].y, weight.x, bias.x),
                                            fmaf((s[1] - moments[i].x) * moments[i].y, weight.y, bias.y));
      }
    }
    store_matrices(box_piece<box_columns>(to, row + matrix % 2 * 8 + lane % 8, j + matrix / 2), result[0], result[1], result[2], result[3]);
  }
}

template <class T, int f>
__device__ void work_linear_norm(const LinearJob &job, LinearNormShared<T, f> &all, int group) {
  constexpr LinearForm form = linear_forms[f];
  constexpr int heights = form.rows / 128, boxes = form.columns / form.box_columns, box_sums = form.box_columns / 2;
  LinearShared<T, f> &shared = all.linear;
  const int lane = threadIdx.x % 32, first = LinearTile<f>::first();
  const int row = group * (form.rows / 2) + threadIdx.x % 128 / 32 * 16 + lane / 4;  // of the tile: the lane's first
  Round<form.stages> stage;
  Round<form.slots> slot;
  int turn = 0;
  for (int index = first; index < job.tiles; index += LinearTile<f>::step(), turn ^= 1) {
    LinearSums<f> sum;
    multiply_tile<T, f, Lines::along_k>(job, shared, group, false, stage, sum);
    const LinearTile<f> tile(job, index);
    wait_products<0>();
    hand_back_stage(shared, stage);
#pragma unroll
    for (int box = 0; box < boxes; ++box) {
      if (box >= tile.boxes) break;
      BoxBias<form.box_columns> bias;
      bias.load(job.epilogue, tile.column + box * form.box_columns);
      if (job.has_residual) shared.ready[group][slot.at].wait(slot.parity);
      uint32_t read = 0;
#pragma unroll
      for (int h = 0; h < heights; ++h)
        read ^= add_residual<T, form.box_columns>(job, sum[h] + box * box_sums, bias, shared.box[group][slot.at], h * 64);
      if (!job.has_residual) continue;
      // An arrival can overtake loads from shared memory that nobody waits for: it hangs on a vote that needs them.
      const bool unlikely = __any_sync(~0u, read == 0x7fc17fc3u);
      if (lane == (unlikely ? 1 : 0)) shared.staged[group][slot.at].arrive();
      slot.advance();
    }
    const int columns = min(form.columns, job.columns - tile.column);
    float2 part[heights][2];
#pragma unroll
    for (int h = 0; h < heights; ++h) {
      row_parts(sum[h], columns, part[h]);
      if (lane % 4 == 0)
        for (int i = 0; i < 2; ++i) all.part[turn][row + h * 64 + i * 8] = part[h][i];
    }
    __syncwarp();
    if (lane < job.column_tiles) arrive_published_at(all.linear.merge[group], lane);
    all.linear.merge[group].wait_published(turn);
#pragma unroll
    for (int h = 0; h < heights; ++h)
#pragma unroll
      for (int i = 0; i < 2; ++i)
        part[h][i] = merged_parts(&all.part[turn][row + h * 64 + i * 8], job.column_tiles, form.columns, job.columns, job.norm_eps);
#pragma unroll
    for (int box = 0; box < boxes; ++box) {
      if (box >= tile.boxes) break;
      shared.ready[group][slot.at].wait(slot.parity);
#pragma unroll
      for (int h = 0; h < heights; ++h)
        normalise_box<T, form.box_columns>(job, sum[h] + box * box_sums, part[h], shared.box[group][slot.at], h * 64,
                                           tile.column + box * form.box_columns);
      publish_shared();
      __syncwarp();
      if (lane == 0) shared.staged[group][slot.at].arrive();
      slot.advance();
    }
  }
}

template <class T, int f>
__device__ void linear_norm(const LinearJob &job) {
  constexpr LinearForm form = linear_forms[f];
  extern __shared__ __align__(1024) char dynamic[];
  auto &all = *reinterpret_cast<LinearNormShared<T, f> *>(dynamic);
  static_assert(sizeof all <= linear_norm_shape(form).shared_bytes && registers_fit(2, 232, 40) && form.together == 1 && !form.lag);
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  if (threadIdx.x == 0) {
    allow_next_kernel();
    init_barriers(all.linear);
    for (Barrier &barrier : all.linear.merge) barrier.init(4 * job.column_tiles);
    publish_barriers();
  }
  meet_cluster();
  if (group == 2) {
    lower_registers<40>();
    if (threadIdx.x % 32 == 0) {
      wait_for_previous_kernel();
      if (warp == 0) load_linear<T, f, Lines::along_k>(job, all.linear);
      else if (warp < 3) serve_linear_norm<T, f>(job, all.linear, warp - 1);
    }
    __syncwarp();
  } else {
    raise_registers<232>();
    work_linear_norm<T, f>(job, all, group);
  }
  meet_cluster();  // nobody leaves while the others may still read its parts
}

}  // namespace lamina::cuda
