// What XLA's call frame says, in Lamina's words.
//
// The attributes of a call site: lamina_build (path), lamina_build_id, lamina_op, lamina_device (LAMINA_CPU, LAMINA_CUDA, ...),
// lamina_arguments and lamina_results (int64 arrays: which argument of the op each operand and each result is), lamina_workspace (0: none;
// else one more result, bytes with room for the workspace at this alignment); every other name is an attribute of the op.
#pragma once
#include "builds.h"
#include "xla_ffi.h"

namespace lamina::xla {

struct Site {
  Operation *operation = nullptr;
  int32_t device_type = LAMINA_CPU;
  const int64_t *arguments = nullptr, *results = nullptr;  // indices into the op's argument table, checked
  uint32_t argument_count = 0, result_count = 0;
  uint64_t workspace_align = 0;  // 0: there is no workspace
  adapters::Attributes attributes;

  // Loads the build if this process has not yet.
  bool read(const CallAttributes &given, Failure &failure);

 private:
  bool set_attribute(const lamina_op &op, const ByteSpan &name, int32_t type, const void *value, Failure &failure);
};

struct Operands {
  lamina_tensor tensors[adapters::max_arguments];
  const lamina_tensor *given[adapters::max_arguments] = {};
  void *workspace = nullptr;
  uint64_t workspace_size = 0;

  bool read(const Site &site, const CallFrame &frame, lamina_device device, Failure &failure);
};

}  // namespace lamina::xla
