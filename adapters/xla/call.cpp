#include "call.h"

#include <string.h>

namespace lamina::xla {
namespace {

using adapters::max_arguments;

struct OwnAttributes {
  const ByteSpan *build = nullptr, *build_id = nullptr, *op = nullptr;
  const Array *arguments = nullptr, *results = nullptr;
  const int64_t *device = nullptr, *workspace = nullptr;
};

bool is(const ByteSpan &span, const char *word) { return strncmp(word, span.data, span.size) == 0 && word[span.size] == 0; }
bool is_own(const ByteSpan &span) { return span.size > 7 && strncmp(span.data, "lamina_", 7) == 0; }

const int64_t *int64_of(int32_t type, const void *value) {
  const Scalar *scalar = static_cast<const Scalar *>(value);
  return type == attribute_scalar && scalar->dtype == DataType::int64 ? static_cast<const int64_t *>(scalar->value) : nullptr;
}
const Array *int64_array(int32_t type, const void *value) {
  const Array *array = static_cast<const Array *>(value);
  return type == attribute_array && array->dtype == DataType::int64 ? array : nullptr;
}
const ByteSpan *string_of(int32_t type, const void *value) {
  return type == attribute_string ? static_cast<const ByteSpan *>(value) : nullptr;
}

void read_own(const ByteSpan &name, int32_t type, const void *value, OwnAttributes &own) {
  if (is(name, "lamina_build")) own.build = string_of(type, value);
  if (is(name, "lamina_build_id")) own.build_id = string_of(type, value);
  if (is(name, "lamina_op")) own.op = string_of(type, value);
  if (is(name, "lamina_arguments")) own.arguments = int64_array(type, value);
  if (is(name, "lamina_results")) own.results = int64_array(type, value);
  if (is(name, "lamina_device")) own.device = int64_of(type, value);
  if (is(name, "lamina_workspace")) own.workspace = int64_of(type, value);
}

bool check_indices(const lamina_op &op, const Array &array, const char *name, Failure &failure) {
  if (array.size > max_arguments) return fail(failure, Mistake::value, "%s: %s has %zu entries", op.name, name, array.size);
  for (size_t i = 0; i < array.size; ++i)
    if (const int64_t index = static_cast<const int64_t *>(array.data)[i]; index < 0 || index >= op.arg_count)
      return fail(failure, Mistake::value, "%s: %s names argument %lld, the op has %u", op.name, name, static_cast<long long>(index),
                  op.arg_count);
  return true;
}

bool to_dtype(DataType given, lamina_dtype &dtype) {
  switch (given) {
    case DataType::boolean: dtype = {LAMINA_CODE_BOOL, 8, 1}; return true;
    case DataType::int8: dtype = {LAMINA_CODE_INT, 8, 1}; return true;
    case DataType::uint8: dtype = {LAMINA_CODE_UINT, 8, 1}; return true;
    case DataType::int32: dtype = {LAMINA_CODE_INT, 32, 1}; return true;
    case DataType::int64: dtype = {LAMINA_CODE_INT, 64, 1}; return true;
    case DataType::float16: dtype = {LAMINA_CODE_FLOAT, 16, 1}; return true;
    case DataType::bfloat16: dtype = {LAMINA_CODE_BFLOAT, 16, 1}; return true;
    case DataType::float32: dtype = {LAMINA_CODE_FLOAT, 32, 1}; return true;
    case DataType::float64: dtype = {LAMINA_CODE_FLOAT, 64, 1}; return true;
    default: return false;
  }
}

bool to_tensor(const Values &values, uint32_t i, const lamina_arg &row, lamina_device device, lamina_tensor &tensor, Failure &failure) {
  if (values.types[i] != value_buffer) return fail(failure, Mistake::value, "argument '%s' is no buffer", row.name);
  const Buffer &buffer = *static_cast<const Buffer *>(values.values[i]);
  tensor = {buffer.data, device, static_cast<int32_t>(buffer.rank), {}, buffer.dims, nullptr, 0};
  if (!to_dtype(buffer.dtype, tensor.dtype))
    return fail(failure, Mistake::unsupported, "argument '%s' has XLA's data type %d, which no build takes", row.name,
                static_cast<int>(buffer.dtype));
  return true;
}

}  // namespace

bool Site::set_attribute(const lamina_op &op, const ByteSpan &name, int32_t type, const void *value, Failure &failure) {
  uint32_t index = 0;
  while (index < op.attr_count && !is(name, op.attrs[index].name)) ++index;
  const int shown = static_cast<int>(name.size < 60 ? name.size : 60);
  if (index == op.attr_count) return fail(failure, Mistake::type, "%s: unknown attribute '%.*s'", op.name, shown, name.data);
  if (const ByteSpan *text = string_of(type, value)) return attributes.set_string(op, index, text->data, text->size, failure);
  if (type == attribute_scalar) {
    const Scalar &scalar = *static_cast<const Scalar *>(value);
    switch (scalar.dtype) {
      case DataType::boolean: return attributes.set_integer(op, index, *static_cast<const bool *>(scalar.value), failure);
      case DataType::int32: return attributes.set_integer(op, index, *static_cast<const int32_t *>(scalar.value), failure);
      case DataType::int64: return attributes.set_integer(op, index, *static_cast<const int64_t *>(scalar.value), failure);
      case DataType::float32:
        return attributes.set_float(op, index, static_cast<double>(*static_cast<const float *>(scalar.value)), failure);
      case DataType::float64: return attributes.set_float(op, index, *static_cast<const double *>(scalar.value), failure);
      default: break;
    }
  }
  return fail(failure, Mistake::type, "%s: attribute '%.*s' is neither a number nor a string", op.name, shown, name.data);
}

bool Site::read(const CallAttributes &given, Failure &failure) {
  OwnAttributes own;
  for (int64_t i = 0; i < given.size; ++i)
    if (is_own(*given.names[i])) read_own(*given.names[i], given.types[i], given.values[i], own);
  if (!own.build || !own.build_id || !own.op || !own.arguments || !own.results || !own.device || !own.workspace)
    return fail(failure, Mistake::value, "a call of Lamina lacks one of its lamina_* attributes; make it with lamina_jax");
  operation = find_operation(own.build->data, own.build->size, own.build_id->data, own.build_id->size, own.op->data, own.op->size, failure);
  if (!operation) return false;
  const lamina_op &op = *operation->op;
  if (op.arg_count > max_arguments || op.attr_count > adapters::max_attributes)
    return fail(failure, Mistake::internal, "%s: the op has more arguments than the XLA adapter was made for", op.name);
  if (!check_indices(op, *own.arguments, "lamina_arguments", failure) || !check_indices(op, *own.results, "lamina_results", failure))
    return false;
  for (int64_t i = 0; i < given.size; ++i)
    if (!is_own(*given.names[i]) && !set_attribute(op, *given.names[i], given.types[i], given.values[i], failure)) return false;
  workspace_align = static_cast<uint64_t>(*own.workspace);
  if (workspace_align & (workspace_align - 1) || workspace_align > 1 << 20)
    return fail(failure, Mistake::value, "%s: lamina_workspace is %lld, expected 0 or a power of two", op.name,
                static_cast<long long>(*own.workspace));
  device_type = static_cast<int32_t>(*own.device);
  arguments = static_cast<const int64_t *>(own.arguments->data), argument_count = static_cast<uint32_t>(own.arguments->size);
  results = static_cast<const int64_t *>(own.results->data), result_count = static_cast<uint32_t>(own.results->size);
  return true;
}

bool Operands::read(const Site &site, const CallFrame &frame, lamina_device device, Failure &failure) {
  const lamina_op &op = *site.operation->op;
  const uint32_t extra = site.workspace_align != 0;
  if (frame.arguments.size != site.argument_count || frame.results.size != site.result_count + extra)
    return fail(failure, Mistake::value, "%s: %lld operands and %lld results, the attributes speak of %u and %u", op.name,
                static_cast<long long>(frame.arguments.size), static_cast<long long>(frame.results.size), site.argument_count,
                site.result_count + extra);
  for (uint32_t i = 0; i < site.argument_count; ++i) {
    const int64_t index = site.arguments[i];
    if (!to_tensor(frame.arguments, i, op.args[index], device, tensors[index], failure)) return false;
    given[index] = &tensors[index];
  }
  // An argument that is read and written stands in both lists; its result is the same memory.
  for (uint32_t i = 0; i < site.result_count; ++i) {
    const int64_t index = site.results[i];
    if (!to_tensor(frame.results, i, op.args[index], device, tensors[index], failure)) return false;
    given[index] = &tensors[index];
  }
  if (!extra) return true;
  const Buffer &buffer = *static_cast<const Buffer *>(frame.results.values[site.result_count]);
  if (frame.results.types[site.result_count] != value_buffer || buffer.dtype != DataType::uint8 || buffer.rank != 1)
    return fail(failure, Mistake::value, "%s: the workspace must be a uint8 buffer with one dimension", op.name);
  const uint64_t begin = reinterpret_cast<uint64_t>(buffer.data), end = begin + static_cast<uint64_t>(buffer.dims[0]);
  const uint64_t aligned = (begin + site.workspace_align - 1) & ~(site.workspace_align - 1);
  if (aligned <= end) workspace = reinterpret_cast<void *>(aligned), workspace_size = end - aligned;
  return true;
}

}  // namespace lamina::xla
