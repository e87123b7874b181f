// xla_ffi.h against XLA's own header: compiled by the slow test, with the include folder of jaxlib's wheel.
#include <xla/ffi/api/c_api.h>

#include <type_traits>

#include "adapters/xla/xla_ffi.h"

namespace ours = lamina::xla;

#define SAME_SIZE(mine, theirs) static_assert(sizeof(mine) == sizeof(theirs) && alignof(mine) == alignof(theirs))
#define SAME_PLACE(mine, member, theirs, other) \
  static_assert(offsetof(mine, member) == offsetof(theirs, other) && sizeof(mine::member) == sizeof(theirs::other))

// By what points at it: its name is another in newer versions.
using Extension = std::remove_pointer_t<decltype(XLA_FFI_CallFrame::extension_start)>;
SAME_SIZE(ours::Extension, Extension);
SAME_PLACE(ours::Extension, type, Extension, type);
SAME_PLACE(ours::Extension, next, Extension, next);
static_assert(int{ours::extension_metadata} == decltype(Extension::type)(1), "the first and only kind");
SAME_SIZE(ours::ApiVersion, XLA_FFI_Api_Version);
SAME_PLACE(ours::ApiVersion, minor, XLA_FFI_Api_Version, minor_version);
SAME_SIZE(ours::Metadata, XLA_FFI_Metadata);
SAME_PLACE(ours::Metadata, api_version, XLA_FFI_Metadata, api_version);
SAME_PLACE(ours::Metadata, traits, XLA_FFI_Metadata, traits);
SAME_PLACE(ours::MetadataExtension, metadata, XLA_FFI_Metadata_Extension, metadata);
static_assert(int{ours::trait_command_buffer_compatible} == XLA_FFI_HANDLER_TRAITS_COMMAND_BUFFER_COMPATIBLE);

SAME_SIZE(ours::ErrorCreate, XLA_FFI_Error_Create_Args);
SAME_PLACE(ours::ErrorCreate, message, XLA_FFI_Error_Create_Args, message);
SAME_PLACE(ours::ErrorCreate, code, XLA_FFI_Error_Create_Args, errc);
SAME_SIZE(ours::ErrorDestroy, XLA_FFI_Error_Destroy_Args);
SAME_PLACE(ours::ErrorDestroy, error, XLA_FFI_Error_Destroy_Args, error);
static_assert(int(ours::ErrorCode::invalid_argument) == XLA_FFI_Error_Code_INVALID_ARGUMENT &&
              int(ours::ErrorCode::resource_exhausted) == XLA_FFI_Error_Code_RESOURCE_EXHAUSTED &&
              int(ours::ErrorCode::unimplemented) == XLA_FFI_Error_Code_UNIMPLEMENTED &&
              int(ours::ErrorCode::internal) == XLA_FFI_Error_Code_INTERNAL);

static_assert(int(ours::DataType::boolean) == XLA_FFI_DataType_PRED && int(ours::DataType::int8) == XLA_FFI_DataType_S8 &&
              int(ours::DataType::int32) == XLA_FFI_DataType_S32 && int(ours::DataType::int64) == XLA_FFI_DataType_S64 &&
              int(ours::DataType::uint8) == XLA_FFI_DataType_U8 && int(ours::DataType::float16) == XLA_FFI_DataType_F16 &&
              int(ours::DataType::float32) == XLA_FFI_DataType_F32 && int(ours::DataType::float64) == XLA_FFI_DataType_F64 &&
              int(ours::DataType::bfloat16) == XLA_FFI_DataType_BF16);
SAME_SIZE(ours::Buffer, XLA_FFI_Buffer);
SAME_PLACE(ours::Buffer, dtype, XLA_FFI_Buffer, dtype);
SAME_PLACE(ours::Buffer, data, XLA_FFI_Buffer, data);
SAME_PLACE(ours::Buffer, rank, XLA_FFI_Buffer, rank);
SAME_PLACE(ours::Buffer, dims, XLA_FFI_Buffer, dims);
SAME_SIZE(ours::ByteSpan, XLA_FFI_ByteSpan);
SAME_PLACE(ours::ByteSpan, size, XLA_FFI_ByteSpan, len);
SAME_SIZE(ours::Scalar, XLA_FFI_Scalar);
SAME_PLACE(ours::Scalar, value, XLA_FFI_Scalar, value);
SAME_SIZE(ours::Array, XLA_FFI_Array);
SAME_PLACE(ours::Array, size, XLA_FFI_Array, size);
SAME_PLACE(ours::Array, data, XLA_FFI_Array, data);
static_assert(int{ours::value_buffer} == XLA_FFI_ArgType_BUFFER && int{ours::value_buffer} == XLA_FFI_RetType_BUFFER);
static_assert(int{ours::attribute_array} == XLA_FFI_AttrType_ARRAY && int{ours::attribute_dictionary} == XLA_FFI_AttrType_DICTIONARY &&
              int{ours::attribute_scalar} == XLA_FFI_AttrType_SCALAR && int{ours::attribute_string} == XLA_FFI_AttrType_STRING);

SAME_SIZE(ours::Values, XLA_FFI_Args);
SAME_SIZE(ours::Values, XLA_FFI_Rets);
SAME_PLACE(ours::Values, size, XLA_FFI_Args, size);
SAME_PLACE(ours::Values, types, XLA_FFI_Args, types);
SAME_PLACE(ours::Values, values, XLA_FFI_Args, args);
SAME_PLACE(ours::Values, values, XLA_FFI_Rets, rets);
SAME_SIZE(ours::CallAttributes, XLA_FFI_Attrs);
SAME_PLACE(ours::CallAttributes, types, XLA_FFI_Attrs, types);
SAME_PLACE(ours::CallAttributes, names, XLA_FFI_Attrs, names);
SAME_PLACE(ours::CallAttributes, values, XLA_FFI_Attrs, attrs);

SAME_SIZE(ours::StreamGet, XLA_FFI_Stream_Get_Args);
SAME_PLACE(ours::StreamGet, context, XLA_FFI_Stream_Get_Args, ctx);
SAME_PLACE(ours::StreamGet, stream, XLA_FFI_Stream_Get_Args, stream);
SAME_SIZE(ours::DeviceOrdinalGet, XLA_FFI_DeviceOrdinal_Get_Args);
SAME_PLACE(ours::DeviceOrdinalGet, ordinal, XLA_FFI_DeviceOrdinal_Get_Args, device_ordinal);

SAME_PLACE(ours::Api, version, XLA_FFI_Api, api_version);
SAME_PLACE(ours::Api, error_create, XLA_FFI_Api, XLA_FFI_Error_Create);
SAME_PLACE(ours::Api, error_destroy, XLA_FFI_Api, XLA_FFI_Error_Destroy);
SAME_PLACE(ours::Api, stream_get, XLA_FFI_Api, XLA_FFI_Stream_Get);
SAME_PLACE(ours::Api, device_ordinal_get, XLA_FFI_Api, XLA_FFI_DeviceOrdinal_Get);
SAME_PLACE(ours::CallFrame, api, XLA_FFI_CallFrame, api);
SAME_PLACE(ours::CallFrame, context, XLA_FFI_CallFrame, ctx);
SAME_PLACE(ours::CallFrame, arguments, XLA_FFI_CallFrame, args);
SAME_PLACE(ours::CallFrame, results, XLA_FFI_CallFrame, rets);
SAME_PLACE(ours::CallFrame, attributes, XLA_FFI_CallFrame, attrs);
static_assert(ours::api_major == XLA_FFI_API_MAJOR && ours::api_minor <= XLA_FFI_API_MINOR);
