// What one machine's file gives to layer.cpp.  Each arch's source defines `build`; the linker joins exactly one to layer.cpp.
#pragma once
#include <string_view>

#include "problem.h"

namespace lamina::transition {

#ifndef LAMINA_ARCH
#error "LAMINA_ARCH is the arch's name as a string; the Makefile defines it"
#endif
constexpr std::string_view arch_name = LAMINA_ARCH;

// dtypes of `x` that this build computes.
constexpr uint64_t activation_dtypes =
    bit(DType::float32) | bit(DType::float16) | bit(DType::bfloat16) | (arch_name == "reference" ? bit(DType::float64) : 0);

struct Device {
  int32_t type, id;
};  // the ABI's numbers: 1 CPU, 2 CUDA, 10 ROCm

struct Run {                  // what a run may use beside the problem
  void *workspace = nullptr;  // as many bytes as the op's workspace function says, aligned to workspace_align
  void *stream = nullptr;
  Parallel parallel;  // CPU builds only
  const void *state = nullptr;
};

struct Build {
  const char *packed_format;  // names layout and revision of the packed bytes
  int32_t device_type;
  uint64_t workspace_align;
  bool deterministic, capture_safe;
  // Probes the machine, loads kernels; `state` comes back in every later call.  Runs no special instruction before the probe.
  Status (*create)(const Settings &, Device, void **state, Failure &);
  void (*destroy)(void *state);
  // Says unsupported, and why, for problems this build cannot do.  Pure.
  Status (*check)(const Problem &, const void *state, Failure &);
  uint64_t (*packed_bytes)(const Problem &, const void *state);                  // depends on C, I, dtypes, settings, presence; not on M
  uint64_t (*workspace_bytes)(const Problem &, const void *state, int threads);  // of forward and forward_train; smaller when packed
  Status (*pack)(const Problem &, const Run &, Failure &);                       // parameters -> problem.packed
  Status (*forward)(const Problem &, const Run &, Failure &);  // M > 0; packs into the workspace if packed is null; fills saved if not null
  Parallel (*own_threads)();                                   // CPU builds: this process's pool; null on GPUs
  // Training.  A build that lacks it leaves the three null, and its library does not list forward_train and backward.
  uint64_t (*saved_bytes)(const Problem &, const void *state);  // 0 where settings.save_activations is false
  uint64_t (*backward_workspace_bytes)(const Problem &, const Gradients &, const void *state, int threads);
  Status (*backward)(const Problem &, const Gradients &, const Run &,
                     Failure &);  // from raw parameters; M = 0 too: then the parameters' are zeros
};

extern const Build build;

}  // namespace lamina::transition
