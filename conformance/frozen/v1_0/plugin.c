/* A plug-in of ABI 1.0, complete and by hand: out[m, c] = factor * x[m, c] + shift[c], float32, CPU. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lamina_abi.h"

struct lamina_plan {
  double factor;
};

static lamina_status fail(lamina_error *error, lamina_status status, int arg, int dim, const char *message) {
  lamina_error full;
  if (!error || error->struct_size < 8) return status;
  memset(&full, 0, sizeof full);
  full.struct_size = error->struct_size;
  full.arg = arg;
  full.dim = dim;
  snprintf(full.message, sizeof full.message, "frozen.forward: %s", message);
  memcpy(error, &full, full.struct_size < sizeof full ? full.struct_size : sizeof full);
  return status;
}

/* Shorter: zero-filled.  Longer: the tail must be zero. */
static lamina_status read_struct(const void *source, void *copy, size_t known) {
  uint32_t size;
  size_t i;
  memcpy(&size, source, sizeof size);
  if (size < 8) return LAMINA_INVALID_ARGUMENT;
  memset(copy, 0, known);
  memcpy(copy, source, size < known ? size : known);
  for (i = known; i < size; ++i)
    if (((const unsigned char *)source)[i]) return LAMINA_UNSUPPORTED;
  return LAMINA_OK;
}

static const lamina_arg args[] = {
    {"x", "M C", LAMINA_INPUT, 0, 0, LAMINA_BIT_FLOAT32, -1, 4},
    {"shift", "C", LAMINA_PARAM, LAMINA_OPTIONAL, 0, LAMINA_BIT_FLOAT32, 0, 4},
    {"out", "M C", LAMINA_OUTPUT, 0, 1, LAMINA_BIT_FLOAT32, 0, 4}};
static const lamina_attr attrs[] = {{"factor", LAMINA_ATTR_FLOAT, 0, {.f = 2.0}}};

static lamina_status create(const lamina_op *op, const lamina_plan_desc *desc, lamina_plan **plan, lamina_error *error) {
  lamina_plan_desc known;
  lamina_status status;
  uint32_t i;
  (void)op;
  if (!plan) return LAMINA_INVALID_ARGUMENT;
  *plan = NULL;
  if (!desc) return fail(error, LAMINA_INVALID_ARGUMENT, -1, -1, "desc is NULL");
  status = read_struct(desc, &known, sizeof known);
  if (status) return fail(error, status, -1, -1, "lamina_plan_desc has a size or members that 1.0 doesn't know");
  if (known.flags & ~(uint32_t)LAMINA_DETERMINISTIC) return fail(error, LAMINA_UNSUPPORTED, -1, -1, "unknown plan flags");
  if (known.device.type != LAMINA_CPU) return fail(error, LAMINA_WRONG_DEVICE, -1, -1, "runs on CPUs only");
  *plan = malloc(sizeof **plan);
  if (!*plan) return fail(error, LAMINA_NO_MEMORY, -1, -1, "no memory for a plan");
  (*plan)->factor = attrs[0].value.f;
  for (i = 0; i < known.attr_count; ++i) {
    if (strcmp(known.attrs[i].name, "factor") == 0 && known.attrs[i].kind == LAMINA_ATTR_FLOAT) {
      (*plan)->factor = known.attrs[i].value.f;
      continue;
    }
    free(*plan);
    *plan = NULL;
    return fail(error, LAMINA_UNSUPPORTED, -1, -1, "unknown attribute");
  }
  return LAMINA_OK;
}

static void destroy(lamina_plan *plan) { free(plan); }

static lamina_status check(const lamina_call *call, lamina_call *known, lamina_error *error) {
  static const int ranks[] = {2, 1, 2};
  int i;
  lamina_status status;
  if (!call) return fail(error, LAMINA_INVALID_ARGUMENT, -1, -1, "call is NULL");
  status = read_struct(call, known, sizeof *known);
  if (status) return fail(error, status, -1, -1, "lamina_call has a size or members that 1.0 doesn't know");
  if (known->tensor_count != 3) return fail(error, LAMINA_INVALID_ARGUMENT, -1, -1, "takes 3 tensors");
  for (i = 0; i < 3; ++i) {
    const lamina_tensor *tensor = known->tensors[i];
    if (!tensor && i == 1) continue;
    if (!tensor) return fail(error, LAMINA_INVALID_ARGUMENT, i, -1, "argument is missing");
    if (tensor->ndim != ranks[i]) return fail(error, LAMINA_INVALID_ARGUMENT, i, -1, "argument has another rank");
    if (tensor->dtype.code != LAMINA_CODE_FLOAT || tensor->dtype.bits != 32) return fail(error, LAMINA_UNSUPPORTED, i, -1, "takes float32");
    if (tensor->shape[ranks[i] - 1] != known->tensors[0]->shape[1])
      return fail(error, LAMINA_INVALID_ARGUMENT, i, ranks[i] - 1, "C differs from that of x");
    if (ranks[i] == 2 && tensor->shape[0] != known->tensors[0]->shape[0]) return fail(error, LAMINA_INVALID_ARGUMENT, i, 0, "M differs from that of x");
  }
  return LAMINA_OK;
}

static lamina_status need(const lamina_plan *plan, const lamina_call *call, lamina_need *out, lamina_error *error) {
  lamina_call known;
  lamina_need full;
  const lamina_status status = check(call, &known, error);
  (void)plan;
  if (status) return status;
  memset(&full, 0, sizeof full);
  full.struct_size = out->struct_size;
  full.flags = LAMINA_DETERMINISTIC;
  full.workspace_size = 64;
  full.workspace_align = 64;
  memcpy(out, &full, full.struct_size < sizeof full ? full.struct_size : sizeof full);
  return LAMINA_OK;
}

static float *at(const lamina_tensor *tensor, int64_t row, int64_t column) {
  const int64_t inner = tensor->strides ? tensor->strides[tensor->ndim - 1] : 1;
  const int64_t outer = tensor->ndim == 1 ? 0 : tensor->strides ? tensor->strides[0] : tensor->shape[1];
  return (float *)((char *)tensor->data + tensor->byte_offset) + row * outer + column * inner;
}

static lamina_status run(const lamina_plan *plan, const lamina_call *call, lamina_error *error) {
  lamina_call known;
  int64_t m, c;
  const lamina_status status = check(call, &known, error);
  if (status) return status;
  if (!known.workspace || known.workspace_size < 64) return fail(error, LAMINA_WORKSPACE, -1, -1, "needs 64 bytes of workspace");
  for (m = 0; m < known.tensors[0]->shape[0]; ++m)
    for (c = 0; c < known.tensors[0]->shape[1]; ++c)
      *at(known.tensors[2], m, c) = (float)(plan->factor * *at(known.tensors[0], m, c) + (known.tensors[1] ? *at(known.tensors[1], 0, c) : 0));
  return LAMINA_OK;
}

static lamina_status infer(const lamina_plan *plan, const lamina_call *call, lamina_tensor *out, lamina_error *error) {
  lamina_call known;
  lamina_call inputs;
  const lamina_tensor *tensors[3];
  int64_t *shape;
  lamina_status status;
  (void)plan;
  if (!call || !out) return fail(error, LAMINA_INVALID_ARGUMENT, -1, -1, "call or out is NULL");
  status = read_struct(call, &inputs, sizeof inputs);
  if (status) return fail(error, status, -1, -1, "lamina_call has a size or members that 1.0 doesn't know");
  tensors[0] = inputs.tensors[0];
  tensors[1] = inputs.tensors[1];
  tensors[2] = inputs.tensors[0]; /* the output is what is asked for */
  inputs.tensors = tensors;
  inputs.tensor_count = 3;
  inputs.struct_size = sizeof inputs;
  status = check(&inputs, &known, error);
  if (status) return status;
  shape = (int64_t *)(uintptr_t)out[2].shape;
  shape[0] = tensors[0]->shape[0];
  shape[1] = tensors[0]->shape[1];
  out[2] = *tensors[0];
  out[2].data = NULL;
  out[2].byte_offset = 0;
  out[2].strides = NULL;
  out[2].shape = shape;
  return LAMINA_OK;
}

static const lamina_op forward = {sizeof(lamina_op), LAMINA_FORWARD, "forward", args, attrs, 3, 1, create, destroy, need, run, infer};
static const lamina_op *const ops[] = {&forward};
static const char contract[] = "{\"schema\": \"lamina/contract/1\", \"layer\": \"frozen\", \"version\": \"1.0.0\"}";

static const void *extension(const char *id) {
  (void)id;
  return NULL;
}

static const lamina_library library = {sizeof(lamina_library), 0, "frozen", "1.0.0", "reference", "frozen-v1-0", contract, sizeof contract - 1, ops, 1, 0, extension};

const lamina_library *lamina_library_v1(void);
const lamina_library *lamina_library_v1(void) { return &library; }
