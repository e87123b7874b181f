/* A real checkpoint through liblamina: finds the layer's parameters by the host module's own names, packs them, runs, and compares the
 * result with the reference build.
 *
 *   bind_safetensors ORG/NAME[@vN] FILE.safetensors HOST PREFIX REFERENCE.so
 *   bind_safetensors org/triangle-multiplication@v1 model.safetensors boltz pairformer_module.layers.0.tri_mul_out reference.so
 *
 * Build: cc bind_safetensors.c $(pkg-config --cflags --libs lamina) -lm
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lamina/lamina_hub.h>
#include <lamina/triangle_multiplication.h>

enum { N = 48, ATTRIBUTES = 16 };

static void *allocate(uint64_t size, uint64_t align) { /* the process ends soon; a host frees */
  char *memory = malloc(size + align);
  if (!memory) exit(1);
  return memory + (align - (uintptr_t)memory % align) % align;
}

static const lamina_op *find_op(const lamina_library *library, const char *name) {
  for (uint32_t i = 0; i < library->op_count; ++i)
    if (!strcmp(library->ops[i]->name, name)) return library->ops[i];
  return NULL;
}

static int complain(const char *what, const char *why) {
  fprintf(stderr, "bind_safetensors: %s: %s\n", what, why);
  return 1;
}

/* A plan with the attributes that the host fixes (direction, eps, ...), and those of `extra`. */
static lamina_plan *make_plan(const lamina_op *op, const lamina_hub_binding *binding, const lamina_attr *extra) {
  lamina_attr attributes[ATTRIBUTES + 1];
  lamina_plan_desc desc = {.struct_size = sizeof desc, .device = {LAMINA_CPU, 0}, .attrs = attributes};
  if (op->attr_count > ATTRIBUTES) return complain(op->name, "too many attributes for this example"), NULL;
  desc.attr_count = lamina_hub_attributes(binding, op, attributes);
  if (extra) attributes[desc.attr_count++] = *extra;
  lamina_error error = {.struct_size = sizeof error};
  lamina_plan *plan = NULL;
  if (op->plan_create(op, &desc, &plan, &error)) complain("plan", error.message);
  return plan;
}

/* Runs `op` on `table` with a workspace of its own; `need` may be NULL. */
static int call_op(const lamina_op *op, const lamina_plan *plan, const lamina_tensor *const *table, lamina_need *asked) {
  lamina_error error = {.struct_size = sizeof error};
  lamina_call call = {.struct_size = sizeof call, .tensor_count = op->arg_count, .tensors = table};
  lamina_need need = {.struct_size = sizeof need};
  if (op->plan_need(plan, &call, &need, &error)) return complain(op->name, error.message);
  if (asked) return *asked = need, 0;
  call.workspace = allocate(need.workspace_size, need.workspace_align);
  call.workspace_size = need.workspace_size;
  return op->run(plan, &call, &error) ? complain(op->name, error.message) : 0;
}

/* The parameters as the build wants them in memory: once, then every run is faster.  The bytes are ours. */
static int pack(const lamina_library *library, const lamina_hub_binding *binding, lamina_tensor *packed, int64_t *size) {
  const lamina_op *op = find_op(library, "pack");
  const lamina_attr dtype = {TRIANGLE_MULTIPLICATION_DTYPE, LAMINA_ATTR_STRING, 0, {.s = "float32"}};
  const lamina_tensor *table[TRIANGLE_MULTIPLICATION_PACK_ARGUMENTS] = {NULL};
  lamina_plan *plan = op ? make_plan(op, binding, &dtype) : NULL;
  if (!plan) return 1;
  lamina_hub_place(binding, op, table);
  lamina_need need;
  if (call_op(op, plan, table, &need)) return 1;
  *size = (int64_t)need.packed_size;
  const lamina_tensor made = {allocate(need.packed_size, 64), {LAMINA_CPU, 0}, 1, {LAMINA_CODE_UINT, 8, 1}, size, NULL, 0};
  *packed = made;
  table[TRIANGLE_MULTIPLICATION_PACK_PACKED] = packed;
  const int failed = call_op(op, plan, table, NULL);
  op->plan_destroy(plan);
  return failed;
}

static int forward(const lamina_library *library, const lamina_hub_binding *binding, const lamina_tensor *packed, const lamina_tensor *pair,
                   const lamina_tensor *out) {
  const lamina_op *op = find_op(library, "forward");
  const lamina_tensor *table[TRIANGLE_MULTIPLICATION_FORWARD_ARGUMENTS] = {NULL};
  lamina_plan *plan = op ? make_plan(op, binding, NULL) : NULL;
  if (!plan) return 1;
  lamina_hub_place(binding, op, table); /* every parameter that the checkpoint has */
  table[TRIANGLE_MULTIPLICATION_FORWARD_PACKED] = packed;
  table[TRIANGLE_MULTIPLICATION_FORWARD_PAIR] = pair;
  table[TRIANGLE_MULTIPLICATION_FORWARD_OUT] = out;
  const int failed = call_op(op, plan, table, NULL);
  op->plan_destroy(plan);
  return failed;
}

static int compare(const lamina_library *library, const lamina_library *reference, const lamina_hub_binding *binding, int64_t channels) {
  const int64_t shape[4] = {1, N, N, channels}, cells = (int64_t)N * N * channels;
  lamina_tensor tensors[3]; /* pair, out, expected */
  for (int i = 0; i < 3; ++i) {
    const lamina_tensor made = {
        allocate((uint64_t)cells * sizeof(float), 64), {LAMINA_CPU, 0}, 4, {LAMINA_CODE_FLOAT, 32, 1}, shape, NULL, 0};
    tensors[i] = made;
  }
  uint32_t state = 1;
  for (int64_t i = 0; i < cells; ++i) {
    state = state * 1664525u + 1013904223u;
    ((float *)tensors[0].data)[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
  }
  lamina_tensor packed;
  int64_t packed_size = 0;
  if (pack(library, binding, &packed, &packed_size) || forward(library, binding, &packed, &tensors[0], &tensors[1]) ||
      forward(reference, binding, NULL, &tensors[0], &tensors[2]))
    return 1;
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < cells; ++i) {
    const double value = ((const float *)tensors[1].data)[i], expected = ((const float *)tensors[2].data)[i];
    difference += (value - expected) * (value - expected), norm += expected * expected;
  }
  printf("%s against %s: %lld packed bytes, norm %.6g, relative error %.2e\n", library->target, reference->target, (long long)packed_size,
         sqrt(norm), sqrt(difference / norm));
  return norm > 0 && difference <= norm * 4e-12 ? 0 : complain("result", "is farther from the reference than float32's tolerance, 2e-6");
}

int main(int argc, char **argv) {
  if (argc != 6) return fprintf(stderr, "usage: bind_safetensors ORG/NAME[@vN] FILE.safetensors HOST PREFIX REFERENCE.so\n"), 2;
  const lamina_hub_options options = {.struct_size = sizeof options, .backend = "cpu"};
  const lamina_hub_checkpoint checkpoint = {.struct_size = sizeof checkpoint, .file = argv[2], .host = argv[3], .prefix = argv[4]};
  lamina_hub_error error = {.struct_size = sizeof error};
  lamina_hub_client *client = NULL;
  lamina_hub_bundle *bundle = NULL, *other = NULL;
  lamina_hub_binding *binding = NULL;
  lamina_hub_bound bound = {.struct_size = sizeof bound};
  const lamina_library *library = NULL, *reference = NULL;
  lamina_hub_status status = lamina_hub_open(&options, &client, &error);
  if (!status) status = lamina_hub_fetch(client, argv[1], &bundle, &error);
  if (!status) status = lamina_hub_load(bundle, &library, &error);
  if (!status) status = lamina_hub_bind(bundle, &checkpoint, &binding, &error);
  if (!status) status = lamina_hub_binding_info(binding, &bound, &error);
  if (!status) status = lamina_hub_open_build(client, argv[5], &other, &error);
  if (!status) status = lamina_hub_load(other, &reference, &error);
  if (status) fprintf(stderr, "bind_safetensors: %s\n", error.message);
  else {
    int64_t channels = 0;
    printf("%s of %s\n", bound.host_class, argv[3]);
    for (uint32_t i = 0; i < bound.dim_count; ++i) {
      printf("  %s = %lld\n", bound.dims[i].name, (long long)bound.dims[i].extent);
      if (!strcmp(bound.dims[i].name, "C")) channels = bound.dims[i].extent;
    }
    for (uint32_t i = 0; i < bound.argument_count; ++i)
      printf("  %-22s %s\n", bound.arguments[i].name, bound.arguments[i].tensor ? "bound" : "absent");
    status = compare(library, reference, binding, channels);
  }
  lamina_hub_binding_close(binding);
  lamina_hub_bundle_close(other);
  lamina_hub_bundle_close(bundle);
  lamina_hub_close(client);
  return status;
}
