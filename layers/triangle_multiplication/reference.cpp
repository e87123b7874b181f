// The specification: plain loops, double accumulators, every switch of the contract, no blocking, no SIMD.
// When a fast build disagrees, this file is right until the contract changes.
#include "kernels/common/scalar.h"
#include "training.h"

#include <cmath>

namespace lamina::triangle_multiplication {
namespace {

int64_t offset(const View &view, int64_t i, int64_t j, int64_t k, int64_t l) {
  return i * view.stride[0] + j * view.stride[1] + k * view.stride[2] + l * view.stride[3];
}
double load(const View &view, int64_t i, int64_t j = 0, int64_t k = 0, int64_t l = 0) {
  return load_scalar(view.data, view.dtype, offset(view, i, j, k, l));
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// The parameters in the order of the packed bytes, weight and bias: doubles, absent ones left out.
template <class Pointer>
struct Slots {
  Pointer norm_in[2], a_projection[2], a_gate[2], b_projection[2], b_gate[2], norm_out[2], out_projection[2], out_gate[2];
};
using Parameters = Slots<const double *>;

// Walks all parameters, or their gradients: `each(view, rows, columns, slot)` with columns = 1 for vectors.
template <class Views, class Pointer, class F>
void for_each_parameter(const Problem &p, const Views &views, Slots<Pointer> &to, F each) {
  const int64_t C = p.C, H = p.H, G = p.gate_width();
  const auto both = [&](const auto &of, int64_t rows, int64_t columns, Pointer(&slot)[2]) {
    each(of.weight, rows, columns, slot[0]), each(of.bias, rows, 1, slot[1]);
  };
  both(views.norm_in, C, 1, to.norm_in);
  both(views.a_projection, H, C, to.a_projection), both(views.a_gate, H, C, to.a_gate);
  both(views.b_projection, H, C, to.b_projection), both(views.b_gate, H, C, to.b_gate);
  both(views.norm_out, H, 1, to.norm_out);
  both(views.out_projection, C, H, to.out_projection), both(views.out_gate, G, C, to.out_gate);
}

uint64_t packed_bytes(const Problem &p, const void *) {
  uint64_t count = 0;
  Parameters none;
  for_each_parameter(p, p, none, [&](const View &view, int64_t rows, int64_t columns, const double *&) {
    if (view.present) count += static_cast<uint64_t>(rows * columns);
  });
  return count * sizeof(double);
}

Status pack(const Problem &p, const Run &, Failure &) {
  double *to = static_cast<double *>(p.packed);
  Parameters none;
  for_each_parameter(p, p, none, [&](const View &view, int64_t rows, int64_t columns, const double *&) {
    if (!view.present) return;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) *to++ = load(view, i, j);
  });
  return Status::ok;
}

uint64_t workspace_bytes(const Problem &p, const void *state, int) {
  const uint64_t channels = static_cast<uint64_t>(p.C + p.gate_width() + 3 * p.H);  // z, output gate, a, b, o of every pair
  const uint64_t pairs = static_cast<uint64_t>(p.N) * static_cast<uint64_t>(p.N);
  return channels * pairs * sizeof(double) + (p.packed ? 0 : packed_bytes(p, state));
}

void layer_norm(const double *x, int64_t channels, double eps, const double *const (&parameters)[2], double *z) {
  double mean = 0, variance = 0;
  for (int64_t c = 0; c < channels; ++c) mean += x[c] / static_cast<double>(channels);
  for (int64_t c = 0; c < channels; ++c) variance += (x[c] - mean) * (x[c] - mean) / static_cast<double>(channels);
  for (int64_t c = 0; c < channels; ++c) z[c] = (x[c] - mean) / std::sqrt(variance + eps) * parameters[0][c] + parameters[1][c];
}

double linear(const double *z, int64_t inputs, const double *const (&parameters)[2], int64_t output) {
  double sum = parameters[1] ? parameters[1][output] : 0;
  for (int64_t c = 0; c < inputs; ++c) sum += z[c] * parameters[0][output * inputs + c];
  return sum;
}

// Points `w` at the packed parameters, which are packed behind `room` first if need be.
Status unpack(const Problem &p, const Run &run, double *room, Parameters &w, Failure &failure) {
  Problem source = p;
  if (!p.packed) {
    source.packed = room;
    LAMINA_TRY(pack(source, run, failure));
  }
  const double *next = static_cast<const double *>(source.packed);
  for_each_parameter(p, p, w, [&](const View &view, int64_t rows, int64_t columns, const double *&slot) {
    slot = view.present ? next : nullptr;
    if (view.present) next += rows * columns;
  });
  return Status::ok;
}

double mask_at(const Problem &p, int64_t batch, int64_t i, int64_t j) {
  if (p.token_mask.present) return load(p.token_mask, batch, i) * load(p.token_mask, batch, j);
  return p.pair_mask.present ? load(p.pair_mask, batch, i, j) : 1;
}

// o of one batch entry: for every pair (i, j) the sum over k of a[i][k] b[j][k], incoming a[k][i] b[k][j].
void contract_pairs(const Problem &p, const double *a, const double *b, double *o) {
  const int64_t N = p.N, H = p.H;
  for (int64_t i = 0; i < N; ++i)
    for (int64_t j = 0; j < N; ++j, o += H) {
      for (int64_t h = 0; h < H; ++h) o[h] = 0;
      for (int64_t k = 0; k < N; ++k) {
        const double *left = a + (p.settings.incoming ? k * N + i : i * N + k) * H,
                     *right = b + (p.settings.incoming ? k * N + j : j * N + k) * H;
        for (int64_t h = 0; h < H; ++h) o[h] += left[h] * right[h];
      }
    }
}

// `saved`, if not null, gets o of every batch entry: what backward would otherwise sum again.
Status forward_keeping(const Problem &p, double *saved, const Run &run, Failure &failure) {
  const int64_t N = p.N, C = p.C, H = p.H, G = p.gate_width(), pairs = N * N;
  double *z = static_cast<double *>(run.workspace), *gate = z + pairs * C, *a = gate + pairs * G, *b = a + pairs * H, *o = b + pairs * H;
  Parameters w{};
  LAMINA_TRY(unpack(p, run, o + pairs * H, w, failure));

  for (int64_t batch = 0; batch < p.B; ++batch) {
    for (int64_t ij = 0; ij < pairs; ++ij) {
      const int64_t i = ij / N, j = ij % N;
      double *row = z + ij * C;
      for (int64_t c = 0; c < C; ++c) row[c] = load(p.pair, batch, i, j, c);
      if (w.norm_in[0]) layer_norm(row, C, p.settings.eps, w.norm_in, row);
      const double mask = mask_at(p, batch, i, j);
      for (int64_t h = 0; h < H; ++h) {
        a[ij * H + h] = linear(row, C, w.a_projection, h) * sigmoid(linear(row, C, w.a_gate, h)) * mask;
        b[ij * H + h] = linear(row, C, w.b_projection, h) * sigmoid(linear(row, C, w.b_gate, h)) * mask;
      }
      for (int64_t g = 0; g < G; ++g) gate[ij * G + g] = sigmoid(linear(row, C, w.out_gate, g));
    }
    contract_pairs(p, a, b, o);
    for (int64_t n = 0; saved && n < pairs * H; ++n) *saved++ = o[n];
    for (int64_t ij = 0; ij < pairs; ++ij) {
      const int64_t i = ij / N, j = ij % N;
      double *row = o + ij * H;
      layer_norm(row, H, p.settings.eps, w.norm_out, row);
      if (p.settings.gate_before_projection)
        for (int64_t h = 0; h < H; ++h) row[h] *= gate[ij * H + h];
      for (int64_t c = 0; c < C; ++c) {
        double u = linear(row, H, w.out_projection, c);
        if (!p.settings.gate_before_projection) u *= gate[ij * C + c];
        if (p.dropout_mask.present) u *= load(p.dropout_mask, batch, i, j, c);
        if (p.residual.present) u += load(p.residual, batch, i, j, c);
        store_scalar(p.out.data, p.dtype, offset(p.out, batch, i, j, c), u);
      }
    }
  }
  return Status::ok;
}

Status forward(const Problem &p, const Run &run, Failure &failure) { return forward_keeping(p, nullptr, run, failure); }

Status create(const Settings &, Device, void **state, Failure &) { return *state = nullptr, Status::ok; }
void destroy(void *) {}
Status check(const Problem &, const void *, Failure &) { return Status::ok; }

}  // namespace
}  // namespace lamina::triangle_multiplication

#include "reference_backward.h"

namespace lamina::triangle_multiplication {

const Build build = {"triangle_multiplication/reference/1",
                     1,
                     64,
                     true,
                     false,
                     create,
                     destroy,
                     check,
                     packed_bytes,
                     workspace_bytes,
                     pack,
                     forward,
                     nullptr,
                     &training};

}  // namespace lamina::triangle_multiplication
