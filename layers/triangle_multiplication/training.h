// What training needs of a build beside forward and pack, and one call of backward after layer.cpp has checked it.  A build without
// these ops leaves Build::training null; its library then does not list them.
#pragma once
#include "build.h"

namespace lamina::triangle_multiplication {

enum class Save : uint8_t { nothing, activations };  // the attribute `save`
enum class Pass : uint8_t { forward, backward };

// Backward computes d sum(out * out_gradient) / dX for each X whose view is present; every view's data is overwritten.
// With g = dropout_mask * out_gradient, s the sigmoid of the output gate, y = norm_out(o):
//   after the projection    dp = g s;  ds = g (y Z' + z0);  dy = dp Z
//   before it               dp = g;    ds = (dp Z) y;       dy = (dp Z) s       and Z's gradient sums dp (y s)
//   do = norm_out backward of dy;  da_ik = sum_j do_ij b_jk;  db_jk = sum_i do_ij a_ik  (incoming: da_ki, db_kj from b_kj, a_ki)
//   dz = sum over the four linears and the output gate of d(linear) W;  dpair = norm_in backward of dz
struct Gradients {
  Problem p;            // without residual, out and packed; operands are exchanged already, below too
  View out;             // [B, N, N, C], read; stride[3] == 1
  View pair, residual;  // [B, N, N, C], stride[3] == 1; residual may be the memory of `out`
  // Of the parameters: the shapes of the parameters, any strides, dtype of the parameter or float32; sums are kept in float32.
  Norm norm_in, norm_out;
  Linear a_projection, a_gate, b_projection, b_gate, out_projection, out_gate;
  Save save = Save::nothing;
  const void *saved = nullptr;  // what forward_train left, 64-byte aligned; null with Save::nothing
};

struct Training {
  // Plans of backward, and those of forward_train with Save::activations; with Save::nothing forward_train is forward, plan and all.
  Status (*create)(const Settings &, Pass, Save, Device, void **state, Failure &);
  void (*destroy)(void *state);
  // Says unsupported, and why, for problems this build cannot do.  Pure.
  Status (*check)(const Problem &, Pass, Save, const void *state, Failure &);
  uint64_t (*saved_bytes)(const Problem &, const void *state);  // Save::activations: the same from plans of both passes
  // Save::activations; packed weights in problem.packed as in forward, packed into the workspace if null.
  uint64_t (*forward_workspace_bytes)(const Problem &, const void *state, int threads);
  Status (*forward)(const Problem &, void *saved, const Run &, Failure &);
  // Depends on which gradients are present.  Pointers may be null; `present` counts.
  uint64_t (*backward_workspace_bytes)(const Gradients &, const void *state, int threads);
  // Also called with B or N = 0, and no workspace then: the gradients of parameters become zeros.
  Status (*backward)(const Gradients &, const Run &, Failure &);
};

}  // namespace lamina::triangle_multiplication
