// The specification of backward: plain loops over rows, double accumulators.  Included by reference.cpp alone.
#pragma once

namespace lamina::transition {
namespace {

struct Sums {  // doubles with the layout of the packed parameters; null where the gradient is not wanted
  double *norm[2], *gate[2], *up[2], *down[2];
};

template <class F>
void for_each_gradient(const Problem &p, const Gradients &g, Sums &to, F each) {
  each(g.norm.weight, p.C, 1, to.norm[0]), each(g.norm.bias, p.C, 1, to.norm[1]);
  each(g.gate.weight, p.I, p.C, to.gate[0]), each(g.gate.bias, p.I, 1, to.gate[1]);
  each(g.up.weight, p.I, p.C, to.up[0]), each(g.up.bias, p.I, 1, to.up[1]);
  each(g.down.weight, p.C, p.I, to.down[0]), each(g.down.bias, p.C, 1, to.down[1]);
}

struct RowRoom {  // doubles of one row
  double *z, *dz, *du, *gate, *up, *h, *dh;
  RowRoom(const Problem &p, double *at) : z(at), dz(z + p.C), du(dz + p.C), gate(du + p.C), up(gate + p.I), h(up + p.I), dh(h + p.I) {}
  static uint64_t numbers(const Problem &p) { return static_cast<uint64_t>(3 * p.C + 4 * p.I); }
};

uint64_t backward_workspace_bytes(const Problem &p, const Gradients &g, const void *state, int) {
  uint64_t count = RowRoom::numbers(p);
  Sums none;
  for_each_gradient(p, g, none, [&](const View &view, int64_t rows, int64_t columns, double *&) {
    if (view.present) count += static_cast<uint64_t>(rows * columns);
  });
  return count * sizeof(double) + packed_bytes(p, state);
}

// dx += dy W;  sums of W and its bias gain dy' x and dy.
void linear_backward(const double *x, int64_t inputs, const double *dy, int64_t outputs, const double *weight, double *const (&sums)[2],
                     double *dx) {
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t i = 0; i < inputs; ++i) {
      dx[i] += dy[o] * weight[o * inputs + i];
      if (sums[0]) sums[0][o * inputs + i] += dy[o] * x[i];
    }
    if (sums[1]) sums[1][o] += dy[o];
  }
}

// gate, up and h of a row whose z is there.  With saved activations what backward reads of them is what forward_train rounded and wrote.
void hidden_row(const Problem &p, const Parameters &w, int64_t m, const RowRoom &r) {
  const double *saved = static_cast<const double *>(p.saved) + m * 2 * p.I;
  for (int64_t i = 0; i < p.I; ++i) {
    r.gate[i] = !p.gated() ? 0 : p.saved ? saved[i] : linear(r.z, p.C, w.gate, i);
    r.up[i] = p.saved ? saved[p.I + i] : linear(r.z, p.C, w.up, i);
    r.h[i] = activated(p, r.gate[i], r.up[i]);
  }
}

void backward_row(const Problem &p, const Gradients &g, const Parameters &w, const Sums &sums, int64_t m, const RowRoom &r) {
  double mean, scale;
  normalised_row(p, w, m, r.z, mean, scale);
  hidden_row(p, w, m, r);
  const double mask = p.row_mask.present ? load(p.row_mask, m) : 1;
  for (int64_t c = 0; c < p.C; ++c) r.du[c] = load(g.out, m, c) * mask, r.dz[c] = 0;
  for (int64_t i = 0; i < p.I; ++i) r.dh[i] = 0;
  linear_backward(r.h, p.I, r.du, p.C, w.down[0], sums.down, r.dh);
  if (p.gated()) {
    for (int64_t i = 0; i < p.I; ++i) {  // from here on gate and up are their gradients
      const double gate = r.gate[i], s = sigmoid(gate);
      r.gate[i] = r.dh[i] * r.up[i] * (s + gate * s * (1 - s));
      r.up[i] = r.dh[i] * gate * s;
    }
    linear_backward(r.z, p.C, r.gate, p.I, w.gate[0], sums.gate, r.dz);
  } else {
    for (int64_t i = 0; i < p.I; ++i) r.up[i] = r.up[i] > 0 || std::isnan(r.up[i]) ? r.dh[i] : 0;
  }
  linear_backward(r.z, p.C, r.up, p.I, w.up[0], sums.up, r.dz);
  if (!w.norm[0]) return;
  const double channels = static_cast<double>(p.C);
  double sum = 0, product = 0;
  for (int64_t c = 0; c < p.C; ++c) {
    const double normed = (load(p.x, m, c) - mean) * scale, d = r.dz[c] * w.norm[0][c];
    if (sums.norm[0]) sums.norm[0][c] += r.dz[c] * normed;
    if (sums.norm[1]) sums.norm[1][c] += r.dz[c];
    sum += d / channels, product += d * normed / channels;
    r.z[c] = normed, r.dz[c] = d;
  }
  for (int64_t c = 0; c < p.C; ++c) r.dz[c] = scale * (r.dz[c] - sum - r.z[c] * product);
}

Status backward(const Problem &p, const Gradients &g, const Run &run, Failure &failure) {
  double *next = static_cast<double *>(run.workspace);
  const RowRoom room(p, next);
  next += RowRoom::numbers(p);
  Sums sums{};
  for_each_gradient(p, g, sums, [&](const View &view, int64_t rows, int64_t columns, double *&slot) {
    if (!view.present) return;
    slot = next, next += rows * columns;
    for (double *at = slot; at < next; ++at) *at = 0;
  });
  Problem source = p;
  source.packed = next;
  LAMINA_TRY(pack(source, run, failure));
  const Parameters w = unpacked(p, next);
  for (int64_t m = 0; m < p.M; ++m) {
    backward_row(p, g, w, sums, m, room);
    for (int64_t c = 0; c < p.C; ++c) {
      const double out = load(g.out, m, c);
      if (g.x.present) store_scalar(g.x.data, p.dtype, m * g.x.stride[0] + c, room.dz[c]);
      if (g.residual.present) store_scalar(g.residual.data, p.dtype, m * g.residual.stride[0] + c, out);
    }
  }
  for_each_gradient(p, g, sums, [&](const View &view, int64_t rows, int64_t columns, double *&slot) {
    for (int64_t at = 0; view.present && at < rows * columns; ++at)
      store_scalar(view.data, view.dtype, at / columns * view.stride[0] + at % columns * view.stride[1], slot[at]);
  });
  return Status::ok;
}

}  // namespace
}  // namespace lamina::transition
