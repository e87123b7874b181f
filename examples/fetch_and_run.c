/* From a name on a hub to a result: resolves, fetches, verifies and loads the build of this machine, then runs triangle multiplication on
 * the seeded problem of call_abi_directly.c.
 *
 *   fetch_and_run ORG/NAME[@vN] [ARCH]        ARCH: this build instead of the best one, such as cpu_avx2
 *
 * Which hub, cache and keys: the environment says (HF_ENDPOINT, HF_HUB_CACHE, HF_HUB_OFFLINE, `lamina trust`).
 * Build: cc fetch_and_run.c $(pkg-config --cflags --libs lamina) -lm
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <lamina/lamina_hub.h>
#include <lamina/triangle_multiplication.h>

enum { N = 40, C = 32 };

static uint64_t state = 1;
static float noise(void) { /* splitmix64, in [-1, 1) */
  uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return (float)((z ^ (z >> 31)) >> 40) / 8388608.0f - 1.0f;
}

static float *fill(int64_t count, float scale) {
  float *values = malloc((size_t)count * sizeof *values);
  if (!values) exit(1);
  for (int64_t i = 0; i < count; ++i) values[i] = scale * noise();
  return values;
}

static lamina_tensor tensor(float *data, int32_t ndim, const int64_t *shape) {
  const lamina_tensor made = {data, {LAMINA_CPU, 0}, ndim, {LAMINA_CODE_FLOAT, 32, 1}, shape, NULL, 0};
  return made;
}

static void on_log(void *context, int32_t level, const char *sentence) {
  (void)context;
  fprintf(stderr, "%s%s\n", level > 1 ? "warning: " : "", sentence);
}

static int32_t on_progress(void *context, const lamina_hub_progress *now) {
  *(uint64_t *)context = now->all_done;
  return 0; /* anything else stops the download */
}

/* Runs `forward` on noise and prints a checksum.  0 when it went well. */
static int run(const lamina_library *library) {
  const lamina_op *forward = library->ops[0];
  lamina_error error = {.struct_size = sizeof error};
  const lamina_plan_desc desc = {.struct_size = sizeof desc, .device = {LAMINA_CPU, 0}};
  lamina_plan *plan = NULL;
  if (forward->plan_create(forward, &desc, &plan, &error)) return fprintf(stderr, "plan: %s\n", error.message), 1;

  const int64_t pair_shape[4] = {1, N, N, C}, square[2] = {C, C}, line[1] = {C};
  const int64_t cells = (int64_t)N * N * C;
  const float scale = 1.0f / sqrtf(C);
  const lamina_tensor pair = tensor(fill(cells, 1), 4, pair_shape);
  const lamina_tensor a_projection = tensor(fill(C * C, scale), 2, square), a_gate = tensor(fill(C * C, scale), 2, square);
  const lamina_tensor b_projection = tensor(fill(C * C, scale), 2, square), b_gate = tensor(fill(C * C, scale), 2, square);
  const lamina_tensor norm_weight = tensor(fill(C, 1), 1, line), norm_bias = tensor(fill(C, 1), 1, line);
  const lamina_tensor out_projection = tensor(fill(C * C, scale), 2, square), out_gate = tensor(fill(C * C, scale), 2, square);
  const lamina_tensor out = tensor(fill(cells, 0), 4, pair_shape);
  /* What is not named is NULL: absent.  Names and order are the header's, which comes with every bundle. */
  const triangle_multiplication_forward_arguments arguments = {.pair = &pair,
                                                               .a_projection_weight = &a_projection,
                                                               .a_gate_weight = &a_gate,
                                                               .b_projection_weight = &b_projection,
                                                               .b_gate_weight = &b_gate,
                                                               .norm_out_weight = &norm_weight,
                                                               .norm_out_bias = &norm_bias,
                                                               .out_projection_weight = &out_projection,
                                                               .out_gate_weight = &out_gate,
                                                               .out = &out};

  lamina_need need;
  if (triangle_multiplication_forward_need(forward, plan, &arguments, &need, &error)) return fprintf(stderr, "%s\n", error.message), 1;
  char *memory = malloc(need.workspace_size + need.workspace_align);
  if (!memory) return 1;
  char *workspace = memory + (need.workspace_align - (uintptr_t)memory % need.workspace_align) % need.workspace_align;
  if (triangle_multiplication_forward_run(forward, plan, &arguments, NULL, workspace, need.workspace_size, &error))
    return fprintf(stderr, "run: %s\n", error.message), 1;
  forward->plan_destroy(plan);

  double norm = 0, dot = 0;
  for (int64_t i = 0; i < cells; ++i) {
    const double value = ((const float *)out.data)[i];
    norm += value * value, dot += value * (double)(i * 7919 % 1013) / 1013;
  }
  printf("%s %s %s: workspace %llu bytes\n", library->name, library->version, library->target, (unsigned long long)need.workspace_size);
  printf("checksum norm %.9g dot %.9g\n", sqrt(norm), dot);
  const lamina_tensor *made[] = {&pair,        &a_projection, &a_gate,         &b_projection, &b_gate,
                                 &norm_weight, &norm_bias,    &out_projection, &out_gate,     &out};
  for (size_t i = 0; i < sizeof made / sizeof *made; ++i) free(made[i]->data);
  free(memory);
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 2) return fprintf(stderr, "usage: fetch_and_run ORG/NAME[@vN] [ARCH]\n"), 2;
  uint64_t bytes = 0;
  const lamina_hub_options options = {.struct_size = sizeof options,
                                      .arch = argc > 2 ? argv[2] : NULL,
                                      .backend = "cpu",
                                      .context = &bytes,
                                      .log = on_log,
                                      .progress = on_progress};
  lamina_hub_error error = {.struct_size = sizeof error};
  lamina_hub_client *client = NULL;
  lamina_hub_bundle *bundle = NULL;
  lamina_hub_info info = {.struct_size = sizeof info};
  const lamina_library *library = NULL;
  lamina_hub_status status = lamina_hub_open(&options, &client, &error);
  if (!status) status = lamina_hub_fetch(client, argv[1], &bundle, &error);
  if (!status) status = lamina_hub_bundle_info(bundle, &info, &error);
  if (!status) status = lamina_hub_load(bundle, &library, &error);
  if (status) fprintf(stderr, "fetch_and_run: %s\n", error.message);
  else {
    printf("%sbuild %s, signed by %s, %llu bytes came\n", info.explanation, info.build_id, *info.signed_by ? info.signed_by : "nobody",
           (unsigned long long)bytes);
    status = run(library);
  }
  lamina_hub_bundle_close(bundle);
  lamina_hub_close(client);
  return status;
}
