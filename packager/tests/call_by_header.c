/* A bundle's generated header against its builds: C99 and C++17.  argv: a build, and another (the reference) to compare with.
   The first is called through the inline wrappers, the second by the names in its own table; exit code 0 when both agree. */
#include "triangle_multiplication.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { residues = 7, channels = 16, hidden = 8, cells = residues * residues };

static float noise(void) { /* the same numbers in every run and on every machine */
  static uint32_t state = 1;
  state = state * 1664525u + 1013904223u;
  return (float)(state >> 8) / 8388608.0f - 1.0f;
}

static lamina_tensor tensor(float *data, const int64_t *shape, int32_t ndim, size_t count, float scale, float offset) {
  lamina_tensor made;
  size_t i;
  memset(&made, 0, sizeof made);
  for (i = 0; i < count; ++i) data[i] = noise() * scale + offset;
  made.data = data, made.device.type = LAMINA_CPU, made.ndim = ndim, made.shape = shape;
  made.dtype.code = LAMINA_CODE_FLOAT, made.dtype.bits = 32, made.dtype.lanes = 1;
  return made;
}

static const lamina_op *open_op(const char *path, const char *name) {
  union { /* ISO C has no cast from a pointer to data to one to code */
    void *data;
    lamina_library_v1_function code;
  } entry;
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  const lamina_library *library;
  uint32_t i;
  if (!handle) return fprintf(stderr, "%s\n", dlerror()), (const lamina_op *)NULL;
  entry.data = dlsym(handle, LAMINA_LIBRARY_SYMBOL);
  if (!entry.data) return NULL;
  library = entry.code();
  for (i = 0; i < library->op_count; ++i)
    if (strcmp(library->ops[i]->name, name) == 0) return library->ops[i];
  return NULL;
}

/* The enum is the order of the build's own table. */
static int order_agrees(const lamina_op *op) {
  return op->arg_count == TRIANGLE_MULTIPLICATION_FORWARD_ARGUMENTS &&
         strcmp(op->args[TRIANGLE_MULTIPLICATION_FORWARD_PAIR].name, "pair") == 0 &&
         strcmp(op->args[TRIANGLE_MULTIPLICATION_FORWARD_OUT_GATE_WEIGHT].name, "out_gate_weight") == 0 &&
         strcmp(op->args[TRIANGLE_MULTIPLICATION_FORWARD_OUT].name, "out") == 0;
}

struct named {
  const char *name;
  const lamina_tensor *tensor;
};

/* What the wrappers do, without the header: pointers by the names of the build's table. */
static lamina_status run_by_name(const lamina_op *op, const lamina_plan *plan, const struct named *given, size_t count,
                                 lamina_error *error) {
  const lamina_tensor *table[64] = {NULL};
  lamina_need need;
  lamina_call call;
  lamina_status status;
  uint32_t row;
  size_t i;
  void *workspace = NULL;
  if (op->arg_count > 64) return LAMINA_INTERNAL;
  for (row = 0; row < op->arg_count; ++row)
    for (i = 0; i < count; ++i)
      if (strcmp(op->args[row].name, given[i].name) == 0) table[row] = given[i].tensor;
  memset(&call, 0, sizeof call), memset(&need, 0, sizeof need);
  call.struct_size = (uint32_t)sizeof call, call.tensor_count = op->arg_count, call.tensors = table;
  need.struct_size = (uint32_t)sizeof need;
  status = op->plan_need(plan, &call, &need, error);
  if (status != LAMINA_OK) return status;
  if (need.workspace_size && posix_memalign(&workspace, 4096, (size_t)need.workspace_size)) return LAMINA_NO_MEMORY;
  call.workspace = workspace, call.workspace_size = need.workspace_size;
  status = op->run(plan, &call, error);
  free(workspace);
  return status;
}

static int run(const char *path, triangle_multiplication_forward_arguments *arguments, lamina_tensor *out, float *result,
               const struct named *given, size_t count) {
  const lamina_op *op = open_op(path, "forward");
  lamina_attr direction;
  lamina_plan_desc desc;
  lamina_plan *plan = NULL;
  lamina_need need;
  lamina_error error;
  void *workspace = NULL;
  lamina_status status;
  if (!op || !order_agrees(op)) return fprintf(stderr, "%s: no op forward as the header describes it\n", path), 0;
  memset(&error, 0, sizeof error), memset(&desc, 0, sizeof desc), memset(&direction, 0, sizeof direction), memset(&need, 0, sizeof need);
  error.struct_size = (uint32_t)sizeof error, desc.struct_size = (uint32_t)sizeof desc, desc.device.type = LAMINA_CPU;
  direction.name = TRIANGLE_MULTIPLICATION_DIRECTION, direction.kind = LAMINA_ATTR_STRING, direction.value.s = "incoming";
  desc.attrs = &direction, desc.attr_count = 1;
  status = op->plan_create(op, &desc, &plan, &error);
  out->data = result, arguments->out = out;
  if (given) {
    if (status == LAMINA_OK) status = run_by_name(op, plan, given, count, &error);
  } else {
    if (status == LAMINA_OK) status = triangle_multiplication_forward_need(op, plan, arguments, &need, &error);
    if (status == LAMINA_OK && need.workspace_size && posix_memalign(&workspace, 4096, (size_t)need.workspace_size)) return 0;
    if (status == LAMINA_OK)
      status = triangle_multiplication_forward_run(op, plan, arguments, NULL, workspace, need.workspace_size, &error);
  }
  if (status != LAMINA_OK) fprintf(stderr, "%s: status %d: %s\n", path, (int)status, error.message);
  op->plan_destroy(plan);
  free(workspace);
  return status == LAMINA_OK;
}

int main(int argc, char **argv) {
  static const int64_t pair_shape[] = {1, residues, residues, channels}, in_shape[] = {hidden, channels}, out_shape[] = {channels, hidden};
  static const int64_t gate_shape[] = {channels, channels}, c_shape[] = {channels}, h_shape[] = {hidden};
  static float pair[cells * channels], in_weight[4][hidden * channels], norm_in[2][channels], norm_out[2][hidden];
  static float out_weight[channels * hidden], gate_weight[channels * channels], result[2][cells * channels];
  const size_t in_count = hidden * channels, all = cells * channels;
  static const char *const names[] = {"pair",          "norm_in_weight",        "norm_in_bias",   "a_projection_weight",
                                      "a_gate_weight", "b_projection_weight",   "b_gate_weight",  "norm_out_weight",
                                      "norm_out_bias", "out_projection_weight", "out_gate_weight"};
  lamina_tensor given[11], out;
  struct named named[12];
  triangle_multiplication_forward_arguments arguments;
  double difference = 0, norm = 0;
  size_t i;
  if (argc != 3) return 2;
  given[0] = tensor(pair, pair_shape, 4, all, 1.7f, 0);
  given[1] = tensor(norm_in[0], c_shape, 1, channels, 0.2f, 1), given[2] = tensor(norm_in[1], c_shape, 1, channels, 0.2f, 0);
  for (i = 0; i < 4; ++i) given[3 + i] = tensor(in_weight[i], in_shape, 2, in_count, 0.4f, 0);
  given[7] = tensor(norm_out[0], h_shape, 1, hidden, 0.2f, 1), given[8] = tensor(norm_out[1], h_shape, 1, hidden, 0.2f, 0);
  given[9] = tensor(out_weight, out_shape, 2, channels * hidden, 0.6f, 0);
  given[10] = tensor(gate_weight, gate_shape, 2, channels * channels, 0.4f, 0);
  out = given[0];
  memset(&arguments, 0, sizeof arguments);
  arguments.pair = &given[0], arguments.norm_in_weight = &given[1], arguments.norm_in_bias = &given[2];
  arguments.a_projection_weight = &given[3], arguments.a_gate_weight = &given[4];
  arguments.b_projection_weight = &given[5], arguments.b_gate_weight = &given[6];
  arguments.norm_out_weight = &given[7], arguments.norm_out_bias = &given[8];
  arguments.out_projection_weight = &given[9], arguments.out_gate_weight = &given[10];
  for (i = 0; i < 11; ++i) named[i].name = names[i], named[i].tensor = &given[i];
  named[11].name = "out", named[11].tensor = &out;
  if (!run(argv[1], &arguments, &out, result[0], NULL, 0) || !run(argv[2], &arguments, &out, result[1], named, 12)) return 1;
  for (i = 0; i < all; ++i) {
    difference += pow((double)result[0][i] - result[1][i], 2);
    norm += pow((double)result[1][i], 2);
  }
  printf("relative difference %.2e, norm %.3g\n", sqrt(difference / norm), sqrt(norm));
  return norm > 1 && sqrt(difference / norm) <= 2e-6 ? 0 : 1;
}
