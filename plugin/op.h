// What an op of a plug-in is made of: its ABI table, generated from the contract, and the layer's hooks behind it.
#pragma once
#include "abi/lamina_abi.h"
#include "kernels/common/dtype.h"
#include "kernels/common/parallel.h"
#include "kernels/common/status.h"

namespace lamina::plugin {

constexpr int max_arguments = 64, max_attributes = 16, max_rank = 8;

struct AttributeRule {        // beside the lamina_attr of the same index
  const char *const *values;  // of a string attribute
  int value_count;
  double minimum, maximum;  // of a number
};

struct AttributeValue {
  int64_t i = 0;
  double f = 0;
  int index = 0;  // of a string: which of the rule's values
};

// A call whose tensors agree with the argument table: ranks, dtypes, extents, strides, device.
struct BoundCall {
  const lamina_tensor *tensors[max_arguments] = {};  // NULL where absent
  int64_t extents[26] = {};                          // by letter; -1: no argument gave it
  void *stream = nullptr;
  void *workspace = nullptr;
  uint64_t workspace_size = 0;

  bool has(int argument) const { return tensors[argument] != nullptr; }
  int64_t extent(char letter) const { return extents[letter - 'A']; }
  DType dtype(int argument) const;
  // First element; NULL where the argument is absent or its data is.
  void *data(int argument) const;
  // In elements, also where the caller left strides NULL.
  int64_t stride(int argument, int dim) const;
};

struct Need {
  uint64_t workspace_size = 0, packed_size = 0;
  uint64_t saved_size = 0;  // bytes of the SAVED argument for these shapes and attributes; 0: it may be absent
};

struct Facts {  // of the one build that is linked
  int32_t device_type;
  bool deterministic, capture_safe;
  uint64_t workspace_align;
  const char *packed_format;
};

// What a layer does behind a checked call.  `failure.arg` is an index into the op's arguments.
struct Hooks {
  Facts (*facts)();
  Status (*create)(lamina_plan &plan, Failure &);  // sets plan.state
  void (*destroy)(lamina_plan &plan);
  Status (*need)(const lamina_plan &plan, const BoundCall &, Need &, Failure &);  // pure; data may be NULL
  Status (*run)(const lamina_plan &plan, const BoundCall &, Failure &);
};

struct Op : lamina_op {  // lamina_op first: plan_create receives its address
  const char *layer;
  const AttributeRule *rules;
  const Hooks *hooks;
};

// lamina_op's functions, the same for every op of every layer.
lamina_status plan_create(const lamina_op *, const lamina_plan_desc *, lamina_plan **, lamina_error *);
void plan_destroy(lamina_plan *);
lamina_status plan_need(const lamina_plan *, const lamina_call *, lamina_need *, lamina_error *);
lamina_status run(const lamina_plan *, const lamina_call *, lamina_error *);
lamina_status infer(const lamina_plan *, const lamina_call *, lamina_tensor *, lamina_error *);

// `table`, `defaults` and `rules` are the generated ones of this op.
template <int arguments>
constexpr Op make_op(const char *layer, const char *name, uint32_t kind, const lamina_arg (&table)[arguments], const lamina_attr *defaults,
                     const AttributeRule *rules, uint32_t attribute_count, const Hooks &hooks) {
  static_assert(arguments <= max_arguments, "raise max_arguments");
  return {{sizeof(lamina_op), kind, name, table, defaults, arguments, attribute_count, plan_create, plan_destroy, plan_need, run, infer},
          layer,
          rules,
          &hooks};
}

}  // namespace lamina::plugin

// A plan: one op with its attributes and device fixed.
struct lamina_plan {
  const lamina::plugin::Op *op;
  lamina_device device;
  uint32_t flags;
  lamina_host host;  // a copy; all zero where the caller gave none
  lamina::plugin::AttributeValue attributes[lamina::plugin::max_attributes];
  void *state;  // the layer's

  // The host's threads, or none: loop is NULL then and the layer may use its own.
  lamina::Parallel parallel() const {
    if (!host.parallel_for) return {};
    return {host.ctx, host.parallel_for, host.num_threads ? static_cast<int>(host.num_threads) : 0};
  }
};
