// One call of the transition after layer.cpp has checked it: what every build computes from.
//
//   z = norm(x);  h = silu(z G' + g) * (z U' + u), or relu(z U' + u);  out = residual + row_mask * (h D' + d)
#pragma once
#include "kernels/common/parallel.h"
#include "kernels/common/status.h"
#include "kernels/common/view.h"

namespace lamina::transition {

struct Norm {
  View weight, bias;  // [C]; weight not present: no norm; bias not present: zeros
};
struct Linear {
  View weight, bias;  // weight [outputs, inputs], any strides; bias [outputs], optional
};

enum class Activation : uint8_t { swiglu, relu };
enum class Compute : uint8_t { exact, tf32, bf16, fp16 };

struct Settings {  // a plan's attributes
  Activation activation = Activation::swiglu;
  Compute compute = Compute::exact;  // the least precise arithmetic allowed for float32 tensors
  double eps = 1e-5;
  bool save_activations = false;   // forward_train keeps, and backward reads, more than x and the parameters
  bool float32_gradients = false;  // gradients of parameters are float32, not of the parameter's dtype
};

struct Problem {
  Settings settings;
  int64_t M = 0, C = 0, I = 0;
  DType dtype = DType::float32;  // of x, residual and out
  View x, residual, out;         // [M, C], stride[1] == 1; out may be the memory of x or residual, or both; backward has no out
  View row_mask;                 // [M], any stride, any dtype
  Norm norm;
  Linear gate, up;         // [I, C]; gate is there if and only if the activation is swiglu
  Linear down;             // [C, I]
  void *packed = nullptr;  // 64-byte aligned; op pack writes it, forward reads it if not null
  void *saved = nullptr;   // 64-byte aligned, saved_bytes() long; forward_train writes it, backward reads it; null where that is 0

  bool gated() const { return settings.activation == Activation::swiglu; }
};

// What backward reads and writes beside a Problem's x, row_mask and parameters.  A gradient that is not present is not wanted; every other
// is overwritten.  With du = row_mask * out:
//
//   dh = du D;  dD = du' h;  dup = dh * silu(gate);  dgate = dh * up * silu'(gate);  relu: dup = dh where up > 0
//   dG = dgate' z;  dU = dup' z;  dz = dgate G + dup U;  x = norm backward of dz;  biases sum over rows
struct Gradients {
  View out;   // [M, C], stride[1] == 1: the incoming gradient, of x's dtype
  View x;     // [M, C], stride[1] == 1
  Norm norm;  // of the parameters, with their shapes, any strides, each in one dtype of float32 and its parameter's
  Linear gate, up, down;
  View residual;  // [M, C], stride[1] == 1: a copy of out; may be its memory, then there is nothing to do
};

}  // namespace lamina::transition
