#include "bind.h"

#include <cstring>

#include "growable.h"

namespace lamina::plugin {
namespace {

static_assert(bit(DType::float64) == LAMINA_BIT_FLOAT64 && bit(DType::bfloat16) == LAMINA_BIT_BFLOAT16 &&
                  bit(DType::boolean) == LAMINA_BIT_BOOL && bit(DType::int64) == LAMINA_BIT_INT64,
              "DType follows the order of the ABI's dtype bits");
static_assert(static_cast<int>(Status::internal) == LAMINA_INTERNAL, "Status has the ABI's numbers");

constexpr lamina_dtype dtypes[] = {{LAMINA_CODE_FLOAT, 64, 1},  {LAMINA_CODE_FLOAT, 32, 1}, {LAMINA_CODE_FLOAT, 16, 1},
                                   {LAMINA_CODE_BFLOAT, 16, 1}, {LAMINA_CODE_BOOL, 8, 1},   {LAMINA_CODE_INT, 8, 1},
                                   {LAMINA_CODE_UINT, 8, 1},    {LAMINA_CODE_INT, 32, 1},   {LAMINA_CODE_INT, 64, 1}};

struct Words {  // walks "B N N C" word by word
  const char *at;
  bool next(char &letter, int64_t &exact) {
    while (*at == ' ') ++at;
    if (!*at) return false;
    letter = 0, exact = 0;
    if (*at >= 'A' && *at <= 'Z') {
      letter = *at++;
    } else {
      while (*at >= '0' && *at <= '9') exact = exact * 10 + (*at++ - '0');
    }
    return true;
  }
};

int rank_of(const char *shape) {
  int rank = 0;
  char letter;
  int64_t exact;
  for (Words words{shape}; words.next(letter, exact);) ++rank;
  return rank;
}

struct Binder {
  const lamina_plan &plan;
  BoundCall &bound;
  Failure &failure;
  Memory memory;
  int8_t from_argument[26] = {}, from_dim[26] = {};            // where a letter's extent was first seen
  uint64_t low[max_arguments] = {}, high[max_arguments] = {};  // the bytes of each argument: [low, high)

  const lamina_arg &argument(int i) const { return plan.op->args[i]; }

  [[gnu::format(printf, 5, 6)]] Status refuse(Status status, int i, int dim, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char text[200];
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    failure.arg = i, failure.dim = dim;
    return fail(failure, status, "%s.%s: argument %d '%s': %s", plan.op->layer, plan.op->name, i, argument(i).name, text);
  }

  Status check_dtype(int i) {
    const lamina_arg &row = argument(i);
    DType dtype;
    const lamina_dtype given = bound.tensors[i]->dtype;
    if (!dtype_from(given, dtype))
      return refuse(Status::unsupported, i, -1, "dtype (code %u, %u bits, %u lanes) is unknown", given.code, given.bits, given.lanes);
    if (!(row.dtypes & bit(dtype))) {
      const bool known = row.role == LAMINA_PACKED || row.role == LAMINA_SAVED;
      return refuse(known ? Status::invalid_argument : Status::unsupported, i, -1, "this build does not take %s here", name_of(dtype));
    }
    if (row.dtype_of >= 0 && !bound.tensors[row.dtype_of] && row.role == LAMINA_OUTPUT)
      return refuse(Status::invalid_argument, i, -1, "belongs to argument %d '%s', which is absent", row.dtype_of,
                    argument(row.dtype_of).name);
    if (row.dtype_of >= 0 && bound.tensors[row.dtype_of]) {
      DType other;
      if (!dtype_from(bound.tensors[row.dtype_of]->dtype, other)) return Status::ok;  // refused where it stands
      const bool is_output = row.role == LAMINA_OUTPUT, or_float32 = (row.flags & LAMINA_OR_FLOAT32) && !is_output;
      if (is_output && (row.flags & LAMINA_OR_FLOAT32)) {  // what is written has one right dtype, and the attribute says which
        const DType right = wants_float32_gradients(plan) ? DType::float32 : other;
        if (dtype == right) return Status::ok;
        return refuse(Status::invalid_argument, i, -1, "dtype is %s, expected %s as attribute 'gradient_dtype' says", name_of(dtype),
                      name_of(right));
      }
      if (dtype != other && !(or_float32 && dtype == DType::float32))
        return refuse(Status::invalid_argument, i, -1, "dtype is %s, expected %s%s as argument %d '%s'", name_of(dtype), name_of(other),
                      or_float32 && other != DType::float32 ? " or float32" : "", row.dtype_of, argument(row.dtype_of).name);
    }
    return Status::ok;
  }

  Status check_shape(int i) {
    const lamina_arg &row = argument(i);
    const lamina_tensor &tensor = *bound.tensors[i];
    const int rank = rank_of(row.shape);
    if (tensor.ndim != rank)
      return refuse(Status::invalid_argument, i, -1, "rank is %d, expected %d for [%s]", tensor.ndim, rank, row.shape);
    if (rank && !tensor.shape) return refuse(Status::invalid_argument, i, -1, "shape is NULL");
    char letter;
    int64_t exact;
    int dim = 0;
    for (Words words{row.shape}; words.next(letter, exact); ++dim) {
      const int64_t extent = tensor.shape[dim];
      if (extent < 0) return refuse(Status::invalid_argument, i, dim, "dimension %d is %lld", dim, static_cast<long long>(extent));
      if (!letter) {
        if (extent != exact)
          return refuse(Status::invalid_argument, i, dim, "dimension %d is %lld, expected %lld", dim, static_cast<long long>(extent),
                        static_cast<long long>(exact));
        continue;
      }
      int64_t &known = bound.extents[letter - 'A'];
      if (known < 0) {
        known = extent, from_argument[letter - 'A'] = static_cast<int8_t>(i), from_dim[letter - 'A'] = static_cast<int8_t>(dim);
      } else if (known != extent) {
        const int source = from_argument[letter - 'A'];
        return refuse(Status::invalid_argument, i, dim, "dimension %d is %lld, expected %c = %lld (from argument %d '%s', dimension %d)",
                      dim, static_cast<long long>(extent), letter, static_cast<long long>(known), source, argument(source).name,
                      from_dim[letter - 'A']);
      }
    }
    return Status::ok;
  }

  // Strides are sane and the bytes of the tensor fit the address space; remembers which bytes those are.
  Status check_layout(int i) {
    const lamina_arg &row = argument(i);
    const lamina_tensor &tensor = *bound.tensors[i];
    const int64_t size = static_cast<int64_t>(size_of(bound.dtype(i)));
    int64_t elements = 1, last = 0;  // last: offset of the last element
    bool empty = false;
    if (tensor.byte_offset > uint64_t{1} << 56)
      return refuse(Status::invalid_argument, i, -1, "byte_offset %llu reaches past any memory",
                    static_cast<unsigned long long>(tensor.byte_offset));
    for (int dim = tensor.ndim - 1; dim >= 0; --dim) {
      const int64_t extent = tensor.shape[dim], stride = tensor.strides ? tensor.strides[dim] : elements;
      if (extent == 0) empty = true;
      if (__builtin_mul_overflow(elements, extent ? extent : 1, &elements) || elements > (int64_t{1} << 56) / size)
        return refuse(Status::unsupported, i, dim, "has more elements than memory can hold");
      if (stride < 0)
        return refuse(Status::invalid_argument, i, dim, "dimension %d has negative stride %lld", dim, static_cast<long long>(stride));
      if (extent > 1 && stride == 0 && !(row.flags & LAMINA_BROADCAST))
        return refuse(Status::invalid_argument, i, dim, "dimension %d has stride 0, which this argument does not allow", dim);
      if ((row.flags & LAMINA_LAST_CONTIGUOUS) && dim == tensor.ndim - 1 && extent > 1 && stride != 1)
        return refuse(Status::invalid_argument, i, dim, "the last dimension has stride %lld, expected 1", static_cast<long long>(stride));
      int64_t reach;
      if (__builtin_mul_overflow(extent > 0 ? extent - 1 : 0, stride, &reach) || __builtin_add_overflow(last, reach, &last) ||
          last > (int64_t{1} << 56) / size)
        return refuse(Status::invalid_argument, i, dim, "dimension %d has stride %lld, which reaches past any memory", dim,
                      static_cast<long long>(stride));
    }
    if (is_written(*plan.op, row) && !empty) LAMINA_TRY(check_distinct(i));
    if (memory == Memory::check) {
      low[i] = reinterpret_cast<uintptr_t>(bound.data(i));
      high[i] = empty ? low[i] : low[i] + static_cast<uint64_t>((last + 1) * size);
    }
    return Status::ok;
  }

  // No two elements of a written tensor may be the same memory: taken by stride, each dimension must step over the smaller ones.
  Status check_distinct(int i) {
    const lamina_tensor &tensor = *bound.tensors[i];
    bool done[max_rank] = {};
    for (int64_t reach = 0;;) {
      int next = -1;
      for (int dim = 0; dim < tensor.ndim; ++dim)
        if (!done[dim] && tensor.shape[dim] > 1 && (next < 0 || bound.stride(i, dim) < bound.stride(i, next))) next = dim;
      if (next < 0) return Status::ok;
      if (bound.stride(i, next) <= reach)
        return refuse(Status::invalid_argument, i, next, "dimension %d has stride %lld: elements of an output would overlap", next,
                      static_cast<long long>(bound.stride(i, next)));
      reach += (tensor.shape[next] - 1) * bound.stride(i, next);
      done[next] = true;
    }
  }

  Status check_memory(int i, bool packed_given) {
    const lamina_arg &row = argument(i);
    if (low[i] == high[i] || (row.role == LAMINA_PARAM && packed_given)) return high[i] = low[i], Status::ok;
    if (!bound.tensors[i]->data) return refuse(Status::invalid_argument, i, -1, "data is NULL");
    const uint64_t align = row.align ? row.align : size_of(bound.dtype(i));
    if (low[i] % align)
      return refuse(Status::invalid_argument, i, -1, "data must be aligned to %llu bytes", static_cast<unsigned long long>(align));
    return Status::ok;
  }

  bool same_layout(int i, int other) const {
    const lamina_tensor &a = *bound.tensors[i], &b = *bound.tensors[other];
    if (low[i] != low[other] || a.ndim != b.ndim || memcmp(&a.dtype, &b.dtype, sizeof a.dtype) != 0) return false;
    for (int dim = 0; dim < a.ndim; ++dim)
      if (a.shape[dim] != b.shape[dim] || (a.shape[dim] > 1 && bound.stride(i, dim) != bound.stride(other, dim))) return false;
    return true;
  }

  Status check_overlap(int i, int count) {
    if (!is_written(*plan.op, argument(i))) return Status::ok;
    for (int other = 0; other < count; ++other) {
      if (other == i || !bound.tensors[other] || low[other] >= high[i] || low[i] >= high[other]) continue;
      const bool allowed = (argument(i).may_alias >> other & 1) || (argument(other).may_alias >> i & 1);
      if (allowed && same_layout(i, other)) continue;
      return refuse(Status::invalid_argument, i, -1, "overlaps argument %d '%s'%s", other, argument(other).name,
                    allowed ? "; in place needs the same pointer, shape and strides" : "");
    }
    return Status::ok;
  }

  // Written and unwritten arguments alike: the workspace belongs to nobody else.
  Status check_workspace_overlap(int count, uint64_t size) {
    const uint64_t begin = reinterpret_cast<uintptr_t>(bound.workspace), end = begin + size;
    for (int i = 0; i < count; ++i)
      if (bound.tensors[i] && low[i] < end && begin < high[i]) return refuse(Status::invalid_argument, i, -1, "overlaps the workspace");
    return Status::ok;
  }
};

}  // namespace

bool dtype_from(lamina_dtype given, DType &dtype) {
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; ++i)
    if (memcmp(&given, &dtypes[i], sizeof given) == 0) return dtype = static_cast<DType>(i), true;
  return false;
}

lamina_dtype dtype_to(DType dtype) { return dtypes[static_cast<unsigned>(dtype)]; }

bool is_written(const lamina_op &op, const lamina_arg &argument) {
  switch (argument.role) {
    case LAMINA_OUTPUT:
    case LAMINA_INOUT: return true;
    case LAMINA_PACKED: return op.kind == LAMINA_PACK;
    case LAMINA_SAVED: return op.kind == LAMINA_FORWARD_TRAIN;
    default: return false;
  }
}

bool wants_float32_gradients(const lamina_plan &plan) {
  const Op &op = *plan.op;
  for (uint32_t i = 0; op.kind == LAMINA_BACKWARD && i < op.attr_count; ++i)
    if (strcmp(op.attrs[i].name, "gradient_dtype") == 0) return strcmp(op.rules[i].values[plan.attributes[i].index], "float32") == 0;
  return false;
}

DType BoundCall::dtype(int argument) const {
  DType dtype = DType::float32;
  dtype_from(tensors[argument]->dtype, dtype);
  return dtype;
}

void *BoundCall::data(int argument) const {
  const lamina_tensor *tensor = tensors[argument];
  return tensor && tensor->data ? static_cast<char *>(tensor->data) + tensor->byte_offset : nullptr;
}

int64_t BoundCall::stride(int argument, int dim) const {
  const lamina_tensor &tensor = *tensors[argument];
  if (tensor.strides) return tensor.strides[dim];
  int64_t stride = 1;
  for (int inner = tensor.ndim - 1; inner > dim; --inner) stride *= tensor.shape[inner] ? tensor.shape[inner] : 1;
  return stride;
}

Status bind(const lamina_plan &plan, const lamina_call *given, Memory memory, BoundCall &bound, Failure &failure) {
  const Op &op = *plan.op;
  lamina_call call;
  LAMINA_TRY(read_struct(given, call, "lamina_call", failure));
  if (call.tensor_count > op.arg_count)
    return fail(failure, Status::invalid_argument, "%s.%s: %u tensors given, the op takes %u", op.layer, op.name, call.tensor_count,
                op.arg_count);
  if (call.tensor_count && !call.tensors)
    return fail(failure, Status::invalid_argument, "%s.%s: lamina_call.tensors is NULL", op.layer, op.name);
  for (int64_t &extent : bound.extents) extent = -1;
  bound.stream = call.stream, bound.workspace = call.workspace, bound.workspace_size = call.workspace_size;
  for (uint32_t i = 0; i < call.tensor_count; ++i) bound.tensors[i] = call.tensors[i];

  Binder binder{plan, bound, failure, memory};
  const int count = static_cast<int>(op.arg_count);
  bool packed_given = false;
  for (int i = 0; i < count; ++i) {
    const lamina_arg &row = op.args[i];
    if (!bound.tensors[i]) {
      const bool later = memory == Memory::ignore && (is_written(op, row) || row.role == LAMINA_PACKED);
      const bool optional = (row.flags & LAMINA_OPTIONAL) && !(row.role == LAMINA_PACKED && op.kind == LAMINA_PACK);
      if (!optional && !later) return binder.refuse(Status::invalid_argument, i, -1, "is missing");
      continue;
    }
    if (row.role == LAMINA_PACKED && op.kind != LAMINA_PACK) packed_given = true;
    const lamina_device device = bound.tensors[i]->device;
    if (device.type != plan.device.type || device.id != plan.device.id)
      return binder.refuse(Status::wrong_device, i, -1, "is on device (%d, %d), the plan on (%d, %d)", device.type, device.id,
                           plan.device.type, plan.device.id);
    LAMINA_TRY(binder.check_shape(i));
    LAMINA_TRY(binder.check_dtype(i));
    LAMINA_TRY(binder.check_layout(i));
  }
  if (memory == Memory::ignore) return Status::ok;
  for (int i = 0; i < count; ++i)
    if (bound.tensors[i]) LAMINA_TRY(binder.check_memory(i, packed_given));
  for (int i = 0; i < count; ++i)
    if (bound.tensors[i]) LAMINA_TRY(binder.check_overlap(i, count));
  if (bound.workspace) LAMINA_TRY(binder.check_workspace_overlap(count, call.workspace_size));
  return Status::ok;
}

}  // namespace lamina::plugin
