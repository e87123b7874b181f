// One linear map over rows with what may stand before and after it: the problem that layers of that form hand to a machine.
//
//   z   = norm before ? LayerNorm(x) : x                         [M, K]
//   y   = activation(z weight' + bias)                           [M, N]
//   u   = residual + scale * y                                   [M, N]
//   out = norm after ? LayerNorm(u) : u
//
// A LayerNorm is over the row; its weight absent is 1, its bias absent is 0.  A layer uses what it needs of this and leaves the rest at its
// default.  Knows no machine: CPU, CUDA and HIP builds read the same struct.
#pragma once
#include <cstdint>

#include "parallel.h"
#include "status.h"
#include "view.h"

namespace lamina {

enum class Activation : uint8_t {
  none,
  relu,
  gelu_erf,      // y (1 + erf(y / sqrt 2)) / 2
  gelu_tanh,     // y (1 + tanh(sqrt(2 / pi) (y + 0.044715 y^3))) / 2
  gelu_sigmoid,  // y / (1 + exp(-1.702 y))
  silu           // y / (1 + exp(-y))
};
enum class NormPlace : uint8_t { none, before, after };
enum class Compute : uint8_t { exact, tf32, bf16, fp16 };  // the least precise arithmetic allowed for float32 tensors

// What a plan fixes.
struct RowLinearSettings {
  NormPlace norm = NormPlace::none;
  Activation activation = Activation::none;
  Compute compute = Compute::exact;
  bool save_activations = false;  // forward_train keeps what backward would compute again
  double eps = 1e-5, scale = 1;   // scale multiplies the branch beside the residual
};

struct RowLinear {
  RowLinearSettings settings;
  int64_t M = 0, K = 0, N = 0;   // each at least 1 when a build is called to compute; backward is called with M = 0 too
  DType dtype = DType::float32;  // of x, residual, out and their gradients
  View x;                        // [M, K], stride[1] == 1
  View residual, out;            // [M, N], stride[1] == 1; residual optional; out may be the memory of residual
  View weight, bias;             // [N, K] and [N], any strides; dtype or float32; bias optional
  View norm_weight, norm_bias;   // [K] before, [N] after; both optional
  void *packed = nullptr;        // 64-byte aligned; op pack writes it, forward, forward_train and backward read it if not null
  void *saved = nullptr;         // 64-byte aligned; forward_train writes it, backward reads it
};

// What backward reads and writes beside the above; an absent gradient is not wanted.  residual_gradient may be the memory of out_gradient.
// Gradients of parameters have the parameter's dtype or float32, any strides.
struct RowLinearGradients {
  View out;                     // [M, N], stride[1] == 1: read
  View x, residual;             // [M, K], [M, N], stride[1] == 1
  View weight, bias;            // [N, K], [N]
  View norm_weight, norm_bias;  // as the parameters
};

struct RowLinearRun {         // what a run may use beside the problem
  void *workspace = nullptr;  // as many bytes as the build asked for, aligned to workspace_align
  void *stream = nullptr;
  Parallel parallel;  // CPU builds only
  const void *state = nullptr;
};

// What one machine's file gives to layer.cpp.  Functions that say nothing else are pure and thread-safe; `state` is what create made.
struct RowLinearBuild {
  const char *packed_format;  // names layout and revision of the packed bytes
  int32_t device_type;        // the ABI's number: 1 CPU, 2 CUDA, 10 ROCm
  uint64_t workspace_align;
  bool deterministic, capture_safe;
  // Probes the machine, loads kernels.  Runs no special instruction before the probe.
  Status (*create)(const RowLinearSettings &, int32_t device_id, void **state, Failure &);
  void (*destroy)(void *state);
  // Says unsupported, and why, for problems this build cannot do.
  Status (*check)(const RowLinear &, const void *state, Failure &);
  uint64_t (*packed_bytes)(const RowLinear &, const void *state);  // depends on K, N, dtypes, settings, presence; not on M
  uint64_t (*workspace_bytes)(const RowLinear &, const void *state,
                              int threads);                               // of forward and forward_train; less where packed is given
  Status (*pack)(const RowLinear &, const RowLinearRun &, Failure &);     // parameters -> packed
  Status (*forward)(const RowLinear &, const RowLinearRun &, Failure &);  // packs into the workspace where packed is null
  Parallel (*own_threads)();                                              // CPU builds: this process's pool; null on GPUs
  // Training; null where this build has none, and its ops then say so.  forward_train is forward that also writes saved.
  uint64_t (*saved_bytes)(const RowLinear &, const void *state);
  Status (*forward_train)(const RowLinear &, const RowLinearRun &, Failure &);
  uint64_t (*backward_workspace_bytes)(const RowLinear &, const RowLinearGradients &, const void *state, int threads);
  // With M = 0 it stores zeros for the parameters.
  Status (*backward)(const RowLinear &, const RowLinearGradients &, const RowLinearRun &, Failure &);
};

}  // namespace lamina
