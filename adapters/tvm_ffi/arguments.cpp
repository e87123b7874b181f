#include "arguments.h"

#include <string.h>

namespace lamina::tvm_ffi {
namespace {

struct Text {
  const char *data = nullptr;  // NULL: the value is no string
  size_t size = 0;

  bool is(const char *word) const { return strncmp(word, data, size) == 0 && word[size] == 0; }
};

// Objects of tvm-ffi have their content behind the header.
template <typename T>
const T *content(const Any &value) {
  return reinterpret_cast<const T *>(value.object + 1);
}

Text text_of(const Any &value) {
  switch (value.type_index) {
    case type_raw_string: return {static_cast<const char *>(value.pointer), strlen(static_cast<const char *>(value.pointer))};
    case type_small_string: return {value.bytes, value.small_length < 8 ? value.small_length : 7};
    case type_string: return {content<ByteArray>(value)->data, content<ByteArray>(value)->size};
    default: return {};
  }
}

const char *kind_name(int32_t type) {
  switch (type) {
    case type_none: return "None";
    case type_int: return "an integer";
    case type_bool: return "a bool";
    case type_float: return "a float";
    case type_raw_string:
    case type_small_string:
    case type_string: return "a string";
    case type_tensor_pointer:
    case type_tensor: return "a tensor";
    default: return "an object of another type";
  }
}

}  // namespace

bool Arguments::set_tensor(const char *op, const char *name, const Any &value, const lamina_tensor *&place, Failure &failure) {
  if (place) return fail(failure, Mistake::type, "%s: argument '%s' is given twice", op, name);
  switch (value.type_index) {
    case type_none: return true;
    case type_tensor_pointer: place = static_cast<const lamina_tensor *>(value.pointer); break;
    case type_tensor: place = content<lamina_tensor>(value); break;
    default:
      return fail(failure, Mistake::type, "%s: argument '%s' is %s, expected a tensor or None", op, name, kind_name(value.type_index));
  }
  return true;
}

bool Arguments::set_attribute(const lamina_op &op, uint32_t index, const Any &value, Failure &failure) {
  switch (value.type_index) {
    case type_none: return true;  // the default
    case type_int:
    case type_bool: return attributes.set_integer(op, index, value.int64, failure);
    case type_float: return attributes.set_float(op, index, value.float64, failure);
    default: break;
  }
  if (const Text text = text_of(value); text.data) return attributes.set_string(op, index, text.data, text.size, failure);
  return fail(failure, Mistake::type, "%s: attribute '%s' is %s, expected a number or a string", op.name, op.attrs[index].name,
              kind_name(value.type_index));
}

bool Arguments::set_named(const lamina_op &op, const Any &name, const Any &value, Failure &failure) {
  const Text word = text_of(name);
  if (!word.data)
    return fail(failure, Mistake::type, "%s: %s stands where a name is expected; after the first string come pairs of a name and a value",
                op.name, kind_name(name.type_index));
  for (uint32_t i = 0; i < op.attr_count; ++i)
    if (word.is(op.attrs[i].name)) return set_attribute(op, i, value, failure);
  for (uint32_t i = 0; i < op.arg_count; ++i)
    if (word.is(op.args[i].name)) return set_tensor(op.name, op.args[i].name, value, tensors[i], failure);
  if (word.is("workspace")) return set_tensor(op.name, "workspace", value, workspace, failure);
  return fail(failure, Mistake::type, "%s: '%.*s' is neither an argument nor an attribute of this op", op.name,
              static_cast<int>(word.size < 60 ? word.size : 60), word.data);
}

bool Arguments::read(const lamina_op &op, const Any *values, int32_t count, Failure &failure) {
  if (op.arg_count > max_arguments || op.attr_count > adapters::max_attributes)
    return fail(failure, Mistake::internal, "%s: the op has more arguments than the tvm-ffi adapter was made for", op.name);
  int32_t at = 0;
  for (; at < count && !text_of(values[at]).data; ++at) {
    if (static_cast<uint32_t>(at) >= op.arg_count)
      return fail(failure, Mistake::type, "%s: takes at most %u arguments by position; attributes come as a name and a value", op.name,
                  op.arg_count);
    if (!set_tensor(op.name, op.args[at].name, values[at], tensors[at], failure)) return false;
  }
  for (; at < count; at += 2) {
    if (at + 1 == count) return fail(failure, Mistake::type, "%s: the last name has no value", op.name);
    if (!set_named(op, values[at], values[at + 1], failure)) return false;
  }
  for (uint32_t i = 0; i < op.arg_count; ++i)
    if (tensors[i]) {
      device = tensors[i]->device;
      break;
    }
  return true;
}

}  // namespace lamina::tvm_ffi
