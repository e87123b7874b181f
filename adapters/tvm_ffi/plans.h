// Plans that live as long as the process: one for each device and set of attributes that an op was called with.
#pragma once
#include "arguments.h"

namespace lamina::tvm_ffi {

// What the last call of a plan looked like without its pointers, and the workspace that it needed: the same question is not asked twice.
class NeedMemo {
 public:
  // True where `call` has the shapes, strides, dtypes and missing data of the remembered one.  [thread-safe]
  bool recall(const lamina_call &call, lamina_need &need);
  void remember(const lamina_call &call, const lamina_need &need);

 private:
  struct Row {
    int64_t shape[max_rank], strides[max_rank];
    int32_t ndim;  // -1: no tensor
    lamina_dtype dtype;
    bool has_data, has_strides;
  };
  static bool matches(const Row &row, const lamina_tensor *tensor);
  bool try_lock() { return !__atomic_exchange_n(&locked_, 1, __ATOMIC_ACQUIRE); }
  void unlock() { __atomic_store_n(&locked_, 0, __ATOMIC_RELEASE); }

  int32_t locked_ = 0;  // atomic; who finds it locked asks the plug-in
  uint32_t count_ = 0;  // 0: nothing remembered
  lamina_need need_ = {};
  Row rows_[max_arguments];
};

struct Plan {
  lamina_plan *plan;
  NeedMemo *memo;  // NULL: no cache keeps this plan, whoever got it destroys it
};

class PlanCache {
 public:
  // More sets of attributes than any program has; beyond it a plan lives for one call.
  static constexpr uint32_t capacity = 64;

  // The plan for these arguments.  [thread-safe] [lock-free]
  bool find_or_create(const lamina_op &op, const Arguments &arguments, Plan &plan, Failure &failure);

 private:
  struct Entry;
  Entry *head_ = nullptr;  // atomic; entries are only ever put in front
  uint32_t size_ = 0;      // atomic
};

}  // namespace lamina::tvm_ffi
