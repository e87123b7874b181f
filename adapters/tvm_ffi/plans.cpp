#include "plans.h"

#include <stdlib.h>
#include <string.h>

#include <new>

namespace lamina::tvm_ffi {

struct PlanCache::Entry {
  Entry *next;
  lamina_plan *plan;
  NeedMemo memo;
  lamina_device device;
  lamina_attr attributes[max_attributes];  // strings are copies that lie behind the entry
};

namespace {

bool same(const lamina_attr &a, const lamina_attr &b) {
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case 0: return true;
    case LAMINA_ATTR_STRING: return strcmp(a.value.s, b.value.s) == 0;
    default: return a.value.i == b.value.i;  // floats by their bits
  }
}

}  // namespace

bool NeedMemo::matches(const Row &row, const lamina_tensor *tensor) {
  if (!tensor || row.ndim < 0) return !tensor && row.ndim < 0;
  if (row.ndim != tensor->ndim || memcmp(&row.dtype, &tensor->dtype, sizeof row.dtype) != 0 || row.has_data != (tensor->data != nullptr) ||
      row.has_strides != (tensor->strides != nullptr))
    return false;
  for (int32_t dim = 0; dim < row.ndim; ++dim)
    if (row.shape[dim] != tensor->shape[dim] || (row.has_strides && row.strides[dim] != tensor->strides[dim])) return false;
  return true;
}

bool NeedMemo::recall(const lamina_call &call, lamina_need &need) {
  if (!try_lock()) return false;
  bool same_call = count_ == call.tensor_count;
  for (uint32_t i = 0; same_call && i < count_; ++i) same_call = matches(rows_[i], call.tensors[i]);
  if (same_call) need = need_;
  unlock();
  return same_call;
}

void NeedMemo::remember(const lamina_call &call, const lamina_need &need) {
  if (!try_lock()) return;
  count_ = call.tensor_count, need_ = need;
  for (uint32_t i = 0; i < count_; ++i) {
    Row &row = rows_[i];
    const lamina_tensor *tensor = call.tensors[i];
    row.ndim = tensor ? tensor->ndim : -1;
    if (!tensor) continue;
    if (tensor->ndim > max_rank) {
      count_ = 0;
      break;
    }
    row.dtype = tensor->dtype, row.has_data = tensor->data != nullptr, row.has_strides = tensor->strides != nullptr;
    for (int32_t dim = 0; dim < row.ndim; ++dim)
      row.shape[dim] = tensor->shape[dim], row.strides[dim] = row.has_strides ? tensor->strides[dim] : 0;
  }
  unlock();
}

bool PlanCache::find_or_create(const lamina_op &op, const Arguments &arguments, Plan &found, Failure &failure) {
  for (Entry *entry = __atomic_load_n(&head_, __ATOMIC_ACQUIRE); entry; entry = entry->next) {
    if (entry->device.type != arguments.device.type || entry->device.id != arguments.device.id) continue;
    uint32_t i = 0;
    while (i < op.attr_count && same(entry->attributes[i], arguments.attributes[i])) ++i;
    if (i == op.attr_count) return found = {entry->plan, &entry->memo}, true;
  }

  lamina_attr given[max_attributes];
  lamina_plan_desc desc = {};
  desc.struct_size = sizeof desc, desc.device = arguments.device, desc.attrs = given;
  size_t bytes = 0;
  for (uint32_t i = 0; i < op.attr_count; ++i) {
    if (!arguments.attributes[i].kind) continue;
    given[desc.attr_count++] = arguments.attributes[i];
    if (arguments.attributes[i].kind == LAMINA_ATTR_STRING) bytes += strlen(arguments.attributes[i].value.s) + 1;
  }
  lamina_plan *plan = nullptr;
  lamina_error error = {};
  error.struct_size = sizeof error;
  if (!succeeded(op.plan_create(&op, &desc, &plan, &error), error, failure)) return false;
  found = {plan, nullptr};

  const bool room = __atomic_fetch_add(&size_, 1, __ATOMIC_RELAXED) < capacity;
  Entry *entry = room ? static_cast<Entry *>(malloc(sizeof(Entry) + bytes)) : nullptr;
  if (!entry) {
    __atomic_fetch_sub(&size_, 1, __ATOMIC_RELAXED);
    return true;
  }
  new (&entry->memo) NeedMemo;
  entry->plan = plan, entry->device = arguments.device;
  memcpy(entry->attributes, arguments.attributes, sizeof entry->attributes);
  char *copy = reinterpret_cast<char *>(entry + 1);
  for (uint32_t i = 0; i < op.attr_count; ++i)
    if (entry->attributes[i].kind == LAMINA_ATTR_STRING) {
      const size_t length = strlen(entry->attributes[i].value.s) + 1;
      memcpy(copy, entry->attributes[i].value.s, length);
      entry->attributes[i].value.s = copy;
      copy += length;
    }
  // Two threads may put the same plan in; the later one is found first and both are right.
  entry->next = __atomic_load_n(&head_, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(&head_, &entry->next, entry, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {}
  found.memo = &entry->memo;
  return true;
}

}  // namespace lamina::tvm_ffi
