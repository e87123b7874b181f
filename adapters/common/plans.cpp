#include "plans.h"

#include <stdlib.h>
#include <string.h>

#include <new>

namespace lamina::adapters {

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

constexpr const char *kind_names[] = {"unknown", "an integer", "a number", "a string"};

}  // namespace

bool Attributes::begin(const lamina_op &op, uint32_t index, uint32_t kind, const char *given, Failure &failure) {
  const lamina_attr &row = op.attrs[index];
  if (rows[index].kind) return fail(failure, Mistake::type, "%s: attribute '%s' is given twice", op.name, row.name);
  if (row.kind != kind)
    return fail(failure, Mistake::type, "%s: attribute '%s' is %s, expected %s", op.name, row.name, given,
                row.kind <= LAMINA_ATTR_STRING ? kind_names[row.kind] : "a newer kind than this adapter knows");
  rows[index] = {row.name, row.kind, 0, {}};
  return true;
}

bool Attributes::set_string(const lamina_op &op, uint32_t index, const char *data, size_t size, Failure &failure) {
  if (!begin(op, index, LAMINA_ATTR_STRING, "a string", failure)) return false;
  if (size >= max_string)
    return fail(failure, Mistake::value, "%s: attribute '%s' has %llu bytes; no value is that long", op.name, op.attrs[index].name,
                static_cast<unsigned long long>(size));
  for (size_t i = 0; i < size; ++i)
    if (data[i] == 0) return fail(failure, Mistake::value, "%s: attribute '%s' has a NUL byte inside", op.name, op.attrs[index].name);
  memcpy(strings[index], data, size);
  strings[index][size] = 0;
  rows[index].value.s = strings[index];
  return true;
}

bool Attributes::set_integer(const lamina_op &op, uint32_t index, int64_t value, Failure &failure) {
  if (op.attrs[index].kind == LAMINA_ATTR_FLOAT) return set_float(op, index, static_cast<double>(value), failure);
  if (!begin(op, index, LAMINA_ATTR_INT, "an integer", failure)) return false;
  rows[index].value.i = value;
  return true;
}

bool Attributes::set_float(const lamina_op &op, uint32_t index, double value, Failure &failure) {
  if (!begin(op, index, LAMINA_ATTR_FLOAT, "a float", failure)) return false;
  rows[index].value.f = value;
  return true;
}

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

bool PlanCache::find_or_create(const lamina_op &op, const Attributes &attributes, lamina_device device, Plan &found, Failure &failure) {
  for (Entry *entry = __atomic_load_n(&head_, __ATOMIC_ACQUIRE); entry; entry = entry->next) {
    if (entry->device.type != device.type || entry->device.id != device.id) continue;
    uint32_t i = 0;
    while (i < op.attr_count && same(entry->attributes[i], attributes.rows[i])) ++i;
    if (i == op.attr_count) return found = {entry->plan, &entry->memo}, true;
  }

  lamina_attr given[max_attributes];
  lamina_plan_desc desc = {};
  desc.struct_size = sizeof desc, desc.device = device, desc.attrs = given;
  size_t bytes = 0;
  for (uint32_t i = 0; i < op.attr_count; ++i) {
    if (!attributes.rows[i].kind) continue;
    given[desc.attr_count++] = attributes.rows[i];
    if (attributes.rows[i].kind == LAMINA_ATTR_STRING) bytes += strlen(attributes.rows[i].value.s) + 1;
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
  entry->plan = plan, entry->device = device;
  memcpy(entry->attributes, attributes.rows, sizeof entry->attributes);
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

}  // namespace lamina::adapters
