/* The whole ABI in a hundred lines: opens a build by its path, reads its argument table, runs op "forward" on seeded noise.  No liblamina.
 *
 *   call_abi_directly BUILD.so [LETTER:EXTENT ...]      such as: call_abi_directly triangle_multiplication-1.0.0-reference.so N:100
 *
 * It knows no layer: every required argument is made from its row of the table.  Build: cc call_abi_directly.c -ldl -lm
 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lamina/lamina_abi.h>

enum { MAX_ARGUMENTS = 64, MAX_DIMS = 8 };

/* Extents by letter.  G, the width of triangle multiplication's output gate, is C. */
static int64_t extents[128] = {['B'] = 1, ['N'] = 40, ['C'] = 32, ['H'] = 32, ['G'] = 32};

/* splitmix64: the same numbers in every language and on every machine. */
static uint64_t state = 1;
static float noise(void) { /* in [-1, 1) */
  uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return (float)((z ^ (z >> 31)) >> 40) / 8388608.0f - 1.0f;
}

static void *aligned(uint64_t size, uint64_t alignment) { /* never freed here: the process ends */
  const uint64_t step = alignment ? alignment : 1;
  char *memory = malloc(size + step);
  if (!memory) exit(1);
  return memory + (step - (uintptr_t)memory % step) % step;
}

static int fail(const char *what, const char *why) {
  fprintf(stderr, "call_abi_directly: %s: %s\n", what, why);
  return 1;
}

/* A float32 tensor of the row's shape, row-major; weights of a projection are scaled by their width. */
static int64_t make_tensor(const lamina_arg *row, lamina_tensor *tensor, int64_t *shape) {
  int64_t elements = 1;
  const lamina_tensor empty = {NULL, {LAMINA_CPU, 0}, 0, {LAMINA_CODE_FLOAT, 32, 1}, NULL, NULL, 0};
  *tensor = empty;
  for (const char *word = row->shape; *word && tensor->ndim < MAX_DIMS; word += strcspn(word, " "), word += *word == ' ')
    elements *= shape[tensor->ndim++] = extents[(unsigned char)*word & 127];
  tensor->shape = shape;
  tensor->data = aligned((uint64_t)elements * sizeof(float), 64);
  const float scale = tensor->ndim == 2 ? 1.0f / sqrtf((float)shape[1]) : 1.0f;
  if (row->role != LAMINA_OUTPUT)
    for (int64_t i = 0; i < elements; ++i) ((float *)tensor->data)[i] = scale * noise();
  return elements;
}

int main(int argc, char **argv) {
  if (argc < 2) return fail("usage", "call_abi_directly BUILD.so [LETTER:EXTENT ...]");
  for (int i = 2; i < argc; ++i)
    if (argv[i][0] > 0 && argv[i][1] == ':') extents[(unsigned char)argv[i][0]] = strtoll(argv[i] + 2, NULL, 10);

  void *file = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (!file) return fail("dlopen", dlerror());
  lamina_library_v1_function entry;
  *(void **)&entry = dlsym(file, LAMINA_LIBRARY_SYMBOL);
  if (!entry) return fail(argv[1], "is no plug-in of ABI 1");
  const lamina_library *library = entry();
  const lamina_op *forward = NULL;
  for (uint32_t i = 0; i < library->op_count; ++i)
    if (library->ops[i]->kind == LAMINA_FORWARD) forward = library->ops[i];
  if (!forward || forward->arg_count > MAX_ARGUMENTS) return fail(library->name, "has no op \"forward\" of at most 64 arguments");

  lamina_error error = {.struct_size = sizeof error};
  const lamina_plan_desc desc = {.struct_size = sizeof desc, .device = {LAMINA_CPU, 0}}; /* every attribute at its default */
  lamina_plan *plan = NULL;
  if (forward->plan_create(forward, &desc, &plan, &error)) return fail("plan", error.message);

  lamina_tensor tensors[MAX_ARGUMENTS];
  int64_t shapes[MAX_ARGUMENTS][MAX_DIMS], elements = 0;
  const lamina_tensor *table[MAX_ARGUMENTS] = {NULL}, *out = NULL;
  for (uint32_t i = 0; i < forward->arg_count; ++i) {
    if (forward->args[i].flags & LAMINA_OPTIONAL) continue; /* NULL: absent */
    const int64_t count = make_tensor(&forward->args[i], &tensors[i], shapes[i]);
    table[i] = &tensors[i];
    if (forward->args[i].role == LAMINA_OUTPUT) out = table[i], elements = count;
  }
  if (!out) return fail(library->name, "has no output");

  lamina_call call = {.struct_size = sizeof call, .tensor_count = forward->arg_count, .tensors = table};
  lamina_need need = {.struct_size = sizeof need};
  if (forward->plan_need(plan, &call, &need, &error)) return fail("need", error.message);
  call.workspace = aligned(need.workspace_size, need.workspace_align);
  call.workspace_size = need.workspace_size;
  if (forward->run(plan, &call, &error)) return fail("run", error.message);
  forward->plan_destroy(plan);

  double norm = 0, dot = 0;
  for (int64_t i = 0; i < elements; ++i) {
    const double value = ((const float *)out->data)[i];
    norm += value * value, dot += value * (double)(i * 7919 % 1013) / 1013;
  }
  printf("%s %s %s: %lld elements, workspace %llu bytes\n", library->name, library->version, library->target, (long long)elements,
         (unsigned long long)need.workspace_size);
  printf("checksum norm %.9g dot %.9g\n", sqrt(norm), dot);
  return 0;
}
