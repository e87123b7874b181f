// The specification: plain loops, double accumulators, every switch of the contract, no blocking, no SIMD.
// When a fast build disagrees, this file is right until the contract changes.
#include "build.h"

#include <cmath>

namespace lamina::layernorm_linear {
namespace {

// Packed: doubles, weight [N, K], bias [N], norm_weight [K], norm_bias [K]; what is absent stands there as its default.
int64_t packed_count(const Problem &p) { return p.N * p.K + p.N + p.K + p.K; }
uint64_t packed_bytes(const Problem &p, const void *) { return static_cast<uint64_t>(packed_count(p)) * sizeof(double); }

Status pack(const Problem &p, const Run &, Failure &) {
  double *to = static_cast<double *>(p.packed);
  for (int64_t n = 0; n < p.N; ++n)
    for (int64_t k = 0; k < p.K; ++k) *to++ = load_at(p.weight, n, k);
  for (int64_t i = 0; i < p.N; ++i) *to++ = p.bias.present ? load_at(p.bias, i) : 0.0;
  for (int64_t i = 0; i < p.K; ++i) *to++ = p.norm_weight.present ? load_at(p.norm_weight, i) : 1.0;
  for (int64_t i = 0; i < p.K; ++i) *to++ = p.norm_bias.present ? load_at(p.norm_bias, i) : 0.0;
  return Status::ok;
}

struct Parameters {
  const double *weight, *bias, *norm_weight, *norm_bias;
  explicit Parameters(const Problem &p) : weight(static_cast<const double *>(p.packed)) {
    bias = weight + p.N * p.K;
    norm_weight = bias + p.N;
    norm_bias = norm_weight + p.K;
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
  return (p.packed ? 0 : packed_bytes(p, state)) + static_cast<uint64_t>(p.K) * sizeof(double);
}

struct Statistics {
  double mean, scale;  // scale = 1 / sqrt(variance + eps)
};

Statistics statistics_of(const Problem &p, int64_t m) {
  const double count = static_cast<double>(p.K);
  double mean = 0, variance = 0;
  for (int64_t k = 0; k < p.K; ++k) mean += load_at(p.x, m, k) / count;
  for (int64_t k = 0; k < p.K; ++k) variance += (load_at(p.x, m, k) - mean) * (load_at(p.x, m, k) - mean) / count;
  return {mean, 1 / std::sqrt(variance + p.settings.eps)};
}

uint64_t saved_bytes(const Problem &p, const void *) {
  return p.settings.save_activations ? static_cast<uint64_t>(p.M) * sizeof(Statistics) : 0;
}

Status forward(const Problem &given, const Run &run, Failure &failure) {
  Problem p = given;
  double *z = pack_if_raw(p, run, failure);
  const Parameters w(p);
  for (int64_t m = 0; m < p.M; ++m) {
    const Statistics row = statistics_of(p, m);
    if (p.saved && p.settings.save_activations) static_cast<Statistics *>(p.saved)[m] = row;
    for (int64_t k = 0; k < p.K; ++k) z[k] = (load_at(p.x, m, k) - row.mean) * row.scale * w.norm_weight[k] + w.norm_bias[k];
    for (int64_t n = 0; n < p.N; ++n) {
      double sum = w.bias[n];
      for (int64_t k = 0; k < p.K; ++k) sum += z[k] * w.weight[n * p.K + k];
      store_at(p.out, m, n, sum);
    }
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
  return (p.packed ? 0 : packed_bytes(p, state)) + static_cast<uint64_t>(p.N * p.K + p.N + 4 * p.K) * sizeof(double);
}

Status backward(const Problem &given, const Gradients &gradient, const Run &run, Failure &failure) {
  Problem p = given;
  double *d_weight = pack_if_raw(p, run, failure), *d_bias = d_weight + p.N * p.K, *d_norm_weight = d_bias + p.N;
  double *d_norm_bias = d_norm_weight + p.K, *unit = d_norm_bias + p.K, *d_unit = unit + p.K;  // unit: the row without weight and bias
  const Parameters w(p);
  for (double *at = d_weight; at < unit; ++at) *at = 0;
  for (int64_t m = 0; m < p.M; ++m) {
    const Statistics row = p.settings.save_activations ? static_cast<const Statistics *>(p.saved)[m] : statistics_of(p, m);
    double mean = 0, product = 0;  // of d_unit, of d_unit * unit
    for (int64_t k = 0; k < p.K; ++k) {
      unit[k] = (load_at(p.x, m, k) - row.mean) * row.scale;
      double d_z = 0;
      for (int64_t n = 0; n < p.N; ++n) {
        const double d_out = load_at(gradient.out, m, n);
        d_z += d_out * w.weight[n * p.K + k];
        d_weight[n * p.K + k] += d_out * (unit[k] * w.norm_weight[k] + w.norm_bias[k]);
      }
      d_norm_weight[k] += d_z * unit[k], d_norm_bias[k] += d_z;
      d_unit[k] = d_z * w.norm_weight[k];
      mean += d_unit[k] / static_cast<double>(p.K), product += d_unit[k] * unit[k] / static_cast<double>(p.K);
    }
    for (int64_t n = 0; n < p.N; ++n) d_bias[n] += load_at(gradient.out, m, n);
    if (gradient.x.present)
      for (int64_t k = 0; k < p.K; ++k) store_at(gradient.x, m, k, row.scale * (d_unit[k] - mean - unit[k] * product));
  }
  store_gradient(gradient.weight, p.N, p.K, d_weight), store_gradient(gradient.bias, p.N, 1, d_bias);
  store_gradient(gradient.norm_weight, p.K, 1, d_norm_weight), store_gradient(gradient.norm_bias, p.K, 1, d_norm_bias);
  return Status::ok;
}

Status create(const Settings &, int32_t, void **state, Failure &) { return *state = nullptr, Status::ok; }
void destroy(void *) {}
Status check(const Problem &, const void *, Failure &) { return Status::ok; }

}  // namespace

const Build build = {"layernorm_linear/reference/1",
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

}  // namespace lamina::layernorm_linear
