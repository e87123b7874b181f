// The specification of training: plain loops, double accumulators.  The second half of reference.cpp, which includes it.
#pragma once

namespace lamina::triangle_multiplication {
namespace {

using Sums = Slots<double *>;

// y = W x + b: adds to the sums of W's and b's gradients, and to dx.
void linear_backward(const double *x, int64_t inputs, const double *dy, int64_t outputs, const double *weight, double *const (&sums)[2],
                     double *dx) {
  for (int64_t o = 0; o < outputs; ++o) {
    if (sums[1]) sums[1][o] += dy[o];
    for (int64_t c = 0; c < inputs; ++c) sums[0][o * inputs + c] += dy[o] * x[c], dx[c] += dy[o] * weight[o * inputs + c];
  }
}

// z = LayerNorm(x): adds to the sums, writes dx, which may be dz.
void norm_backward(const double *x, const double *dz, int64_t channels, double eps, const double *weight, double *const (&sums)[2],
                   double *dx) {
  const double count = static_cast<double>(channels);
  double mean = 0, variance = 0, slope = 0, product = 0;
  for (int64_t c = 0; c < channels; ++c) mean += x[c] / count;
  for (int64_t c = 0; c < channels; ++c) variance += (x[c] - mean) * (x[c] - mean) / count;
  const double scale = 1 / std::sqrt(variance + eps);
  for (int64_t c = 0; c < channels; ++c) {
    const double normed = (x[c] - mean) * scale;
    sums[0][c] += dz[c] * normed, sums[1][c] += dz[c];
    slope += dz[c] * weight[c] / count, product += dz[c] * weight[c] * normed / count;
  }
  for (int64_t c = 0; c < channels; ++c) dx[c] = scale * (dz[c] * weight[c] - slope - (x[c] - mean) * scale * product);
}

// What backward keeps of every pair of one batch entry.
struct Room {
  double *z, *dz, *gate, *a_value, *a_gate, *b_value, *b_gate, *a, *b, *o, *d_o, *da, *db, *parameters, *sums, *row;

  Room(const Problem &p, double *at, int64_t parameter_count) {
    const int64_t pairs = p.N * p.N;
    for (double **part : {&z, &dz}) *part = at, at += pairs * p.C;
    gate = at, at += pairs * p.gate_width();
    for (double **part : {&a_value, &a_gate, &b_value, &b_gate, &a, &b, &o, &d_o, &da, &db}) *part = at, at += pairs * p.H;
    for (double **part : {&parameters, &sums}) *part = at, at += parameter_count;
    row = at;
  }
  // Behind `row` there is room for five vectors of C or H numbers.
  static int64_t numbers(const Problem &p, int64_t parameter_count) {
    const int64_t widest = p.C > p.H ? p.C : p.H;
    return p.N * p.N * (2 * p.C + p.gate_width() + 10 * p.H) + 2 * parameter_count + 5 * widest;
  }
};

int64_t parameter_count(const Problem &p) { return static_cast<int64_t>(packed_bytes(p, nullptr) / sizeof(double)); }

// z, a, b and the output gate, as in the forward pass.
void front(const Problem &p, const Parameters &w, int64_t batch, const Room &r) {
  const int64_t N = p.N, C = p.C, H = p.H, G = p.gate_width();
  for (int64_t ij = 0; ij < N * N; ++ij) {
    double *z = r.z + ij * C;
    for (int64_t c = 0; c < C; ++c) z[c] = load(p.pair, batch, ij / N, ij % N, c);
    if (w.norm_in[0]) layer_norm(z, C, p.settings.eps, w.norm_in, z);
    const double mask = mask_at(p, batch, ij / N, ij % N);
    for (int64_t h = ij * H; h < (ij + 1) * H; ++h) {
      r.a_value[h] = linear(z, C, w.a_projection, h % H), r.a_gate[h] = sigmoid(linear(z, C, w.a_gate, h % H));
      r.b_value[h] = linear(z, C, w.b_projection, h % H), r.b_gate[h] = sigmoid(linear(z, C, w.b_gate, h % H));
      r.a[h] = r.a_value[h] * r.a_gate[h] * mask, r.b[h] = r.b_value[h] * r.b_gate[h] * mask;
    }
    for (int64_t g = 0; g < G; ++g) r.gate[ij * G + g] = sigmoid(linear(z, C, w.out_gate, g));
  }
}

// From out_gradient at one pair to the gradients of o, of z by way of the output gate, and of what lies between.
void back(const Problem &p, const Parameters &w, const Sums &sums, const View &out_gradient, int64_t batch, int64_t ij, const Room &r) {
  const int64_t C = p.C, H = p.H, G = p.gate_width(), i = ij / p.N, j = ij % p.N;
  const double *gate = r.gate + ij * G;
  double *y = r.row, *dy = y + H, *dp = dy + H, *d_gate = dp + C, *input = d_gate + G;
  layer_norm(r.o + ij * H, H, p.settings.eps, w.norm_out, y);
  const bool before = p.settings.gate_before_projection;
  for (int64_t h = 0; h < H; ++h) dy[h] = 0, input[h] = before ? y[h] * gate[h] : y[h];
  for (int64_t c = 0; c < C; ++c) {
    dp[c] = load(out_gradient, batch, i, j, c) * (p.dropout_mask.present ? load(p.dropout_mask, batch, i, j, c) : 1);
    if (before) continue;
    d_gate[c] = dp[c] * linear(y, H, w.out_projection, c);
    dp[c] *= gate[c];
  }
  linear_backward(input, H, dp, C, w.out_projection[0], sums.out_projection, dy);
  for (int64_t h = 0; before && h < H; ++h) d_gate[h] = dy[h] * y[h], dy[h] *= gate[h];
  for (int64_t g = 0; g < G; ++g) d_gate[g] *= gate[g] * (1 - gate[g]);
  linear_backward(r.z + ij * C, C, d_gate, G, w.out_gate[0], sums.out_gate, r.dz + ij * C);
  norm_backward(r.o + ij * H, dy, H, p.settings.eps, w.norm_out[0], sums.norm_out, r.d_o + ij * H);
}

void contract_backward(const Problem &p, const Room &r) {
  const int64_t N = p.N, H = p.H;
  for (int64_t n = 0; n < N * N * H; ++n) r.da[n] = r.db[n] = 0;
  for (int64_t ij = 0; ij < N * N; ++ij)
    for (int64_t k = 0; k < N; ++k) {
      const int64_t i = ij / N, j = ij % N;
      const int64_t left = (p.settings.incoming ? k * N + i : i * N + k) * H, right = (p.settings.incoming ? k * N + j : j * N + k) * H;
      for (int64_t h = 0; h < H; ++h) {
        r.da[left + h] += r.d_o[ij * H + h] * r.b[right + h];
        r.db[right + h] += r.d_o[ij * H + h] * r.a[left + h];
      }
    }
}

// From the gradients of a and b at one pair to those of the four linears and of the pair itself, which ends in r.dz.
void front_backward(const Problem &p, const Parameters &w, const Sums &sums, int64_t batch, int64_t ij, const Room &r) {
  const int64_t C = p.C, H = p.H, at = ij * H;
  const double mask = mask_at(p, batch, ij / p.N, ij % p.N);
  double *d_value = r.row, *d_gate = d_value + H, *x = d_gate + H, *dz = r.dz + ij * C;
  const auto linears = [&](const double *d, const double *value, const double *gate, const double *value_weight, const double *gate_weight,
                           double *const(&value_sums)[2], double *const(&gate_sums)[2]) {
    for (int64_t h = 0; h < H; ++h) {
      d_value[h] = d[at + h] * mask * gate[at + h];
      d_gate[h] = d[at + h] * mask * value[at + h] * gate[at + h] * (1 - gate[at + h]);
    }
    linear_backward(r.z + ij * C, C, d_value, H, value_weight, value_sums, dz);
    linear_backward(r.z + ij * C, C, d_gate, H, gate_weight, gate_sums, dz);
  };
  linears(r.da, r.a_value, r.a_gate, w.a_projection[0], w.a_gate[0], sums.a_projection, sums.a_gate);
  linears(r.db, r.b_value, r.b_gate, w.b_projection[0], w.b_gate[0], sums.b_projection, sums.b_gate);
  if (!w.norm_in[0]) return;
  for (int64_t c = 0; c < C; ++c) x[c] = load(p.pair, batch, ij / p.N, ij % p.N, c);
  norm_backward(x, dz, C, p.settings.eps, w.norm_in[0], sums.norm_in, dz);
}

uint64_t backward_workspace_bytes(const Gradients &g, const void *, int) {
  return static_cast<uint64_t>(Room::numbers(g.p, parameter_count(g.p))) * sizeof(double);
}

Status backward(const Gradients &g, const Run &run, Failure &failure) {
  const Problem &p = g.p;
  const int64_t N = p.N, C = p.C, H = p.H, pairs = N * N, count = parameter_count(p);
  Parameters w{};
  Sums sums{};
  const bool empty = !p.B || !N;
  double none = 0;
  const Room r(p, empty ? &none : static_cast<double *>(run.workspace), empty ? 0 : count);
  if (!empty) {
    LAMINA_TRY(unpack(p, run, r.parameters, w, failure));
    double *next = r.sums;
    for_each_parameter(p, p, sums, [&](const View &view, int64_t rows, int64_t columns, double *&slot) {
      slot = view.present ? next : nullptr;
      if (view.present) next += rows * columns;
    });
    for (int64_t n = 0; n < count; ++n) r.sums[n] = 0;
  }
  for (int64_t batch = 0; N && batch < p.B; ++batch) {
    front(p, w, batch, r);
    if (g.saved)
      for (int64_t n = 0; n < pairs * H; ++n) r.o[n] = static_cast<const double *>(g.saved)[batch * pairs * H + n];
    else contract_pairs(p, r.a, r.b, r.o);
    for (int64_t n = 0; n < pairs * C; ++n) r.dz[n] = 0;
    for (int64_t ij = 0; ij < pairs; ++ij) back(p, w, sums, g.out, batch, ij, r);
    contract_backward(p, r);
    for (int64_t ij = 0; ij < pairs; ++ij) {
      front_backward(p, w, sums, batch, ij, r);
      for (int64_t c = 0; c < C; ++c) {
        const int64_t i = ij / N, j = ij % N;
        if (g.residual.present)  // may be the memory of out_gradient
          store_scalar(g.residual.data, p.dtype, offset(g.residual, batch, i, j, c), load(g.out, batch, i, j, c));
        if (g.pair.present) store_scalar(g.pair.data, p.dtype, offset(g.pair, batch, i, j, c), r.dz[ij * C + c]);
      }
    }
  }
  for_each_parameter(p, g, sums, [&](const View &view, int64_t rows, int64_t columns, double *&sum) {
    if (!view.present) return;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j)
        store_scalar(view.data, view.dtype, i * view.stride[0] + j * view.stride[1], sum ? sum[i * columns + j] : 0);
  });
  return Status::ok;
}

Status create_training(const Settings &settings, Pass, Save, Device device, void **state, Failure &failure) {
  return create(settings, device, state, failure);
}
Status check_training(const Problem &, Pass, Save, const void *, Failure &) { return Status::ok; }
uint64_t saved_bytes(const Problem &p, const void *) { return static_cast<uint64_t>(p.B * p.N * p.N * p.H) * sizeof(double); }
Status forward_saving(const Problem &p, void *saved, const Run &run, Failure &failure) {
  return forward_keeping(p, static_cast<double *>(saved), run, failure);
}

constexpr Training training = {create_training, destroy,        check_training,           saved_bytes,
                               workspace_bytes, forward_saving, backward_workspace_bytes, backward};

}  // namespace
}  // namespace lamina::triangle_multiplication
