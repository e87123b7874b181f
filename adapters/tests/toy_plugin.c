/* A plug-in of another kind than any layer, for the tests of the adapters: several results, an argument that is read and written, saved tensors,
 * an integer attribute, no batch, no contract, a workspace of odd size at a coarse alignment, and plans that may not be recorded. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/lamina_abi.h"

enum { M = 0, K = 1 };
#define FLOAT32 LAMINA_BIT_FLOAT32

static const lamina_arg accumulate_args[] = {
    {"x", "M K", LAMINA_INPUT, 0, 0, FLOAT32, -1, 0},
    {"y", "M K", LAMINA_INOUT, 0, 0, FLOAT32, 0, 0},
};
static const lamina_arg rows_args[] = {
    {"x", "M K", LAMINA_INPUT, 0, 0, FLOAT32, -1, 0},
    {"sum", "M", LAMINA_OUTPUT, 0, 0, FLOAT32, 0, 0},
    {"largest", "M", LAMINA_OUTPUT, 0, 0, FLOAT32, 0, 0},
    {"count", "M", LAMINA_SAVED, 0, 0, FLOAT32, 0, 0},
};
static const lamina_attr accumulate_attrs[] = {
    {"factor", LAMINA_ATTR_FLOAT, 0, {.f = 1}},
    {"repeat", LAMINA_ATTR_INT, 0, {.i = 1}},
};

struct lamina_plan {
  const lamina_op *op;
  double factor;
  int64_t repeat;
};

static lamina_status fail(lamina_error *error, lamina_status status, const char *message) {
  if (error) snprintf(error->message, sizeof error->message, "toy: %s", message);
  return status;
}

static lamina_status plan_create(const lamina_op *op, const lamina_plan_desc *desc, lamina_plan **plan, lamina_error *error) {
  *plan = NULL;
  if (desc->device.type != LAMINA_CPU) return fail(error, LAMINA_WRONG_DEVICE, "this build runs on the CPU");
  lamina_plan made = {op, 1, 1};
  for (uint32_t i = 0; i < desc->attr_count; ++i) {
    if (strcmp(desc->attrs[i].name, "factor") == 0) made.factor = desc->attrs[i].value.f;
    if (strcmp(desc->attrs[i].name, "repeat") == 0) made.repeat = desc->attrs[i].value.i;
  }
  if (made.repeat < 0) return fail(error, LAMINA_INVALID_ARGUMENT, "repeat is negative");
  *plan = malloc(sizeof made);
  **plan = made;
  return LAMINA_OK;
}
static void plan_destroy(lamina_plan *plan) { free(plan); }

static lamina_status plan_need(const lamina_plan *plan, const lamina_call *call, lamina_need *need, lamina_error *error) {
  (void)plan;
  if (!call->tensors[0]) return fail(error, LAMINA_INVALID_ARGUMENT, "x is missing");
  const uint32_t size = need->struct_size;
  memset(need, 0, sizeof *need);
  need->struct_size = size;
  need->workspace_size = 3 * (uint64_t)call->tensors[0]->shape[M] + 1, need->workspace_align = 4096;
  return LAMINA_OK;
}

static lamina_status infer(const lamina_plan *plan, const lamina_call *call, lamina_tensor *out, lamina_error *error) {
  if (!call->tensors[0]) return fail(error, LAMINA_INVALID_ARGUMENT, "x is missing");
  for (uint32_t i = 1; i < plan->op->arg_count; ++i) {
    int64_t *shape = (int64_t *)(uintptr_t)out[i].shape;
    const lamina_tensor made = {NULL, {LAMINA_CPU, 0}, plan->op->args[i].shape[1] ? 2 : 1, {LAMINA_CODE_FLOAT, 32, 1}, shape, NULL, 0};
    shape[M] = call->tensors[0]->shape[M], shape[K] = call->tensors[0]->shape[K];
    if (plan->op->args[i].role != LAMINA_INOUT) out[i] = made;
  }
  return LAMINA_OK;
}

static float *floats(const lamina_call *call, uint32_t i) {
  return (float *)((char *)call->tensors[i]->data + call->tensors[i]->byte_offset);
}

static lamina_status run(const lamina_plan *plan, const lamina_call *call, lamina_error *error) {
  for (uint32_t i = 0; i < plan->op->arg_count; ++i)
    if (!call->tensors[i]) return fail(error, LAMINA_INVALID_ARGUMENT, "an argument is missing");
  const int64_t rows = call->tensors[0]->shape[M], columns = call->tensors[0]->shape[K];
  if (!call->workspace || (uintptr_t)call->workspace % 4096 || call->workspace_size < 3 * (uint64_t)rows + 1)
    return fail(error, LAMINA_WORKSPACE, "no workspace of that size and alignment");
  memset(call->workspace, 0xa5, 3 * (uint64_t)rows + 1); /* all of it is ours */
  const float *x = floats(call, 0);
  if (plan->op->kind == LAMINA_OTHER) {
    float *y = floats(call, 1);
    for (int64_t i = 0; i < rows * columns; ++i) y[i] += (float)plan->repeat * (float)plan->factor * x[i];
    return LAMINA_OK;
  }
  for (int64_t row = 0; row < rows; ++row) {
    float sum = 0, largest = x[row * columns];
    for (int64_t column = 0; column < columns; ++column) {
      sum += x[row * columns + column];
      if (x[row * columns + column] > largest) largest = x[row * columns + column];
    }
    floats(call, 1)[row] = sum, floats(call, 2)[row] = largest, floats(call, 3)[row] = (float)columns;
  }
  return LAMINA_OK;
}

#define FUNCTIONS plan_create, plan_destroy, plan_need, run, infer
static const lamina_op accumulate = {sizeof(lamina_op), LAMINA_OTHER, "accumulate", accumulate_args, accumulate_attrs, 2, 2, FUNCTIONS};
static const lamina_op rows = {sizeof(lamina_op), LAMINA_FORWARD_TRAIN, "rows", rows_args, NULL, 4, 0, FUNCTIONS};
static const lamina_op *const ops[] = {&accumulate, &rows};
static const void *extension(const char *id) { return (void)id, NULL; }
static const lamina_library library = {sizeof(lamina_library), 0, "toy", "0.1.0", "cpu", "toy0", "", 0, ops, 2, 0, extension};

__attribute__((visibility("default"))) const lamina_library *lamina_library_v1(void) { return &library; }
