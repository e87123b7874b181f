// Backward on CPUs: chunk by chunk, first by blocks of rows (cpu_backward_rows.h), then the products that sum over the chunk's rows, by
// tiles of the weights.  No result depends on the number of threads.
#pragma once
#include "cpu_backward_rows.h"
#include "cpu_forward.h"

namespace lamina::transition {

// sums[a lane][b lane] of `lanes` a lanes and `panels` panels of b, over the chunk's units: set by the first chunk, then added to.
// Rows are taken a few hundred at a time, so that a panel of b stays in L1 for all lanes of a.
template <class Product>
void sum_over_rows(int64_t units, const float *a, int64_t a_stride, int64_t lanes, const float *b, int64_t b_stride, int64_t panels,
                   float *sums, int64_t sums_stride, bool first) {
  constexpr int64_t step = 256 / Product::per_unit;
  for (int64_t unit = 0; unit < units; unit += step)
    for (int64_t panel = 0; panel < panels; ++panel)
      for (int64_t lane = 0; lane < lanes; lane += micro_rows) {
        cpu::MicroTile tile;
        cpu::multiply_tile<Product>(units - unit < step ? units - unit : step, a + unit * a_stride + lane, 1, a_stride,
                                    b + unit * b_stride + panel * panel_lanes, width, b_stride, tile);
        float *to = sums + lane * sums_stride + panel * panel_lanes;
        const bool add = !first || unit > 0;
#pragma GCC unroll 8
        for (int row = 0; row < micro_rows; ++row, to += sums_stride)
          for (int half = 0; half < 2; ++half)
            cpu::store(to + half * width, add ? cpu::load(to + half * width) + tile[row][half] : tile[row][half]);
      }
}

// The second phase of a chunk of `count` rows.
template <class Product>
void weight_sums(const BackwardJob &job, float *base, int64_t count, bool first, const Run &run) {
  constexpr int64_t group = 64;  // lanes of a task
  const BackwardSpace &space = job.space;
  const PackedLayout &layout = job.layout;
  const int64_t units = (count + Product::per_unit - 1) / Product::per_unit, blocks = (count + space.block - 1) / space.block;
  const int64_t front_tasks = space.needs_front ? (layout.outputs + group - 1) / group : 0;
  const int64_t down_tasks = space.needs_down ? (layout.hidden + group - 1) / group : 0;
  cpu::run_tasks(run.parallel, 1 + front_tasks + down_tasks, nullptr, 0, [&](int64_t task, float *) {
    if (task < front_tasks) {
      const int64_t lane = task * group, lanes = layout.outputs - lane < group ? layout.outputs - lane : group;
      sum_over_rows<Product>(units, job.chunk.d + lane, space.chunk_d, lanes, job.chunk.z, space.chunk_z, layout.channels / panel_lanes,
                             base + space.front_sums + lane * layout.channels, layout.channels, first);
    } else if ((task -= front_tasks) < down_tasks) {
      const int64_t lane = task * group, lanes = layout.hidden - lane < group ? layout.hidden - lane : group;
      sum_over_rows<Product>(units, job.chunk.du, space.chunk_z, job.p.C, job.chunk.h + lane, space.chunk_h, lanes / panel_lanes,
                             base + space.down_sums + lane, layout.hidden, first);
    } else {
      float *total = base + space.total_sums;
      for (int64_t block = 0; block < blocks; ++block)
        for (int64_t at = 0; at < space.sums; ++at)
          total[at] = (first && !block ? 0 : total[at]) + base[space.block_sums + block * space.sums + at];
    }
  });
}

// `columns` sums to a row of a gradient.
inline void write_gradient(const View &to, int64_t row, int64_t columns, const float *sums) {
  if (to.stride[1] == 1 || columns == 1) {
    with_io(to.dtype, [&](auto io) {
      using Io = decltype(io);
      char *at = row_of<Io>(to, row);
      if (columns == 1) return store_scalar(at, to.dtype, 0, static_cast<double>(*sums));
      for (int64_t c = 0; c < columns; c += width)
        Io::store(at + c * Io::bytes, cpu::load(sums + c), static_cast<int>(columns - c < width ? columns - c : width));
    });
    return;
  }
  for (int64_t c = 0; c < columns; ++c)
    store_scalar(to.data, to.dtype, row * to.stride[0] + c * to.stride[1], static_cast<double>(sums[c]));
}

// The sums to where the caller wants them.
inline void write_gradients(const BackwardJob &job, const float *base, const Run &run) {
  const Problem &p = job.p;
  const Gradients &g = job.g;
  const PackedLayout &layout = job.layout;
  const BackwardSpace &space = job.space;
  const float *vectors = base + space.total_sums;
  const auto lane_of = [&](int64_t i) { return i / layout.per_panel * panel_lanes + i % layout.per_panel; };
  run.parallel.for_each(p.I > p.C ? p.I : p.C, 32, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end && i < p.I; ++i) {
      const int64_t gate = lane_of(i), up = p.gated() ? gate + width : gate;
      if (g.gate.weight.present) write_gradient(g.gate.weight, i, p.C, base + space.front_sums + gate * layout.channels);
      if (g.up.weight.present) write_gradient(g.up.weight, i, p.C, base + space.front_sums + up * layout.channels);
      if (g.gate.bias.present) write_gradient(g.gate.bias, i, 1, vectors + gate);
      if (g.up.bias.present) write_gradient(g.up.bias, i, 1, vectors + up);
    }
    for (int64_t c = begin; c < end && c < p.C; ++c) {
      if (g.down.weight.present) write_gradient(g.down.weight, c, p.I, base + space.down_sums + c * layout.hidden);
      if (g.down.bias.present) write_gradient(g.down.bias, c, 1, vectors + space.sums_down + c);
      if (g.norm.weight.present) write_gradient(g.norm.weight, c, 1, vectors + space.sums_norm + c);
      if (g.norm.bias.present) write_gradient(g.norm.bias, c, 1, vectors + space.sums_norm + layout.channels + c);
    }
  });
}

inline uint64_t cpu_backward_workspace_bytes(const Problem &p, const Gradients &g, const void *state, int threads) {
  return BackwardSpace(p, g, layout_of(p, state)).bytes(threads);
}

template <class M>
void backward_in_mode(const BackwardJob &job, float *base, const Run &run) {
  const BackwardSpace &space = job.space;
  for (int64_t first = 0; first < job.p.M; first += space.rows) {
    const int64_t count = job.p.M - first < space.rows ? job.p.M - first : space.rows;
    cpu::run_tasks(run.parallel, (count + space.block - 1) / space.block, reinterpret_cast<char *>(base + space.workers),
                   space.worker_bytes, [&](int64_t task, float *scratch) {
                     const int64_t at = task * space.block, rows = count - at < space.block ? count - at : space.block;
                     float *sums = base + space.block_sums + task * space.sums;
                     if (job.p.gated()) backward_block<M, true>(job, first + at, at, rows, sums, scratch);
                     else backward_block<M, false>(job, first + at, at, rows, sums, scratch);
                   });
    weight_sums<typename M::Product>(job, base, count, first == 0, run);
  }
}

inline Status cpu_backward(const Problem &p, const Gradients &g, const Run &run, Failure &) {
  const PackedLayout layout = layout_of(p, run.state);
  const BackwardSpace space(p, g, layout);
  float *base = static_cast<float *>(run.workspace);
  pack_weights(p, layout, base + space.packed, run, true);
  const Job forward{p, layout, RowStrides(p, layout), layout.at(base + space.packed, p)};
  const BackwardJob job{forward, p, g, layout, space, space.chunk_at(base, layout.per_unit)};
  if (!p.M)
    for (int64_t at = space.front_sums; at < space.block_sums; ++at) base[at] = 0;
  with_mode(p, run.state, [&](auto mode) { backward_in_mode<decltype(mode)>(job, base, run); });
  write_gradients(job, base, run);
  return Status::ok;
}

}  // namespace lamina::transition
