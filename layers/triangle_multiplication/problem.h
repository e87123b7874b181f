// One call of triangle multiplication after layer.cpp has checked it: what every build computes from.
//
//   z = norm_in(pair);  a = (z Ap' + ap) * sigmoid(z Ag' + ag) * mask;  b alike
//   o_ij = sum_k a_ik b_jk (outgoing) or sum_k a_ki b_kj (incoming)
//   u = (norm_out(o) Z' + z0) * sigmoid(z G' + g0), or the gate before the projection
//   out = residual + dropout_mask * u
//
// The attribute `operands` is already applied: "ba" has exchanged a and b here.
#pragma once
#include "kernels/common/dtype.h"
#include "kernels/common/parallel.h"
#include "kernels/common/status.h"

namespace lamina::triangle_multiplication {

// A tensor by pointer and strides in elements; unused dimensions have stride 0.  Not present: the optional argument is absent.
// Present without data: a parameter's descriptor beside packed weights.
struct View {
  void *data = nullptr;
  DType dtype = DType::float32;
  bool present = false;
  int64_t stride[4] = {};
};

struct Norm {
  View weight, bias;
};  // [channels]; weight not present: no norm
struct Linear {
  View weight, bias;
};  // weight [outputs, inputs], any strides; bias [outputs], optional

enum class Compute : uint8_t { exact, tf32, bf16, fp16 };

struct Settings {  // a plan's attributes
  bool incoming = false;
  bool operands_exchanged = false;  // already applied to Problem's a and b
  bool gate_before_projection = false;
  bool contraction_fp32 = false;     // a, b and o must not be rounded to 16 bits
  Compute compute = Compute::exact;  // the least precise arithmetic allowed for float32 tensors
  double eps = 1e-5;
};

struct Problem {
  Settings settings;
  int64_t B = 0, N = 0, C = 0, H = 0;
  DType dtype = DType::float32;                       // of pair, residual and out
  View pair, residual, out;                           // [B, N, N, C], stride[3] == 1; out may be the memory of pair or residual, or both
  View dropout_mask;                                  // [B, N, N, C], any strides, 0 included; dtype or float32
  View pair_mask;                                     // [B, N, N], any strides, any dtype
  View token_mask;                                    // [B, N]; never beside pair_mask
  Norm norm_in, norm_out;                             // [C], [H]
  Linear a_projection, a_gate, b_projection, b_gate;  // [H, C]
  Linear out_projection;                              // [C, H]
  Linear out_gate;                                    // [C, C] after the projection, [H, C] before it
  void *packed = nullptr;                             // 64-byte aligned; op pack writes it, forward reads it if not null

  int64_t gate_width() const { return settings.gate_before_projection ? H : C; }
};

}  // namespace lamina::triangle_multiplication
