/* Lamina plug-in ABI, version 1.  C99; includes nothing but C headers.
 *
 * A plug-in is one shared object for one layer on one kind of machine.  It exports one symbol, lamina_library_v1(), and
 * needs nothing but the C library.  The way through it:
 *
 *   library -> op ("forward", "pack", ...) -> plan (attributes, device and kernels fixed) -> run (on the caller's stream)
 *
 *   const lamina_library *library = lamina_library_v1();      // through dlsym
 *   op->plan_create(op, &desc, &plan, &error);                // once per attributes and device
 *   op->plan_need(plan, &call, &need, &error);                // how much workspace do these shapes need?
 *   op->run(plan, &call, &error);                             // as often as you like, from any thread
 *   op->plan_destroy(plan);
 *
 * Rules that hold everywhere
 *   Memory   Every tensor, the workspace and the packed weights belong to the caller.  A plug-in allocates no device
 *            memory, keeps no pointer after a call returned, and never frees what it did not allocate.
 *   Threads  Every function is thread-safe.  One plan may run on many threads at once if workspaces and outputs differ.
 *   Stream   run() enqueues on call->stream and returns; it never synchronises.  NULL is the legacy default stream.
 *            On CPU devices the stream is NULL and run() returns when the outputs are written.
 *   Errors   Functions return a lamina_status and, if `error` is not NULL, write a sentence into it.  No exception and no
 *            signal crosses this boundary, nothing is printed.
 *   Growth   Structs marked [growable] begin with struct_size = sizeof(the struct you compiled).  Members are only ever
 *            appended, and zero means what the previous version did.  A shorter struct is read as if zero-filled; of a
 *            longer one the unknown tail must be zero, else LAMINA_UNSUPPORTED.  A struct the plug-in owns is read only
 *            up to its struct_size.  Structs marked [frozen] never change.
 *   Unknown  An unknown flag, enum value or attribute is LAMINA_UNSUPPORTED, never ignored.  Reserved words are zero.
 */
#ifndef LAMINA_ABI_H
#define LAMINA_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LAMINA_ABI_MAJOR 1 /* the suffix of the exported symbol */
#define LAMINA_ABI_MINOR 0 /* what this header can express */

/* ---- status ------------------------------------------------------------------------------------------------------ */

typedef int32_t lamina_status;
enum {
  LAMINA_OK = 0,
  LAMINA_INVALID_ARGUMENT = 1, /* the call contradicts the argument table; `arg` and `dim` name the offender */
  LAMINA_UNSUPPORTED = 2,      /* well formed, but this build, machine or shape cannot do it; the message says why */
  LAMINA_WRONG_DEVICE = 3,     /* a tensor or the stream belongs to another device or context than the plan */
  LAMINA_WORKSPACE = 4,        /* the workspace is missing, too small or misaligned */
  LAMINA_NO_MEMORY = 5,
  LAMINA_DEVICE_ERROR = 6, /* the driver refused; `native_code` is its own code */
  LAMINA_INTERNAL = 7      /* a bug in the plug-in */
};

typedef struct lamina_error { /* [growable] the caller's, written only on failure; every function accepts NULL */
  uint32_t struct_size;
  int32_t arg;         /* index of the offending argument, or -1 */
  int32_t dim;         /* its offending dimension, or -1 */
  int32_t native_code; /* CUresult, hipError_t or errno; 0 if none */
  char message[240];   /* UTF-8, NUL-terminated: what is wrong, what was expected, what was found */
} lamina_error;

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

typedef struct lamina_device { /* [frozen] DLPack's DLDevice */
  int32_t type;
  int32_t id;
} lamina_device;
enum { LAMINA_CPU = 1, LAMINA_CUDA = 2, LAMINA_ROCM = 10 };

typedef struct lamina_dtype { /* [frozen] DLPack's DLDataType; lanes is 1 */
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
} lamina_dtype;
enum { LAMINA_CODE_INT = 0, LAMINA_CODE_UINT = 1, LAMINA_CODE_FLOAT = 2, LAMINA_CODE_BFLOAT = 4, LAMINA_CODE_BOOL = 6 };

typedef struct lamina_tensor { /* [frozen] byte for byte DLPack's DLTensor */
  void *data;                  /* may be unaligned beyond the argument's `align`; NULL in descriptor-only uses */
  lamina_device device;
  int32_t ndim;
  lamina_dtype dtype;
  const int64_t *shape;
  const int64_t *strides; /* in elements; NULL means row-major without gaps */
  uint64_t byte_offset;   /* of the first element from `data` */
} lamina_tensor;

/* Bits of the dtype sets in lamina_arg. */
#define LAMINA_BIT_FLOAT64 (UINT64_C(1) << 0)
#define LAMINA_BIT_FLOAT32 (UINT64_C(1) << 1)
#define LAMINA_BIT_FLOAT16 (UINT64_C(1) << 2)
#define LAMINA_BIT_BFLOAT16 (UINT64_C(1) << 3)
#define LAMINA_BIT_BOOL (UINT64_C(1) << 4)
#define LAMINA_BIT_INT8 (UINT64_C(1) << 5)
#define LAMINA_BIT_UINT8 (UINT64_C(1) << 6)
#define LAMINA_BIT_INT32 (UINT64_C(1) << 7)
#define LAMINA_BIT_INT64 (UINT64_C(1) << 8)

/* ---- what an op takes -------------------------------------------------------------------------------------------- */

enum { /* lamina_arg.role */
       LAMINA_INPUT = 1,
       LAMINA_PARAM = 2,  /* a weight.  With PACKED given it is a descriptor: shape and dtype count, data may be NULL */
       LAMINA_PACKED = 3, /* the bytes that op "pack" wrote: uint8, one dimension, of this very build and attributes */
       LAMINA_SAVED = 4,  /* written by forward_train, read by backward, opaque, never crosses builds */
       LAMINA_OUTPUT = 5, /* overwritten, never accumulated into */
       LAMINA_INOUT = 6
};
enum {                             /* lamina_arg.flags */
       LAMINA_OPTIONAL = 1,        /* NULL is allowed and means absent */
       LAMINA_OR_FLOAT32 = 2,      /* dtype of argument dtype_of, or float32 */
       LAMINA_LAST_CONTIGUOUS = 4, /* the last dimension must have stride 1 */
       LAMINA_BROADCAST = 8        /* strides of 0 are allowed (expanded views); negative strides never are */
};

typedef struct lamina_arg { /* [frozen] one row of an op's argument table */
  const char *name;         /* the contract's name: "pair", "pair_mask" */
  const char *shape;        /* "B N N C": one word per dimension; equal words must have equal extents; digits are exact */
  uint32_t role, flags;
  uint64_t may_alias; /* bit i: may be the same memory as argument i (same pointer, shape and strides), else disjoint */
  uint64_t dtypes;    /* accepted dtypes, LAMINA_BIT_* */
  int32_t dtype_of;   /* same dtype as that argument, or -1 */
  uint32_t align;     /* bytes that data + byte_offset must be a multiple of; 0: the element's size */
} lamina_arg;

enum { LAMINA_ATTR_INT = 1, LAMINA_ATTR_FLOAT = 2, LAMINA_ATTR_STRING = 3 };
typedef struct lamina_attr { /* [frozen] a name and a value; in an op's table the value is the default */
  const char *name;
  uint32_t kind, reserved;
  union {
    int64_t i;
    double f;
    const char *s;
  } value;
} lamina_attr;

/* ---- what a host gives ------------------------------------------------------------------------------------------- */

typedef struct lamina_host { /* [growable] optional services, all may be NULL; must outlive the plan */
  uint32_t struct_size;
  uint32_t num_threads; /* how many bodies parallel_for runs at once; 0 = as many as the machine has */
  void *ctx;
  void (*log)(void *ctx, int32_t level, const char *message);
  /* Calls body(arg, begin, end) over [0, n) in pieces of at least `grain`, on any threads, and returns when all are done. */
  void (*parallel_for)(void *ctx, int64_t n, int64_t grain, void (*body)(void *arg, int64_t begin, int64_t end), void *arg);
  void (*range)(void *ctx, const char *name, void *stream, int32_t begin); /* profiler range opens (1) or closes (0) */
} lamina_host;

enum { LAMINA_DETERMINISTIC = 1, LAMINA_CAPTURE_SAFE = 2 }; /* plan_desc.flags takes the first, need.flags tells both */

typedef struct lamina_plan_desc { /* [growable] */
  uint32_t struct_size;
  uint32_t flags;
  lamina_device device;
  const lamina_host *host;  /* or NULL */
  const lamina_attr *attrs; /* only those that differ from the defaults */
  uint32_t attr_count, reserved;
  const void *tuning; /* a blob of extension lamina.tuning/1, or NULL */
  uint64_t tuning_size;
} lamina_plan_desc;

typedef struct lamina_need { /* [growable] written by plan_need */
  uint32_t struct_size;      /* set by the caller; at most that many bytes are written */
  uint32_t flags;
  uint64_t workspace_size, workspace_align; /* align is a power of two */
  uint64_t packed_size;                     /* bytes of the PACKED argument, 0 if the op has none */
  const char *packed_format;                /* compare with the format the bytes were packed in before reusing them */
} lamina_need;

typedef struct lamina_call { /* [growable] */
  uint32_t struct_size;
  uint32_t tensor_count;               /* trailing optional arguments may be left out */
  const lamina_tensor *const *tensors; /* in the order of the argument table; NULL where absent */
  void *stream;                        /* CUstream, hipStream_t; NULL on CPU */
  void *workspace;
  uint64_t workspace_size;
} lamina_call;

/* ---- library, op, plan ------------------------------------------------------------------------------------------- */

typedef struct lamina_plan lamina_plan; /* immutable; owns no memory that running kernels read */

enum { LAMINA_FORWARD = 1, LAMINA_FORWARD_TRAIN = 2, LAMINA_BACKWARD = 3, LAMINA_PACK = 4, LAMINA_OTHER = 5 };

typedef struct lamina_op { /* [growable] the plug-in's, constant */
  uint32_t struct_size;
  uint32_t kind;
  const char *name;
  const lamina_arg *args;
  const lamina_attr *attrs; /* every attribute with its default */
  uint32_t arg_count, attr_count;
  /* Checks the machine, loads kernels.  On failure *plan is NULL.  [thread-safe] [not inside a stream capture's origin] */
  lamina_status (*plan_create)(const struct lamina_op *op, const lamina_plan_desc *desc, lamina_plan **plan, lamina_error *error);
  /* After the last run() returned; work already enqueued may still be running.  NULL is ignored.  [thread-safe] */
  void (*plan_destroy)(lamina_plan *plan);
  /* Workspace and packed bytes for these shapes; data pointers may be NULL.  Checks all that run() checks but memory.
     [pure] [thread-safe] */
  lamina_status (*plan_need)(const lamina_plan *plan, const lamina_call *call, lamina_need *need, lamina_error *error);
  /* [async on call->stream] [thread-safe] */
  lamina_status (*run)(const lamina_plan *plan, const lamina_call *call, lamina_error *error);
  /* dtype, rank and extents of every OUTPUT, SAVED and PACKED argument.  `out` has arg_count entries whose `shape` the
     caller points at room for 8 int64; only those roles are written, strides become NULL.  [pure] [thread-safe] */
  lamina_status (*infer)(const lamina_plan *plan, const lamina_call *call, lamina_tensor *out, lamina_error *error);
} lamina_op;

typedef struct lamina_library { /* [growable] the plug-in's, constant */
  uint32_t struct_size;
  uint32_t abi_minor;   /* the lowest minor this plug-in needs of a host */
  const char *name;     /* "triangle_multiplication" */
  const char *version;  /* "1.0.0" */
  const char *target;   /* the arch: "cpu_avx512" */
  const char *build_id; /* changes with every change of code or format; keys caches of packed weights */
  const char *contract; /* contract.json, byte for byte, not NUL-terminated */
  uint64_t contract_size;
  const lamina_op *const *ops;
  uint32_t op_count, flags;
  const void *(*extension)(const char *id); /* named function groups, e.g. "lamina.tuning/1"; NULL if absent */
} lamina_library;

/* The only export of a plug-in.  Pure: no allocation, no driver call, no special instruction; from any thread.  A plug-in
   of a later major exports lamina_library_v2, possibly beside this one; a host asks for the newest it knows. */
typedef const lamina_library *(*lamina_library_v1_function)(void);
#define LAMINA_LIBRARY_SYMBOL "lamina_library_v1"

#ifdef __cplusplus
}
#endif
#endif
