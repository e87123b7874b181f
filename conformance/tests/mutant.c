/* A build with one mistake: forwards to the build that LAMINA_MUTANT_OF names and spoils one thing, chosen by -DMISTAKE.
   mutants_test.sh shows that conform finds each. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi/lamina_abi.h"

#define NONE 0
#define ONE_ELEMENT 1
#define FLIPPED_MASK_CELL 2
#define READS_PAST_END 3
#define WRITES_PAST_END 4
#define READS_BEFORE_BEGIN 5
#define WRITES_INPUT 6
#define WRITES_PAST_WORKSPACE 7
#define ACCEPTS_ANYTHING 8
#define BLAMES_ANOTHER 9
#define ENDLESS_MESSAGE 10
#define NEVER_TWICE_THE_SAME 11
#define READS_OLD_WORKSPACE 12
#define UNFINISHED_PACK 13
#define READS_PAST_STRUCT 14
#define HIDES_NAN 15
#define WRITES_GAPS 16
#define DIES_AFTER_FORK 17
#define ONE_AT_A_TIME 18
#define IMPURE_NEED 19
#define WRONG_INFER 20
#define FORGETS_LAST_ROW 21
#define WRITES_WHEN_REFUSING 22
#define IGNORES_FLAGS 23
#define CRASHES 24
#define SMALL_ERROR_EVERYWHERE 25

enum { most_ops = 8 };
static const lamina_library *inner;
static lamina_library library;
static lamina_op ops[most_ops];
static const lamina_op *op_list[most_ops];
static pid_t first_process;
static int runs, running;

static const lamina_op *inner_of(const lamina_op *op) { return inner->ops[op - ops]; }

/* A plan carries its op, so that run knows the table. */
struct lamina_plan {
  const lamina_op *op;
  lamina_plan *inner;
};

static int argument(const lamina_op *op, const char *name) {
  uint32_t i;
  for (i = 0; i < op->arg_count; ++i)
    if (strcmp(op->args[i].name, name) == 0) return (int)i;
  return -1;
}

static int output(const lamina_op *op) {
  uint32_t i;
  for (i = 0; i < op->arg_count; ++i)
    if (op->args[i].role == LAMINA_OUTPUT) return (int)i;
  return -1;
}

/* Elements from the first to the last of a tensor, gaps included; 0 if it is empty. */
static int64_t span(const lamina_tensor *tensor) {
  int64_t last = 0, dense = 1;
  int dim;
  for (dim = tensor->ndim - 1; dim >= 0; --dim) {
    if (tensor->shape[dim] == 0) return 0;
    last += (tensor->shape[dim] - 1) * (tensor->strides ? tensor->strides[dim] : dense);
    dense *= tensor->shape[dim];
  }
  return last + 1;
}

static char *begin(const lamina_tensor *tensor) { return (char *)tensor->data + tensor->byte_offset; }

static lamina_status create(const lamina_op *op, const lamina_plan_desc *desc, lamina_plan **plan, lamina_error *error) {
  lamina_plan *made = NULL;
  lamina_plan_desc known;
  lamina_status status;
  if (MISTAKE == IGNORES_FLAGS && desc && desc->struct_size == sizeof known) {
    known = *desc;
    known.flags &= 1;
    desc = &known;
  }
  status = op ? inner_of(op)->plan_create(inner_of(op), desc, plan ? &made : NULL, error) : LAMINA_INVALID_ARGUMENT;
  if (!plan) return status;
  *plan = NULL;
  if (status) return status;
  *plan = malloc(sizeof **plan);
  (*plan)->op = op;
  (*plan)->inner = made;
  return LAMINA_OK;
}

static void destroy(lamina_plan *plan) {
  if (!plan) return;
  inner_of(plan->op)->plan_destroy(plan->inner);
  free(plan);
}

static lamina_status need(const lamina_plan *plan, const lamina_call *call, lamina_need *out, lamina_error *error) {
  lamina_status status;
  if (!plan) return inner->ops[0]->plan_need(NULL, call, out, error);
  status = inner_of(plan->op)->plan_need(plan->inner, call, out, error);
  if (MISTAKE == IMPURE_NEED && status == LAMINA_OK && out->struct_size == sizeof *out) out->workspace_size += (uint64_t)(runs++ % 2) * 64;
  return status;
}

static lamina_status infer(const lamina_plan *plan, const lamina_call *call, lamina_tensor *out, lamina_error *error) {
  lamina_status status;
  if (!plan) return inner->ops[0]->infer(NULL, call, out, error);
  status = inner_of(plan->op)->infer(plan->inner, call, out, error);
  if (MISTAKE == WRONG_INFER && status == LAMINA_OK && output(plan->op) >= 0) ((int64_t *)(uintptr_t)out[output(plan->op)].shape)[0] += 1;
  return status;
}

/* Works for float32 outputs, which every layer's cases have. */
static void spoil(const lamina_plan *plan, const lamina_call *call, char old_workspace) {
  const int out = output(plan->op);
  const lamina_tensor *tensor = out >= 0 ? call->tensors[out] : NULL;
  volatile char *bytes;
  int64_t count, i;
  float *values;
  if (!tensor || !tensor->data || span(tensor) == 0 || tensor->dtype.bits != 32) return;
  bytes = begin(tensor);
  values = (float *)(void *)begin(tensor);
  count = span(tensor);
  if (MISTAKE == ONE_ELEMENT) values[count / 2] += 0.01f;
  if (MISTAKE == SMALL_ERROR_EVERYWHERE)
    for (i = 0; i < count; ++i) values[i] *= 1 + (i % 2 ? 4e-6f : -4e-6f);
  if (MISTAKE == WRITES_PAST_END) bytes[count * 4] = 1;
  if (MISTAKE == NEVER_TWICE_THE_SAME && runs++ % 2) bytes[0] ^= 1;
  if (MISTAKE == READS_OLD_WORKSPACE) bytes[0] = (char)(bytes[0] ^ (old_workspace & 1));
  if (MISTAKE == HIDES_NAN)
    for (i = 0; i < count; ++i)
      if (isnan(values[i])) values[i] = 0;
  if (MISTAKE == WRITES_GAPS)
    for (i = 0; i + 1 < count; ++i)
      if (memcmp(&values[i], "\xa5\xa5\xa5\xa5", 4) == 0) values[i] = 0;
  if (MISTAKE == FORGETS_LAST_ROW)
    memset(&values[count - tensor->shape[tensor->ndim - 1]], 0, sizeof(float) * (size_t)tensor->shape[tensor->ndim - 1]);
}

static lamina_status run_spoiled(const lamina_plan *plan, const lamina_call *call, lamina_error *error) {
  const lamina_op *op = plan->op;
  const lamina_op *real = inner_of(op);
  lamina_status status;
  lamina_call changed;
  const lamina_tensor *tensors[64];
  char old_workspace = 0;
  const int input = argument(op, "pair"), mask = argument(op, "pair_mask");
  if (MISTAKE == READS_PAST_STRUCT && call && ((const volatile lamina_call *)call)->workspace_size == 12345) return LAMINA_INTERNAL;
  if (MISTAKE == CRASHES && op->kind == LAMINA_FORWARD) abort();
  if (MISTAKE == DIES_AFTER_FORK && getpid() != first_process) {
    /* The first process that runs is the one whose threads it has. */
    if (first_process) return LAMINA_DEVICE_ERROR;
    first_process = getpid();
  }
  if (MISTAKE == FLIPPED_MASK_CELL && call && mask >= 0 && call->tensor_count == op->arg_count && call->tensors && call->tensors[mask] &&
      call->tensors[mask]->dtype.bits == 32 && call->tensors[mask]->data) {
    lamina_tensor other = *call->tensors[mask];
    const size_t bytes = (size_t)span(&other) * 4;
    float *copy = malloc(bytes + 4);
    memcpy(copy, begin(&other), bytes);
    if (bytes) copy[span(&other) / 2] = 1 - copy[span(&other) / 2];
    other.data = copy;
    other.byte_offset = 0;
    memcpy(tensors, call->tensors, sizeof *tensors * op->arg_count);
    tensors[mask] = &other;
    changed = *call;
    changed.tensors = tensors;
    status = real->run(plan->inner, &changed, error);
    free(copy);
    return status;
  }
  if (MISTAKE == UNFINISHED_PACK && op->kind == LAMINA_PACK) {
    status = real->run(plan->inner, call, error);
    if (status == LAMINA_OK) {
      const lamina_tensor *packed = call->tensors[op->arg_count - 1];
      begin(packed)[packed->shape[0] - 1] = (char)runs++;
    }
    return status;
  }
  if (MISTAKE == READS_OLD_WORKSPACE && call && call->struct_size == sizeof *call && call->workspace && call->workspace_size)
    old_workspace = *(char *)call->workspace;
  status = real->run(plan->inner, call, error);
  if (status == LAMINA_OK) {
    if (MISTAKE == READS_PAST_END && input >= 0 && call->tensors[input]->dtype.bits == 32 && span(call->tensors[input]))
      (void)((volatile char *)begin(call->tensors[input]))[span(call->tensors[input]) * 4];
    if (MISTAKE == READS_BEFORE_BEGIN && input >= 0 && span(call->tensors[input])) (void)((volatile char *)begin(call->tensors[input]))[-1];
    if (MISTAKE == WRITES_INPUT && input >= 0 && span(call->tensors[input])) ((volatile char *)begin(call->tensors[input]))[0] ^= 0;
    if (MISTAKE == WRITES_PAST_WORKSPACE && call->workspace) ((volatile char *)call->workspace)[call->workspace_size] = 1;
    spoil(plan, call, old_workspace);
    return status;
  }
  if (MISTAKE == ACCEPTS_ANYTHING && status == LAMINA_INVALID_ARGUMENT && error) {
    memset((char *)error + 4, 0x5a, sizeof *error - 4);
    return LAMINA_OK;
  }
  if (MISTAKE == BLAMES_ANOTHER && error) error->arg += 1;
  if (MISTAKE == ENDLESS_MESSAGE && error && error->struct_size == sizeof *error) memset(error->message, 'x', sizeof error->message);
  if (MISTAKE == WRITES_WHEN_REFUSING && call && call->struct_size == sizeof *call && call->tensors &&
      call->tensor_count == op->arg_count && output(op) >= 0 && call->tensors[output(op)] && call->tensors[output(op)]->data)
    begin(call->tensors[output(op)])[0] ^= 1;
  return status;
}

static lamina_status run(const lamina_plan *plan, const lamina_call *call, lamina_error *error) {
  lamina_status status;
  int alone;
  if (!plan) return inner->ops[0]->run(NULL, call, error);
  alone = __sync_fetch_and_add(&running, 1) == 0;
  status = run_spoiled(plan, call, error);
  if (MISTAKE == ONE_AT_A_TIME && !alone && status == LAMINA_OK) *(volatile char *)begin(call->tensors[output(plan->op)]) ^= 1;
  __sync_fetch_and_sub(&running, 1);
  return status;
}

const lamina_library *lamina_library_v1(void);
const lamina_library *lamina_library_v1(void) {
  static const char *path;
  lamina_library_v1_function entry = NULL;
  void *handle;
  uint32_t i;
  if (inner) return &library;
  path = getenv("LAMINA_MUTANT_OF");
  handle = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
  if (!handle) return NULL;
  *(void **)(&entry) = dlsym(handle, LAMINA_LIBRARY_SYMBOL);
  inner = entry();
  library = *inner;
  for (i = 0; i < inner->op_count && i < most_ops; ++i) {
    ops[i] = *inner->ops[i];
    ops[i].plan_create = create;
    ops[i].plan_destroy = destroy;
    ops[i].plan_need = need;
    ops[i].run = run;
    ops[i].infer = infer;
    op_list[i] = &ops[i];
  }
  library.ops = op_list;
  return &library;
}
