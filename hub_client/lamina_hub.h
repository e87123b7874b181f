/* liblamina: from a name on a kernel hub to a verified plug-in in memory, and from a checkpoint to its arguments.  C99.
 *
 *   lamina_hub_open(&options, &client, &error);                          // endpoint, cache, trust: once per process
 *   lamina_hub_fetch(client, "org/triangle-multiplication@v1", &bundle, &error);
 *   lamina_hub_load(bundle, &library, &error);                           // a const lamina_library *: see lamina_abi.h
 *   lamina_hub_bind(bundle, &checkpoint, &binding, &error);              // a checkpoint's tensors, by argument name
 *   ... plans and runs, by lamina_abi.h alone ...
 *   lamina_hub_binding_close(binding); lamina_hub_bundle_close(bundle); lamina_hub_close(client);
 *
 * Rules that hold everywhere
 *   Errors   Functions return a lamina_hub_status and, if `error` is not NULL, write a sentence that names the thing and the fix.
 *            On failure the handle that would have been made is NULL.  No exception crosses; nothing is printed.
 *   Threads  Every function is thread-safe.  Clients, bundles and bindings are immutable: one may be used by many threads at once, but
 *            not while or after it is closed.  Callbacks come on the thread that called, while it waits in that call.
 *   Memory   Strings and arrays that are handed out belong to their bundle or binding and end with it.  A binding and a loaded library
 *            stand alone: client and bundle may be closed before them.  Loaded libraries stay for the life of the process.
 *   Growth   Structs marked [growable] begin with struct_size = sizeof(the struct you compiled), as in lamina_abi.h: zero means the
 *            default, a shorter struct is read as if zero-filled, an unknown tail must be zero.
 */
#ifndef LAMINA_HUB_H
#define LAMINA_HUB_H

#include "lamina_abi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- errors ------------------------------------------------------------------------------------------------------ */

typedef int32_t lamina_hub_status; /* the numbers are also the exit codes of the program `lamina` */
enum {
  LAMINA_HUB_OK = 0,
  LAMINA_HUB_INTERNAL = 1,         /* a bug, or out of memory */
  LAMINA_HUB_INVALID_ARGUMENT = 2, /* this call or an option of it is wrong */
  LAMINA_HUB_NOT_FOUND = 3,        /* no such file, repository, revision, variant, host or parameter */
  LAMINA_HUB_NETWORK = 4,
  LAMINA_HUB_INTEGRITY = 5, /* size or hash is not what was promised */
  LAMINA_HUB_SIGNATURE = 6, /* missing, malformed or wrong */
  LAMINA_HUB_UNTRUSTED = 7, /* right, but by a key that nobody here trusts */
  LAMINA_HUB_UNSUPPORTED = 8,
  LAMINA_HUB_NO_SPACE = 9,
  LAMINA_HUB_PERMISSION = 10,
  LAMINA_HUB_OFFLINE = 11, /* it would need the network, which is switched off */
  LAMINA_HUB_CONFLICT = 12,
  LAMINA_HUB_MALFORMED = 13, /* a file or an answer is not what its format says */
  LAMINA_HUB_FAILED = 14,    /* a check ran and its verdict is no */
  LAMINA_HUB_IO = 15,
  LAMINA_HUB_INTERRUPTED = 130 /* a progress callback said stop */
};

typedef struct lamina_hub_error { /* [growable] the caller's, written only on failure */
  uint32_t struct_size;
  lamina_hub_status status;
  char message[1016]; /* UTF-8, NUL-terminated; a longer sentence ends in "..." */
} lamina_hub_error;

/* ---- client ------------------------------------------------------------------------------------------------------ */

typedef struct lamina_hub_client lamina_hub_client;

typedef struct lamina_hub_progress { /* [growable] ours, valid during the callback */
  uint32_t struct_size, reserved;
  const char *file;                          /* what is being downloaded */
  uint64_t done, total, all_done, all_total; /* bytes: of this file, of all that this call downloads */
} lamina_hub_progress;

enum {                                    /* lamina_hub_options.signatures */
       LAMINA_HUB_SIGNATURES_REQUIRE = 0, /* by a key pinned for the organisation; see `lamina trust` */
       LAMINA_HUB_SIGNATURES_WARN = 1,    /* a missing or unknown one is logged */
       LAMINA_HUB_SIGNATURES_OFF = 2
};
enum { LAMINA_HUB_NO_NETWORK = 1 }; /* lamina_hub_options.flags: not one socket, the cache alone */

typedef struct lamina_hub_options { /* [growable] NULL and 0 mean: as the environment says, for this machine */
  uint32_t struct_size;
  uint32_t flags;
  const char *endpoint;                 /* "https://..."; NULL: HF_ENDPOINT, else the public hub */
  const char *cache;                    /* folder; NULL: the shared Hugging Face cache, by HF_HUB_CACHE, HF_HOME, ... */
  const char *token;                    /* "": send none; NULL: HF_TOKEN or the file of the Python clients */
  const char *trust_file;               /* pinned keys; NULL: $XDG_CONFIG_HOME/lamina/trust.json.  /etc/lamina/trust.json counts always */
  const char *backend;                  /* "cpu", "cu130", ...: which variants; NULL: of this machine */
  const char *arch;                     /* "cpu_avx2", "cuda_sm80", ...: this build and no other; NULL: the best that this machine runs */
  int32_t signatures;                   /* LAMINA_HUB_SIGNATURES_* */
  int32_t torch_major, torch_minor;     /* choose exactly as the Python library does beside that torch; 0.0: no torch */
  int32_t tvm_ffi_major, tvm_ffi_minor; /* the same for tvm-ffi */
  int32_t reserved;                     /* 0 */
  void *context;                        /* handed to the callbacks, which must not throw or longjmp */
  void (*log)(void *context, int32_t level, const char *sentence);    /* level 1: notice, 2: warning */
  int32_t (*progress)(void *context, const lamina_hub_progress *now); /* often; not 0: stop with LAMINA_HUB_INTERRUPTED */
} lamina_hub_options;

/* `options` may be NULL.  The environment is read here, once; strings are copied.  Opens no socket. */
lamina_hub_status lamina_hub_open(const lamina_hub_options *options, lamina_hub_client **client, lamina_hub_error *error);
void lamina_hub_close(lamina_hub_client *client); /* NULL is ignored */

const char *lamina_hub_version(void); /* of the library, "0.1.0" */

/* ---- bundle ------------------------------------------------------------------------------------------------------ */

typedef struct lamina_hub_bundle lamina_hub_bundle;

/* Names the variant and the build that this machine would get, and verifies the documents that say so; the build stays on the hub.
   `name` is "ORG/NAME", "ORG/NAME@vN" or "ORG/NAME@<commit of 40 hex digits>". */
lamina_hub_status lamina_hub_resolve(const lamina_hub_client *client, const char *name, lamina_hub_bundle **bundle,
                                     lamina_hub_error *error);
/* The same, and downloads what the cache lacks.  Every byte is verified before this returns. */
lamina_hub_status lamina_hub_fetch(const lamina_hub_client *client, const char *name, lamina_hub_bundle **bundle, lamina_hub_error *error);
/* A bundle's folder on this disk, or one variant's: verified as a fetched one is, no network. */
lamina_hub_status lamina_hub_open_folder(const lamina_hub_client *client, const char *folder, lamina_hub_bundle **bundle,
                                         lamina_hub_error *error);
/* One build's file, as a compiler made it.  Nobody vouches for it: only its ELF headers are audited. */
lamina_hub_status lamina_hub_open_build(const lamina_hub_client *client, const char *file, lamina_hub_bundle **bundle,
                                        lamina_hub_error *error);
void lamina_hub_bundle_close(lamina_hub_bundle *bundle); /* NULL is ignored */

typedef struct lamina_hub_info { /* [growable] strings are "" where there is nothing to say: a lone build has no repository */
  uint32_t struct_size;
  uint32_t host_count;      /* host bindings that the bundle carries */
  const char *const *hosts; /* their names, sorted: "boltz" */
  const char *layer, *version;
  const char *arch, *build_id; /* of the build that was chosen */
  const char *build_path;      /* its file; for one that was only resolved, where it would lie */
  const char *repository, *revision, *commit, *variant, *directory;
  const char *signed_by;   /* id of the trusted key that verified; "" if none did */
  const char *manifest;    /* manifest.json as text */
  const char *contract;    /* the layer's contract.json as text */
  const char *explanation; /* every variant and build with why it was taken or passed over, and every check; lines of text */
  uint64_t counter;        /* of the release */
  uint64_t downloaded_bytes;
} lamina_hub_info;
/* Fills at most info->struct_size bytes. */
lamina_hub_status lamina_hub_bundle_info(const lamina_hub_bundle *bundle, lamina_hub_info *info, lamina_hub_error *error);

/* Opens the very bytes that were verified.  The same bundle gives the same library.  A bundle that was only resolved is
   LAMINA_HUB_INVALID_ARGUMENT. */
lamina_hub_status lamina_hub_load(lamina_hub_bundle *bundle, const lamina_library **library, lamina_hub_error *error);

/* ---- checkpoint -------------------------------------------------------------------------------------------------- */

typedef struct lamina_hub_binding lamina_hub_binding;

enum { LAMINA_HUB_STACKED_LAYER = 1 }; /* lamina_hub_checkpoint.flags: `layer` counts */

typedef struct lamina_hub_checkpoint { /* [growable] */
  uint32_t struct_size;
  uint32_t flags;
  const char *file;       /* FILE.safetensors */
  const char *host;       /* whose parameter names it has: one of lamina_hub_info.hosts, or the path of a binding's FILE.json */
  const char *host_class; /* NULL: the host's only class, or the one that the prefix tells */
  const char *prefix;     /* "trunk.blocks.0.tri_mul_out"; NULL: the file's root */
  int64_t layer;          /* which layer of a checkpoint that stacks them */
} lamina_hub_checkpoint;

/* Finds every parameter of the layer below the prefix.  What is missing or has another shape is an error that lists it. */
lamina_hub_status lamina_hub_bind(const lamina_hub_bundle *bundle, const lamina_hub_checkpoint *checkpoint, lamina_hub_binding **binding,
                                  lamina_hub_error *error);
void lamina_hub_binding_close(lamina_hub_binding *binding); /* NULL is ignored; the tensors end here */

typedef struct lamina_hub_argument { /* [frozen] */
  const char *name;                  /* the contract's: "norm_in_weight" */
  const lamina_tensor *tensor;       /* on the CPU, strided, not to be written; NULL: this host has none */
} lamina_hub_argument;
typedef struct lamina_hub_dim { /* [frozen] */
  const char *name;             /* the contract's letter: "C" */
  int64_t extent;
} lamina_hub_dim;

typedef struct lamina_hub_bound { /* [growable] */
  uint32_t struct_size;
  uint32_t argument_count; /* every parameter of the contract, in its order */
  const lamina_hub_argument *arguments;
  const lamina_attr *attributes; /* those that this host fixes */
  const lamina_hub_dim *dims;    /* those that the parameters tell */
  uint32_t attribute_count, dim_count;
  const char *host_class; /* the class that was taken */
} lamina_hub_bound;
/* Fills at most bound->struct_size bytes. */
lamina_hub_status lamina_hub_binding_info(const lamina_hub_binding *binding, lamina_hub_bound *bound, lamina_hub_error *error);

/* Puts the parameters that `op` takes where its argument table has them; `table` has op->arg_count entries, the others stay as they
   are.  Returns how many were put. */
uint32_t lamina_hub_place(const lamina_hub_binding *binding, const lamina_op *op, const lamina_tensor **table);
/* Writes the attributes that `op` knows into `attributes`, which has room for op->attr_count.  Returns how many were written. */
uint32_t lamina_hub_attributes(const lamina_hub_binding *binding, const lamina_op *op, lamina_attr *attributes);

#ifdef __cplusplus
}
#endif
#endif
