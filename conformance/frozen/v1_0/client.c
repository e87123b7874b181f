/* A host of ABI 1.0 that knows no layer: opens the plug-in that argv[1] names, fills every required argument of op "forward" and, where
   the plug-in trains, of "forward_train" and "backward" by their tables, asks for the gradient of everything that it gave, runs them and
   prints the outputs' checksum.  Exit code 0: all went as ABI 1.0 promises. */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lamina_abi.h"

static lamina_error error;

#define REQUIRE(condition, text)                        \
  do {                                                  \
    if (!(condition)) {                                 \
      fprintf(stderr, "%s: %s\n", text, error.message); \
      return 1;                                         \
    }                                                   \
  } while (0)

enum { most_arguments = 64 };

/* One call of one op: its tensors, their extents, and what infer says of them. */
typedef struct invocation {
  const lamina_op *op;
  lamina_plan *plan;
  lamina_call call;
  lamina_need need;
  lamina_tensor tensors[most_arguments], inferred[most_arguments];
  int64_t shapes[most_arguments][8], room[most_arguments][8];
  const lamina_tensor *pointers[most_arguments];
} invocation;

/* Extents by letter: channels are 8, everything else 3. */
static int64_t extent_of(const char *word) {
  if (*word >= '0' && *word <= '9') return strtoll(word, NULL, 10);
  return strchr("CHG", *word) ? 8 : 3;
}

static const lamina_op *find_op(const lamina_library *library, const char *name) {
  uint32_t i;
  for (i = 0; i < library->op_count; ++i)
    if (strcmp(library->ops[i]->name, name) == 0) return library->ops[i];
  return NULL;
}

/* An optional output is wanted if it is the gradient of an argument that the caller gives. */
static int wanted(const invocation *of, uint32_t index) {
  const lamina_arg *arg = &of->op->args[index];
  uint32_t i;
  if (!(arg->flags & LAMINA_OPTIONAL)) return 1;
  if (arg->role != LAMINA_OUTPUT) return 0;
  for (i = 0; i < of->op->arg_count; ++i) {
    const char *name = of->op->args[i].name;
    if (of->pointers[i] && strncmp(arg->name, name, strlen(name)) == 0 && strcmp(arg->name + strlen(name), "_gradient") == 0) return 1;
  }
  return 0;
}

static int fill(invocation *of) {
  uint32_t i;
  for (i = 0; i < of->op->arg_count; ++i) {
    const lamina_arg *arg = &of->op->args[i];
    lamina_tensor *tensor = &of->tensors[i];
    int64_t count = 1, at;
    char words[64], *word;
    float *data;
    if (!wanted(of, i)) continue;
    snprintf(words, sizeof words, "%s", arg->shape);
    for (word = strtok(words, " "); word; word = strtok(NULL, " ")) {
      of->shapes[i][tensor->ndim] = extent_of(word);
      count *= of->shapes[i][tensor->ndim++];
    }
    REQUIRE(arg->dtypes & LAMINA_BIT_FLOAT32, "an argument takes no float32");
    data = malloc((size_t)count * sizeof *data);
    REQUIRE(data, "no memory");
    for (at = 0; at < count; ++at) data[at] = (float)sin(0.7 * (double)at + (double)i);
    tensor->data = data;
    tensor->device.type = LAMINA_CPU;
    tensor->dtype.code = LAMINA_CODE_FLOAT;
    tensor->dtype.bits = 32;
    tensor->dtype.lanes = 1;
    tensor->shape = of->shapes[i];
    of->pointers[i] = tensor;
  }
  return 0;
}

static int prepare(invocation *of) {
  lamina_plan_desc desc;
  uint32_t i;
  if (fill(of)) return 1;
  memset(&desc, 0, sizeof desc);
  desc.struct_size = sizeof desc;
  desc.device.type = LAMINA_CPU;
  REQUIRE(of->op->plan_create(of->op, &desc, &of->plan, &error) == LAMINA_OK, "plan_create");
  of->call.struct_size = sizeof of->call;
  of->call.tensor_count = of->op->arg_count;
  of->call.tensors = of->pointers;
  of->need.struct_size = sizeof of->need;
  REQUIRE(of->op->plan_need(of->plan, &of->call, &of->need, &error) == LAMINA_OK, "plan_need");
  for (i = 0; i < of->op->arg_count; ++i) of->inferred[i].shape = of->room[i];
  REQUIRE(of->op->infer(of->plan, &of->call, of->inferred, &error) == LAMINA_OK, "infer");
  of->call.workspace = aligned_alloc(4096, (size_t)(of->need.workspace_size + 4095) / 4096 * 4096 + 4096);
  REQUIRE(of->call.workspace, "no memory");
  of->call.workspace_size = of->need.workspace_size;
  desc.flags = 1u << 30;
  {
    lamina_plan *none = NULL;
    REQUIRE(of->op->plan_create(of->op, &desc, &none, &error) == LAMINA_UNSUPPORTED && !none, "an unknown flag is not refused");
  }
  return 0;
}

/* Refusals name their cause and leave the call usable. */
static int provoke(invocation *of) {
  uint32_t i;
  void *workspace = of->call.workspace;
  for (i = 0; i < of->op->arg_count; ++i)
    if (of->pointers[i] && of->op->args[i].role == LAMINA_INPUT) break;
  of->tensors[i].ndim -= 1;
  error.message[0] = 0;
  REQUIRE(of->op->run(of->plan, &of->call, &error) == LAMINA_INVALID_ARGUMENT && error.arg == (int32_t)i && error.message[0],
          "a wrong rank is not refused by name");
  of->tensors[i].ndim += 1;
  of->call.workspace_size = 0;
  of->call.workspace = NULL;
  if (of->need.workspace_size) REQUIRE(of->op->run(of->plan, &of->call, &error) == LAMINA_WORKSPACE, "a missing workspace is not refused");
  of->call.workspace_size = of->need.workspace_size;
  of->call.workspace = workspace;
#ifdef FUTURE
  /* A host of a later minor: a zero tail is what the plug-in knows, anything else it must refuse. */
  REQUIRE(sizeof of->call > 40, "the header is not a later one");
  of->call.future_member = 1;
  REQUIRE(of->op->run(of->plan, &of->call, &error) == LAMINA_UNSUPPORTED, "a later member that is set was not refused");
  REQUIRE(error.message[0], "refused without a message");
  of->call.future_member = 0;
#endif
  return 0;
}

static int run(const lamina_op *op, double *sum) {
  invocation *of = calloc(1, sizeof *of);
  uint32_t i;
  REQUIRE(op->arg_count <= most_arguments && op->struct_size >= sizeof(lamina_op), "an op of an unknown size");
  REQUIRE(of, "no memory");
  of->op = op;
  if (prepare(of) || provoke(of)) return 1;
  REQUIRE(op->run(of->plan, &of->call, &error) == LAMINA_OK, "run");
  for (i = 0; i < op->arg_count; ++i) {
    int64_t count = 1, at;
    int dim;
    if (!of->pointers[i] || op->args[i].role != LAMINA_OUTPUT) continue;
    REQUIRE(of->inferred[i].ndim == of->tensors[i].ndim, "infer: rank");
    for (dim = 0; dim < of->tensors[i].ndim; ++dim) {
      REQUIRE(of->inferred[i].shape[dim] == of->shapes[i][dim], "infer: shape");
      count *= of->shapes[i][dim];
    }
    for (at = 0; at < count; ++at) *sum += (double)((const float *)of->tensors[i].data)[at] * (double)(at % 7 + 1);
  }
  REQUIRE(isfinite(*sum) && *sum != 0, "the outputs are not numbers");
  op->plan_destroy(of->plan);
  return 0;
}

int main(int argc, char **argv) {
  void *handle = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
  lamina_library_v1_function entry = NULL;
  const lamina_library *library;
  double sum = 0;
  error.struct_size = sizeof error;
  if (!handle) {
    fprintf(stderr, "can't open the plug-in: %s\n", argc > 1 ? dlerror() : "no path given");
    return 1;
  }
  *(void **)(&entry) = dlsym(handle, LAMINA_LIBRARY_SYMBOL);
  REQUIRE(entry, "no " LAMINA_LIBRARY_SYMBOL);
  library = entry();
  REQUIRE(library->struct_size >= sizeof(lamina_library), "lamina_library is shorter than in 1.0");
  REQUIRE(library->abi_minor <= LAMINA_ABI_MINOR, "the plug-in needs a later minor");
  REQUIRE(find_op(library, "forward"), "no op forward");
  if (run(find_op(library, "forward"), &sum)) return 1;
  if (find_op(library, "backward")) {
    REQUIRE(find_op(library, "forward_train"), "op backward without forward_train");
    if (run(find_op(library, "forward_train"), &sum) || run(find_op(library, "backward"), &sum)) return 1;
  }
  printf("%.9g\n", sum);
  return 0;
}
