/* A host of ABI 1.0 that knows no layer: opens the plug-in that argv[1] names, fills every required argument of op "forward" by
   its table, runs it and prints the outputs' checksum.  Exit code 0: all went as ABI 1.0 promises. */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lamina_abi.h"

#define REQUIRE(condition, text)                                            \
  do {                                                                      \
    if (!(condition)) {                                                     \
      fprintf(stderr, "%s: %s\n", text, error.message);                     \
      return 1;                                                             \
    }                                                                       \
  } while (0)

enum { most_arguments = 64 };

/* Extents by letter: channels are 8, everything else 3. */
static int64_t extent_of(const char *word) {
  if (*word >= '0' && *word <= '9') return strtoll(word, NULL, 10);
  return strchr("CHG", *word) ? 8 : 3;
}

int main(int argc, char **argv) {
  static lamina_tensor tensors[most_arguments], inferred[most_arguments];
  static int64_t shapes[most_arguments][8], room[most_arguments][8];
  static const lamina_tensor *pointers[most_arguments];
  lamina_error error;
  lamina_plan_desc desc;
  lamina_call call;
  lamina_need need;
  lamina_plan *plan = NULL;
  const lamina_op *op = NULL;
  double sum = 0;
  uint32_t i;
  void *workspace;

  void *handle = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
  lamina_library_v1_function entry = NULL;
  const lamina_library *library;
  memset(&error, 0, sizeof error);
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
  for (i = 0; i < library->op_count; ++i)
    if (strcmp(library->ops[i]->name, "forward") == 0) op = library->ops[i];
  REQUIRE(op && op->arg_count <= most_arguments && op->struct_size >= sizeof(lamina_op), "no op forward");

  for (i = 0; i < op->arg_count; ++i) {
    const lamina_arg *arg = &op->args[i];
    int64_t count = 1, at;
    char words[64], *word;
    int rank = 0;
    float *data;
    if (arg->flags & LAMINA_OPTIONAL) continue;
    snprintf(words, sizeof words, "%s", arg->shape);
    for (word = strtok(words, " "); word; word = strtok(NULL, " ")) {
      shapes[i][rank] = extent_of(word);
      count *= shapes[i][rank++];
    }
    REQUIRE(arg->dtypes & LAMINA_BIT_FLOAT32, "an argument takes no float32");
    data = malloc((size_t)count * sizeof *data);
    REQUIRE(data, "no memory");
    for (at = 0; at < count; ++at) data[at] = (float)sin(0.7 * (double)at + (double)i);
    tensors[i].data = data;
    tensors[i].device.type = LAMINA_CPU;
    tensors[i].ndim = rank;
    tensors[i].dtype.code = LAMINA_CODE_FLOAT;
    tensors[i].dtype.bits = 32;
    tensors[i].dtype.lanes = 1;
    tensors[i].shape = shapes[i];
    pointers[i] = &tensors[i];
  }

  memset(&desc, 0, sizeof desc);
  desc.struct_size = sizeof desc;
  desc.device.type = LAMINA_CPU;
  REQUIRE(op->plan_create(op, &desc, &plan, &error) == LAMINA_OK, "plan_create");
  memset(&call, 0, sizeof call);
  call.struct_size = sizeof call;
  call.tensor_count = op->arg_count;
  call.tensors = pointers;
  memset(&need, 0, sizeof need);
  need.struct_size = sizeof need;
  REQUIRE(op->plan_need(plan, &call, &need, &error) == LAMINA_OK, "plan_need");
  for (i = 0; i < op->arg_count; ++i) inferred[i].shape = room[i];
  REQUIRE(op->infer(plan, &call, inferred, &error) == LAMINA_OK, "infer");
  workspace = aligned_alloc(4096, (size_t)(need.workspace_size + 4095) / 4096 * 4096 + 4096);
  REQUIRE(workspace, "no memory");
  call.workspace = workspace;
  call.workspace_size = need.workspace_size;
#ifdef FUTURE
  /* A host of a later minor: a zero tail is what the plug-in knows, anything else it must refuse. */
  REQUIRE(sizeof call > 40, "the header is not a later one");
  call.future_member = 1;
  REQUIRE(op->run(plan, &call, &error) == LAMINA_UNSUPPORTED, "a later member that is set was not refused");
  REQUIRE(error.message[0], "refused without a message");
  call.future_member = 0;
#endif
  REQUIRE(op->run(plan, &call, &error) == LAMINA_OK, "run");
  for (i = 0; i < op->arg_count; ++i) {
    int64_t count = 1, at;
    int dim;
    if (op->args[i].role != LAMINA_OUTPUT) continue;
    REQUIRE(inferred[i].ndim == tensors[i].ndim, "infer: rank");
    for (dim = 0; dim < tensors[i].ndim; ++dim) {
      REQUIRE(inferred[i].shape[dim] == shapes[i][dim], "infer: shape");
      count *= shapes[i][dim];
    }
    for (at = 0; at < count; ++at) sum += (double)((const float *)tensors[i].data)[at] * (double)(at % 7 + 1);
  }
  REQUIRE(isfinite(sum) && sum != 0, "the outputs are not numbers");

  /* Refusals name their cause. */
  for (i = 0; i < op->arg_count; ++i)
    if (pointers[i] && op->args[i].role == LAMINA_INPUT) break;
  tensors[i].ndim -= 1;
  error.message[0] = 0;
  REQUIRE(op->run(plan, &call, &error) == LAMINA_INVALID_ARGUMENT && error.arg == (int32_t)i && error.message[0], "a wrong rank is not refused by name");
  tensors[i].ndim += 1;
  call.workspace_size = 0;
  call.workspace = NULL;
  if (need.workspace_size) REQUIRE(op->run(plan, &call, &error) == LAMINA_WORKSPACE, "a missing workspace is not refused");
  desc.flags = 1u << 30;
  {
    lamina_plan *none = NULL;
    REQUIRE(op->plan_create(op, &desc, &none, &error) == LAMINA_UNSUPPORTED && !none, "an unknown flag is not refused");
  }
  op->plan_destroy(plan);
  printf("%.9g\n", sum);
  return 0;
}
