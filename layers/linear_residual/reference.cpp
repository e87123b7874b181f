// The specification: plain loops, double accumulators, every switch of the contract, no blocking.
// When a fast build disagrees, this file is right until the contract changes.
#include "build.h"

#include <cmath>

namespace lamina::linear_residual {
namespace {

// Packed: doubles, weight [N, K], bias [N], norm_weight [N], norm_bias [N]; what is absent stands there as its default.
int64_t packed_count(const Problem &p) { return p.N * p.K + p.N + p.N + p.N; }
uint64_t packed_bytes(const Problem &p, const void *) { return static_cast<uint64_t>(packed_count(p)) * sizeof(double); }

Status pack(const Problem &p, const Run &, Failure &) {
  double *to = static_cast<double *>(p.packed);
  for (int64_t n = 0; n < p.N; ++n)
    for (int64_t k = 0; k < p.K; ++k) *to++ = load_at(p.weight, n, k);
  for (int64_t i = 0; i < p.N; ++i) *to++ = p.bias.present ? load_at(p.bias, i) : 0.0;
  for (int64_t i = 0; i < p.N; ++i) *to++ = p.norm_weight.present ? load_at(p.norm_weight, i) : 1.0;
  for (int64_t i = 0; i < p.N; ++i) *to++ = p.norm_bias.present ? load_at(p.norm_bias, i) : 0.0;
  return Status::ok;
}

struct Parameters {
  const double *weight, *bias, *norm_weight, *norm_bias;
  explicit Parameters(const Problem &p) : weight(static_cast<const double *>(p.packed)) {
    bias = weight + p.N * p.K;
    norm_weight = bias + p.N;
    norm_bias = norm_weight + p.N;
  }
};

// Packs into the workspace where the call brings raw weights; returns what is free behind.
double *pack_if_raw(Problem &p, const Run &run, Failure &failure) {
  double *workspace = static_cast<double *>(run.workspace);
  if (p.packed) return workspace;
  p.packed = workspace;
  pack(p, run, failure);
  return workspace + packed_count(p);
}

uint64_t workspace_bytes(const Problem &p, const void *state, int) {
  return (p.packed ? 0 : packed_bytes(p, state)) + static_cast<uint64_t>(p.N) * sizeof(double);
}

bool has_norm(const Problem &p) { return p.settings.norm == NormPlace::after; }

uint64_t saved_bytes(const Problem &p, const void *) {  // u, of which the norm's slope is made
  return p.settings.save_activations && has_norm(p) ? static_cast<uint64_t>(p.M * p.N) * sizeof(double) : 0;
}

void sum_row(const Problem &p, const Parameters &w, int64_t m, double *u) {
  for (int64_t n = 0; n < p.N; ++n) {
    double sum = w.bias[n];
    for (int64_t k = 0; k < p.K; ++k) sum += load_at(p.x, m, k) * w.weight[n * p.K + k];
    u[n] = (p.residual.present ? load_at(p.residual, m, n) : 0) + p.settings.scale * sum;
  }
}

// u becomes (u - mean) / sqrt(variance + eps); returns that divisor's inverse.
double normalise(const Problem &p, double *u) {
  const double count = static_cast<double>(p.N);
  double mean = 0, variance = 0;
  for (int64_t n = 0; n < p.N; ++n) mean += u[n] / count;
  for (int64_t n = 0; n < p.N; ++n) variance += (u[n] - mean) * (u[n] - mean) / count;
  const double scale = 1 / std::sqrt(variance + p.settings.eps);
  for (int64_t n = 0; n < p.N; ++n) u[n] = (u[n] - mean) * scale;
  return scale;
}

Status forward(const Problem &given, const Run &run, Failure &failure) {
  Problem p = given;
  double *u = pack_if_raw(p, run, failure);
  const Parameters w(p);
  for (int64_t m = 0; m < p.M; ++m) {
    sum_row(p, w, m, u);
    if (p.saved && saved_bytes(p, nullptr))
      for (int64_t n = 0; n < p.N; ++n) static_cast<double *>(p.saved)[m * p.N + n] = u[n];
    if (has_norm(p)) normalise(p, u);
    for (int64_t n = 0; n < p.N; ++n) store_at(p.out, m, n, has_norm(p) ? u[n] * w.norm_weight[n] + w.norm_bias[n] : u[n]);
  }
  return Status::ok;
}

// The sums over all rows, in the workspace behind packed.
void store_gradient(const View &to, int64_t rows, int64_t columns, const double *sums) {
  if (!to.present) return;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) store_at(to, i, j, sums[i * columns + j]);
}

uint64_t backward_workspace_bytes(const Problem &p, const Gradients &, const void *state, int) {
  return (p.packed ? 0 : packed_bytes(p, state)) + static_cast<uint64_t>(p.N * p.K + 5 * p.N + p.K) * sizeof(double);
}

Status backward(const Problem &given, const Gradients &gradient, const Run &run, Failure &failure) {
  Problem p = given;
  double *d_weight = pack_if_raw(p, run, failure), *d_bias = d_weight + p.N * p.K, *d_norm_weight = d_bias + p.N;
  double *d_norm_bias = d_norm_weight + p.N, *unit = d_norm_bias + p.N, *d_u = unit + p.N, *d_x = d_u + p.N;
  const Parameters w(p);
  for (double *at = d_weight; at < unit; ++at) *at = 0;
  for (int64_t m = 0; m < p.M; ++m) {
    for (int64_t n = 0; n < p.N; ++n) d_u[n] = load_at(gradient.out, m, n);
    if (has_norm(p)) {
      if (saved_bytes(p, nullptr))
        for (int64_t n = 0; n < p.N; ++n) unit[n] = static_cast<const double *>(p.saved)[m * p.N + n];
      else sum_row(p, w, m, unit);
      const double scale = normalise(p, unit);
      double mean = 0, product = 0;  // of the gradient of unit, of it times unit
      for (int64_t n = 0; n < p.N; ++n) {
        d_norm_weight[n] += d_u[n] * unit[n], d_norm_bias[n] += d_u[n];
        d_u[n] *= w.norm_weight[n];
        mean += d_u[n] / static_cast<double>(p.N), product += d_u[n] * unit[n] / static_cast<double>(p.N);
      }
      for (int64_t n = 0; n < p.N; ++n) d_u[n] = scale * (d_u[n] - mean - unit[n] * product);
    }
    for (int64_t k = 0; k < p.K; ++k) d_x[k] = 0;
    for (int64_t n = 0; n < p.N; ++n) {
      if (gradient.residual.present) store_at(gradient.residual, m, n, d_u[n]);
      const double d_y = p.settings.scale * d_u[n];
      d_bias[n] += d_y;
      for (int64_t k = 0; k < p.K; ++k) d_x[k] += d_y * w.weight[n * p.K + k], d_weight[n * p.K + k] += d_y * load_at(p.x, m, k);
    }
    if (gradient.x.present)
      for (int64_t k = 0; k < p.K; ++k) store_at(gradient.x, m, k, d_x[k]);
  }
  store_gradient(gradient.weight, p.N, p.K, d_weight), store_gradient(gradient.bias, p.N, 1, d_bias);
  store_gradient(gradient.norm_weight, p.N, 1, d_norm_weight), store_gradient(gradient.norm_bias, p.N, 1, d_norm_bias);
  return Status::ok;
}

Status create(const Settings &, int32_t, void **state, Failure &) { return *state = nullptr, Status::ok; }
void destroy(void *) {}
Status check(const Problem &, const void *, Failure &) { return Status::ok; }

}  // namespace

const Build build = {"linear_residual/reference/1",
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
                     saved_bytes,
                     forward,
                     backward_workspace_bytes,
                     backward};

}  // namespace lamina::linear_residual
