/* The smallest plug-in that runs on a GPU: out = 2 x + 1, float32.  It shows that conform's device checks pass on a right build and,
   by -DMISTAKE, that they fail on a wrong one.  With -DREFERENCE it is the reference: float64 and float32 on the CPU. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/lamina_abi.h"

#define NONE 0
#define SYNCHRONISES 1
#define OWN_STREAM 2
#define NEEDS_CONTEXT 3
#define WRITES_BESIDE 4
#ifndef MISTAKE
#define MISTAKE NONE
#endif

/* Every dtype has a limit; only float32 is taken. */
#define LIMITS "{\"float64\": 1e-12, \"float16\": 1e-3, \"bfloat16\": 1e-2, \"float32\": "
static const char contract[] =
    "{\"schema\": \"lamina/contract/1\", \"layer\": \"probe\", \"version\": \"1.0.0\", \"title\": \"out = 2 x + 1\", \"maths\": [\"out = 2 "
    "x + 1\"],"
    "\"sources\": [\"this file\"], \"dims\": {\"M\": \"rows\", \"C\": \"channels\"}, \"attributes\": [], \"arguments\": ["
    "{\"name\": \"x\", \"shape\": \"M C\", \"dtype\": \"activation\", \"doc\": \"input\"},"
    "{\"name\": \"out\", \"shape\": \"M C\", \"dtype\": \"same:x\", \"role\": \"output\", \"doc\": \"output\"}],"
    "\"ops\": [{\"name\": \"forward\", \"kind\": \"forward\", \"arguments\": [\"x\", \"out\"], \"doc\": \"all\"}], \"flops\": "
    "{\"forward\": {\"MC\": 2}},"
    "\"tolerances\": {\"derivation\": \"one rounding\", \"frobenius\": " LIMITS "2e-7}, \"frobenius_shifted\": " LIMITS
    "2e-7},"
    "\"worst_row\": " LIMITS "5e-7}, \"worst_element\": " LIMITS "1e-6}}}";

struct lamina_plan {
  void *context, *function, *stream;
};

static lamina_status fail(lamina_error *error, lamina_status status, const char *message) {
  if (!error) return status;
  error->arg = error->dim = -1;
  error->native_code = 0;
  snprintf(error->message, sizeof error->message, "probe: %s", message);
  return status;
}

#ifdef REFERENCE
#define DTYPES (LAMINA_BIT_FLOAT64 | LAMINA_BIT_FLOAT32)
#define DEVICE LAMINA_CPU
static lamina_status start(lamina_plan *plan, int ordinal) {
  (void)plan, (void)ordinal;
  return LAMINA_OK;
}
static lamina_status launch(const lamina_plan *plan, const lamina_tensor *x, const lamina_tensor *out, int64_t count, void *stream) {
  int64_t i;
  (void)plan, (void)stream;
  for (i = 0; i < count; ++i) {
    if (x->dtype.bits == 64) ((double *)out->data)[i] = 2 * ((const double *)x->data)[i] + 1;
    else ((float *)out->data)[i] = 2 * ((const float *)x->data)[i] + 1;
  }
  return LAMINA_OK;
}
#else
#define DTYPES LAMINA_BIT_FLOAT32
#define DEVICE LAMINA_CUDA
static const char ptx[] =
    ".version 7.0\n.target sm_50\n.address_size 64\n"
    ".visible .entry probe(.param .u64 x, .param .u64 out, .param .u64 n) {\n"
    ".reg .pred %p; .reg .b32 %r<4>; .reg .b64 %rd<8>; .reg .f32 %f<3>;\n"
    "ld.param.u64 %rd1, [x]; ld.param.u64 %rd2, [out]; ld.param.u64 %rd3, [n];\n"
    "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x;\n"
    "mul.wide.u32 %rd4, %r1, %r2; cvt.u64.u32 %rd5, %r3; add.u64 %rd4, %rd4, %rd5;\n"
    "setp.ge.u64 %p, %rd4, %rd3; @%p ret;\n"
    "shl.b64 %rd5, %rd4, 2; add.u64 %rd6, %rd1, %rd5; add.u64 %rd7, %rd2, %rd5;\n"
    "ld.global.f32 %f1, [%rd6]; fma.rn.f32 %f2, %f1, 0f40000000, 0f3F800000; st.global.f32 [%rd7], %f2; ret;\n}\n";

static struct {
  int (*init)(unsigned), (*device)(int *, int), (*retain)(void **, int), (*push)(void *), (*pop)(void **), (*load)(void **, const void *),
      (*function)(void **, void *, const char *), (*synchronise)(void), (*create_stream)(void **, unsigned),
      (*launch)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);
} cuda;

static int load_driver(void) {
  static const char *const names[] = {
      "cuInit",           "cuDeviceGet",         "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuCtxPopCurrent_v2",
      "cuModuleLoadData", "cuModuleGetFunction", "cuCtxSynchronize",         "cuStreamCreate",      "cuLaunchKernel"};
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  size_t i;
  for (i = 0; library && i < sizeof names / sizeof *names; ++i) {
    void *symbol = dlsym(library, names[i]);
    if (!symbol) return 0;
    memcpy((char *)&cuda + i * sizeof symbol, &symbol, sizeof symbol);
  }
  return library != NULL;
}

static lamina_status start(lamina_plan *plan, int ordinal) {
  int device;
  void *module, *popped;
  if (!load_driver()) return LAMINA_UNSUPPORTED;
  if (cuda.init(0) || cuda.device(&device, ordinal) || cuda.retain(&plan->context, device)) return LAMINA_DEVICE_ERROR;
  if (cuda.push(plan->context)) return LAMINA_DEVICE_ERROR;
  if (cuda.load(&module, ptx) || cuda.function(&plan->function, module, "probe") || cuda.create_stream(&plan->stream, 1))
    return LAMINA_DEVICE_ERROR;
  return cuda.pop(&popped) ? LAMINA_DEVICE_ERROR : LAMINA_OK;
}

static lamina_status launch(const lamina_plan *plan, const lamina_tensor *x, const lamina_tensor *out, int64_t count, void *stream) {
  void *from = x->data, *to = out->data, *popped;
  unsigned long long n = (unsigned long long)count;
  void *arguments[3];
  int code;
  if (MISTAKE == WRITES_BESIDE) n += 1;
  if (MISTAKE == OWN_STREAM) stream = plan->stream;
  arguments[0] = &from, arguments[1] = &to, arguments[2] = &n;
  if (MISTAKE != NEEDS_CONTEXT && cuda.push(plan->context)) return LAMINA_DEVICE_ERROR;
  code = cuda.launch(plan->function, (unsigned)((n + 127) / 128), 1, 1, 128, 1, 1, 0, stream, arguments, NULL);
  if (MISTAKE == SYNCHRONISES && !code) code = cuda.synchronise();
  if (MISTAKE != NEEDS_CONTEXT) cuda.pop(&popped);
  return code ? LAMINA_DEVICE_ERROR : LAMINA_OK;
}
#endif

static lamina_status create(const lamina_op *op, const lamina_plan_desc *desc, lamina_plan **plan, lamina_error *error) {
  lamina_status status;
  (void)op;
  *plan = NULL;
  if (desc->device.type != DEVICE) return fail(error, LAMINA_WRONG_DEVICE, "another device");
  *plan = calloc(1, sizeof **plan);
  status = start(*plan, desc->device.id);
  if (!status) return status;
  free(*plan);
  *plan = NULL;
  return fail(error, status, "no driver, or it refuses");
}
static void destroy(lamina_plan *plan) { free(plan); }
static lamina_status need(const lamina_plan *plan, const lamina_call *call, lamina_need *out, lamina_error *error) {
  (void)plan, (void)call, (void)error;
  out->flags = LAMINA_DETERMINISTIC | LAMINA_CAPTURE_SAFE;
  out->workspace_size = out->packed_size = 0;
  out->workspace_align = 1;
  out->packed_format = NULL;
  return LAMINA_OK;
}
static lamina_status run(const lamina_plan *plan, const lamina_call *call, lamina_error *error) {
  const lamina_tensor *x = call->tensors[0], *out = call->tensors[1];
  const lamina_status status = launch(plan, x, out, x->shape[0] * x->shape[1], call->stream);
  return status ? fail(error, status, "the launch failed") : status;
}
static lamina_status infer(const lamina_plan *plan, const lamina_call *call, lamina_tensor *out, lamina_error *error) {
  int64_t *shape = (int64_t *)(uintptr_t)out[1].shape;
  (void)plan, (void)error;
  shape[0] = call->tensors[0]->shape[0], shape[1] = call->tensors[0]->shape[1];
  out[1] = *call->tensors[0];
  out[1].data = NULL, out[1].byte_offset = 0, out[1].strides = NULL, out[1].shape = shape;
  return LAMINA_OK;
}

static const lamina_arg args[] = {{"x", "M C", LAMINA_INPUT, 0, 0, DTYPES, -1, 0}, {"out", "M C", LAMINA_OUTPUT, 0, 0, DTYPES, 0, 0}};
static const lamina_op forward = {sizeof(lamina_op), LAMINA_FORWARD, "forward", args, NULL, 2, 0, create, destroy, need, run, infer};
static const lamina_op *const ops[] = {&forward};
static const void *extension(const char *id) {
  (void)id;
  return NULL;
}
static const lamina_library library = {sizeof(lamina_library),
                                       0,
                                       "probe",
                                       "1.0.0",
                                       DEVICE == LAMINA_CPU ? "reference" : "cuda_probe",
                                       "probe-1",
                                       contract,
                                       sizeof contract - 1,
                                       ops,
                                       1,
                                       0,
                                       extension};
const lamina_library *lamina_library_v1(void);
const lamina_library *lamina_library_v1(void) { return &library; }
