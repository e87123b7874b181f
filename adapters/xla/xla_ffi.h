// The part of XLA's foreign function interface that this adapter uses, written out so that nothing of XLA is needed to build or to load.
// Source of the facts: xla/ffi/api/c_api.h as the wheel of jaxlib 0.10.2 brings it (interface 0.3); adapters/xla/tests/layout_test.cpp
// compares sizes, offsets and numbers with that header.  Used is only what has kept its place since interface 0.1: not the stage's number,
// which has changed its meaning, and not the handlers' states.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace lamina::xla {

constexpr int api_major = 0, api_minor = 1;  // of what is used; XLA refuses a handler that asks for more than it has

struct Extension {
  size_t struct_size;
  int32_t type;
  Extension *next;
};
enum : int32_t { extension_metadata = 1 };

struct ApiVersion {
  size_t struct_size;
  Extension *extension_start;
  int major, minor;
};

struct Metadata {
  size_t struct_size;
  ApiVersion api_version;
  uint32_t traits;
  int64_t state_type_id;  // of handlers that keep a state
};
enum : uint32_t { trait_command_buffer_compatible = 1 };

struct MetadataExtension {
  Extension base;
  Metadata *metadata;
};

enum class ErrorCode : int32_t { invalid_argument = 3, resource_exhausted = 8, unimplemented = 12, internal = 13 };
struct Error;
struct ErrorCreate {
  size_t struct_size;
  Extension *extension_start;
  const char *message;
  ErrorCode code;
};
struct ErrorDestroy {
  size_t struct_size;
  Extension *extension_start;
  Error *error;
};

enum class DataType : int32_t {
  boolean = 1,
  int8 = 2,
  int32 = 4,
  int64 = 5,
  uint8 = 6,
  float16 = 10,
  float32 = 11,
  float64 = 12,
  bfloat16 = 16,
};

struct Buffer {  // dense, row-major
  size_t struct_size;
  Extension *extension_start;
  DataType dtype;
  void *data;
  int64_t rank;
  int64_t *dims;
};

struct ByteSpan {
  const char *data;
  size_t size;
};
struct Scalar {
  DataType dtype;
  void *value;
};
struct Array {
  DataType dtype;
  size_t size;
  void *data;
};

enum : int32_t { value_buffer = 1 };  // arguments and results
enum : int32_t { attribute_array = 1, attribute_dictionary = 2, attribute_scalar = 3, attribute_string = 4 };

struct Values {  // arguments, and results alike
  size_t struct_size;
  Extension *extension_start;
  int64_t size;
  int32_t *types;
  void **values;
};
struct CallAttributes {  // sorted by name
  size_t struct_size;
  Extension *extension_start;
  int64_t size;
  int32_t *types;
  ByteSpan **names;
  void **values;
};

struct ExecutionContext;
struct StreamGet {
  size_t struct_size;
  Extension *extension_start;
  ExecutionContext *context;
  void *stream;
};
struct DeviceOrdinalGet {
  size_t struct_size;
  Extension *extension_start;
  ExecutionContext *context;
  int32_t ordinal;
};

struct Api {
  size_t struct_size;
  Extension *extension_start;
  ApiVersion version;
  const void *internal;
  Error *(*error_create)(ErrorCreate *);
  void (*error_get_message)(void *);
  void (*error_destroy)(ErrorDestroy *);
  Error *(*handler_register)(void *);
  Error *(*stream_get)(StreamGet *);
  void *unused[12];  // types, contexts, states, device memory, thread pool, futures, run id
  Error *(*device_ordinal_get)(DeviceOrdinalGet *);
};

struct CallFrame {
  size_t struct_size;
  Extension *extension_start;
  const Api *api;
  ExecutionContext *context;
  int32_t stage;
  Values arguments;
  Values results;
  CallAttributes attributes;
};

}  // namespace lamina::xla
