// What one machine's file gives to layer.cpp.  Each arch's source defines `build`; the linker joins exactly one to layer.cpp.
#pragma once
#include <string_view>

#include "problem.h"

namespace lamina::triangle_multiplication {

#ifndef LAMINA_ARCH
#error "LAMINA_ARCH is the arch's name as a string; the Makefile defines it"
#endif
constexpr std::string_view arch_name = LAMINA_ARCH;

// dtypes of `pair` that this build computes.
constexpr uint64_t activation_dtypes =
    bit(DType::float32) | bit(DType::float16) | bit(DType::bfloat16) | (arch_name == "reference" ? bit(DType::float64) : 0);

struct Device {
  int32_t type, id;
};  // the ABI's numbers: 1 CPU, 2 CUDA, 10 ROCm

struct Run {                  // what a run may use beside the problem
  void *workspace = nullptr;  // workspace_bytes() of it, aligned to workspace_align
  void *stream = nullptr;
  Parallel parallel;  // CPU builds only
  const void *state = nullptr;
};

struct Training;  // training.h

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
  uint64_t (*packed_bytes)(const Problem &, const void *state);                  // depends on C, H, dtypes, settings, presence; not on B, N
  uint64_t (*workspace_bytes)(const Problem &, const void *state, int threads);  // smaller when problem.packed is given
  Status (*pack)(const Problem &, const Run &, Failure &);                       // parameters -> problem.packed
  Status (*forward)(const Problem &, const Run &, Failure &);  // N > 0 and B > 0; packs into the workspace if packed is null
  Parallel (*own_threads)();                                   // CPU builds: this process's pool; null on GPUs
  const Training *training = nullptr;                          // null: this build has no forward_train and no backward
};

extern const Build build;

}  // namespace lamina::triangle_multiplication
