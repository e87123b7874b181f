// Plans that live as long as the process: one for each device and set of attributes that an op was called with.
#pragma once
#include "failure.h"

namespace lamina::adapters {

constexpr uint32_t max_arguments = 64, max_attributes = 16, max_string = 128;
constexpr int32_t max_rank = 8;

// The attributes that a call names, by the op's own index; kind 0: not given, the default holds.
struct Attributes {
  lamina_attr rows[max_attributes] = {};
  char strings[max_attributes][max_string];  // NUL-terminated copies of string values

  // Of an attribute whose kind is known to be right.  A string is copied; it may lack a NUL at its end and must have none inside.
  bool set_string(const lamina_op &op, uint32_t index, const char *data, size_t size, Failure &failure);
  // A float may be given as a whole number.
  bool set_integer(const lamina_op &op, uint32_t index, int64_t value, Failure &failure);
  bool set_float(const lamina_op &op, uint32_t index, double value, Failure &failure);

 private:
  bool begin(const lamina_op &op, uint32_t index, uint32_t kind, const char *given, Failure &failure);
};

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

  // The plan of `op`, always the same op for one cache.  [thread-safe] [lock-free]
  bool find_or_create(const lamina_op &op, const Attributes &attributes, lamina_device device, Plan &plan, Failure &failure);

 private:
  struct Entry;
  Entry *head_ = nullptr;  // atomic; entries are only ever put in front
  uint32_t size_ = 0;      // atomic
};

}  // namespace lamina::adapters
