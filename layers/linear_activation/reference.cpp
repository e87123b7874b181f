// The specification: plain loops, double accumulators, every switch of the contract, no blocking, no SIMD.
// When a fast build disagrees, this file is right until the contract changes.
#include "build.h"

#include <cmath>

namespace lamina::linear_activation {
namespace {

// Packed: doubles, weight [N, K], bias [N]; what is absent stands there as its default.
int64_t packed_count(const Problem &p) { return p.N * p.K + p.N; }
uint64_t packed_bytes(const Problem &p, const void *) { return static_cast<uint64_t>(packed_count(p)) * sizeof(double); }

Status pack(const Problem &p, const Run &, Failure &) {
  double *to = static_cast<double *>(p.packed);
  for (int64_t n = 0; n < p.N; ++n)
    for (int64_t k = 0; k < p.K; ++k) *to++ = load_at(p.weight, n, k);
  for (int64_t i = 0; i < p.N; ++i) *to++ = p.bias.present ? load_at(p.bias, i) : 0.0;
  return Status::ok;
}

struct Parameters {
  const double *weight, *bias;
  explicit Parameters(const Problem &p) : weight(static_cast<const double *>(p.packed)) { bias = weight + p.N * p.K; }
};

// Packs into the workspace where the call brings raw weights; returns what is free behind.
double *pack_if_raw(Problem &p, const Run &run, Failure &failure) {
  double *workspace = static_cast<double *>(run.workspace);
  if (p.packed) return workspace;
  p.packed = workspace;
  pack(p, run, failure);
  return workspace + packed_count(p);
}

uint64_t workspace_bytes(const Problem &p, const void *state, int) { return p.packed ? 0 : packed_bytes(p, state); }

uint64_t saved_bytes(const Problem &p, const void *) {  // y, whose slope backward needs
  if (!p.settings.save_activations || p.settings.activation == Activation::none) return 0;
  return static_cast<uint64_t>(p.M * p.N) * sizeof(double);
}

struct Point {
  double value, slope;
};

Point activate(Activation activation, double y) {
  const auto swish = [y](double s, double d_argument) {  // y s(argument), s the logistic function
    return Point{y * s, s + y * s * (1 - s) * d_argument};
  };
  const auto logistic = [](double t) { return 1 / (1 + std::exp(-t)); };
  switch (activation) {
    case Activation::none: return {y, 1};
    case Activation::relu: return {y < 0 ? 0 : y, y > 0 ? 1.0 : 0.0};
    case Activation::gelu_erf: {
      const double area = std::erfc(-y / std::sqrt(2.0)) / 2, density = std::exp(-y * y / 2) / std::sqrt(2 * M_PI);
      return {y * area, area + y * density};
    }
    case Activation::gelu_tanh: {  // (1 + tanh t) / 2 is the logistic function of 2 t
      const double root = std::sqrt(2 / M_PI);
      return swish(logistic(2 * root * (y + 0.044715 * y * y * y)), 2 * root * (1 + 3 * 0.044715 * y * y));
    }
    case Activation::gelu_sigmoid: return swish(logistic(1.702 * y), 1.702);
    case Activation::silu: return swish(logistic(y), 1);
  }
  return {};
}

double linear(const Problem &p, const Parameters &w, int64_t m, int64_t n) {
  double sum = w.bias[n];
  for (int64_t k = 0; k < p.K; ++k) sum += load_at(p.x, m, k) * w.weight[n * p.K + k];
  return sum;
}

Status forward(const Problem &given, const Run &run, Failure &failure) {
  Problem p = given;
  pack_if_raw(p, run, failure);
  const Parameters w(p);
  for (int64_t m = 0; m < p.M; ++m)
    for (int64_t n = 0; n < p.N; ++n) {
      const double y = linear(p, w, m, n);
      if (p.saved && saved_bytes(p, nullptr)) static_cast<double *>(p.saved)[m * p.N + n] = y;
      store_at(p.out, m, n, activate(p.settings.activation, y).value);
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
  return (p.packed ? 0 : packed_bytes(p, state)) + static_cast<uint64_t>(p.N * p.K + p.N + p.K) * sizeof(double);
}

Status backward(const Problem &given, const Gradients &gradient, const Run &run, Failure &failure) {
  Problem p = given;
  double *d_weight = pack_if_raw(p, run, failure), *d_bias = d_weight + p.N * p.K, *d_x = d_bias + p.N;
  const Parameters w(p);
  for (double *at = d_weight; at < d_x; ++at) *at = 0;
  for (int64_t m = 0; m < p.M; ++m) {
    for (int64_t k = 0; k < p.K; ++k) d_x[k] = 0;
    for (int64_t n = 0; n < p.N; ++n) {
      const double y = saved_bytes(p, nullptr) ? static_cast<const double *>(p.saved)[m * p.N + n] : linear(p, w, m, n);
      const double d_y = load_at(gradient.out, m, n) * activate(p.settings.activation, y).slope;
      d_bias[n] += d_y;
      for (int64_t k = 0; k < p.K; ++k) d_x[k] += d_y * w.weight[n * p.K + k], d_weight[n * p.K + k] += d_y * load_at(p.x, m, k);
    }
    if (gradient.x.present)
      for (int64_t k = 0; k < p.K; ++k) store_at(gradient.x, m, k, d_x[k]);
  }
  store_gradient(gradient.weight, p.N, p.K, d_weight), store_gradient(gradient.bias, p.N, 1, d_bias);
  return Status::ok;
}

Status create(const Settings &, int32_t, void **state, Failure &) { return *state = nullptr, Status::ok; }
void destroy(void *) {}
Status check(const Problem &, const void *, Failure &) { return Status::ok; }

}  // namespace

const Build build = {"linear_activation/reference/1",
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

}  // namespace lamina::linear_activation
