// The specification: plain loops, double accumulators, every switch of the contract, no blocking, no SIMD.
// When a fast build disagrees, this file is right until the contract changes.
#include "build.h"

#include "kernels/common/scalar.h"

#include <cmath>

namespace lamina::transition {
namespace {

double load(const View &view, int64_t i, int64_t j = 0) {
  return load_scalar(view.data, view.dtype, i * view.stride[0] + j * view.stride[1]);
}

// The parameters in the order of the packed bytes: doubles, absent ones left out.
struct Parameters {
  const double *norm[2], *gate[2], *up[2], *down[2];  // weight and bias
};

// Walks all parameters; `each(view, rows, columns, slot)` with columns = 1 for vectors.
template <class F>
void for_each_parameter(const Problem &p, Parameters &to, F each) {
  each(p.norm.weight, p.C, 1, to.norm[0]), each(p.norm.bias, p.C, 1, to.norm[1]);
  each(p.gate.weight, p.I, p.C, to.gate[0]), each(p.gate.bias, p.I, 1, to.gate[1]);
  each(p.up.weight, p.I, p.C, to.up[0]), each(p.up.bias, p.I, 1, to.up[1]);
  each(p.down.weight, p.C, p.I, to.down[0]), each(p.down.bias, p.C, 1, to.down[1]);
}

uint64_t packed_bytes(const Problem &p, const void *) {
  uint64_t count = 0;
  Parameters none;
  for_each_parameter(p, none, [&](const View &view, int64_t rows, int64_t columns, const double *&) {
    if (view.present) count += static_cast<uint64_t>(rows * columns);
  });
  return count * sizeof(double);
}

Status pack(const Problem &p, const Run &, Failure &) {
  double *to = static_cast<double *>(p.packed);
  Parameters none;
  for_each_parameter(p, none, [&](const View &view, int64_t rows, int64_t columns, const double *&) {
    if (!view.present) return;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) *to++ = load(view, i, j);
  });
  return Status::ok;
}

Parameters unpacked(const Problem &p, const void *packed) {
  Parameters w{};
  const double *next = static_cast<const double *>(packed);
  for_each_parameter(p, w, [&](const View &view, int64_t rows, int64_t columns, const double *&slot) {
    slot = view.present ? next : nullptr;
    if (view.present) next += rows * columns;
  });
  return w;
}

uint64_t workspace_bytes(const Problem &p, const void *state, int) {
  return static_cast<uint64_t>(p.C + p.I) * sizeof(double) + (p.packed ? 0 : packed_bytes(p, state));  // z and h of one row
}

// z = norm of row m; also says mean and 1 / deviation.
void normalised_row(const Problem &p, const Parameters &w, int64_t m, double *z, double &mean, double &scale) {
  const double channels = static_cast<double>(p.C);
  mean = 0, scale = 1;
  for (int64_t c = 0; c < p.C; ++c) z[c] = load(p.x, m, c);
  if (!w.norm[0]) return;
  double variance = 0;
  for (int64_t c = 0; c < p.C; ++c) mean += z[c] / channels;
  for (int64_t c = 0; c < p.C; ++c) variance += (z[c] - mean) * (z[c] - mean) / channels;
  scale = 1 / std::sqrt(variance + p.settings.eps);
  for (int64_t c = 0; c < p.C; ++c) z[c] = (z[c] - mean) * scale * w.norm[0][c] + (w.norm[1] ? w.norm[1][c] : 0);
}

double linear(const double *z, int64_t inputs, const double *const (&parameters)[2], int64_t output) {
  double sum = parameters[1] ? parameters[1][output] : 0;
  for (int64_t c = 0; c < inputs; ++c) sum += z[c] * parameters[0][output * inputs + c];
  return sum;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double activated(const Problem &p, double gate, double up) {
  if (p.gated()) return gate * sigmoid(gate) * up;
  return up > 0 || std::isnan(up) ? up : 0;
}

Status forward(const Problem &p, const Run &run, Failure &failure) {
  double *z = static_cast<double *>(run.workspace), *h = z + p.C;
  Problem source = p;
  if (!p.packed) {
    source.packed = h + p.I;
    LAMINA_TRY(pack(source, run, failure));
  }
  const Parameters w = unpacked(p, source.packed);
  for (int64_t m = 0; m < p.M; ++m) {
    double mean, scale;
    normalised_row(p, w, m, z, mean, scale);
    double *saved = static_cast<double *>(p.saved) + m * 2 * p.I;
    for (int64_t i = 0; i < p.I; ++i) {
      const double gate = p.gated() ? linear(z, p.C, w.gate, i) : 0, up = linear(z, p.C, w.up, i);
      if (p.saved) saved[i] = gate, saved[p.I + i] = up;
      h[i] = activated(p, gate, up);
    }
    const double mask = p.row_mask.present ? load(p.row_mask, m) : 1;
    for (int64_t c = 0; c < p.C; ++c) {
      double u = linear(h, p.I, w.down, c) * mask;
      if (p.residual.present) u += load(p.residual, m, c);
      store_scalar(p.out.data, p.dtype, m * p.out.stride[0] + c, u);
    }
  }
  return Status::ok;
}

uint64_t saved_bytes(const Problem &p, const void *) { return static_cast<uint64_t>(p.M * 2 * p.I) * sizeof(double); }

Status create(const Settings &, Device, void **state, Failure &) { return *state = nullptr, Status::ok; }
void destroy(void *) {}
Status check(const Problem &, const void *, Failure &) { return Status::ok; }

}  // namespace
}  // namespace lamina::transition

#include "reference_backward.h"

namespace lamina::transition {

const Build build = {"transition/reference/1",
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
                     backward_workspace_bytes,
                     backward};

}  // namespace lamina::transition
