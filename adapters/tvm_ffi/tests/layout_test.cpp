// runtime.h against tvm-ffi's own headers: compiled by the slow test, with the package's include folder.
#include <tvm/ffi/c_api.h>
#include <tvm/ffi/extra/c_env_api.h>

#include <type_traits>

#include "adapters/tvm_ffi/runtime.h"

namespace ours = lamina::tvm_ffi;

#define SAME_SIZE(mine, theirs) static_assert(sizeof(mine) == sizeof(theirs) && alignof(mine) == alignof(theirs))
#define SAME_PLACE(mine, member, theirs, other) static_assert(offsetof(mine, member) == offsetof(theirs, other))

SAME_SIZE(ours::Object, TVMFFIObject);
SAME_PLACE(ours::Object, combined_ref_count, TVMFFIObject, combined_ref_count);
SAME_PLACE(ours::Object, type_index, TVMFFIObject, type_index);
SAME_PLACE(ours::Object, deleter, TVMFFIObject, deleter);
SAME_SIZE(ours::Any, TVMFFIAny);
SAME_PLACE(ours::Any, type_index, TVMFFIAny, type_index);
SAME_PLACE(ours::Any, small_length, TVMFFIAny, small_str_len);
SAME_PLACE(ours::Any, int64, TVMFFIAny, v_int64);
SAME_PLACE(ours::Any, bytes, TVMFFIAny, v_bytes);
SAME_SIZE(ours::ByteArray, TVMFFIByteArray);
SAME_PLACE(ours::ByteArray, size, TVMFFIByteArray, size);

SAME_SIZE(lamina_tensor, DLTensor);
SAME_PLACE(lamina_tensor, device, DLTensor, device);
SAME_PLACE(lamina_tensor, ndim, DLTensor, ndim);
SAME_PLACE(lamina_tensor, dtype, DLTensor, dtype);
SAME_PLACE(lamina_tensor, shape, DLTensor, shape);
SAME_PLACE(lamina_tensor, strides, DLTensor, strides);
SAME_PLACE(lamina_tensor, byte_offset, DLTensor, byte_offset);
SAME_SIZE(ours::ManagedTensor, DLManagedTensor);
SAME_PLACE(ours::ManagedTensor, context, DLManagedTensor, manager_ctx);
SAME_PLACE(ours::ManagedTensor, deleter, DLManagedTensor, deleter);

static_assert(int{ours::type_none} == kTVMFFINone && int{ours::type_int} == kTVMFFIInt && int{ours::type_bool} == kTVMFFIBool &&
              int{ours::type_float} == kTVMFFIFloat && int{ours::type_tensor_pointer} == kTVMFFIDLTensorPtr &&
              int{ours::type_raw_string} == kTVMFFIRawStr && int{ours::type_small_string} == kTVMFFISmallStr &&
              int{ours::type_string} == kTVMFFIStr && int{ours::type_tensor} == kTVMFFITensor);

// Functions: the same number of arguments, each of the same size, pointers to pointers.
template <typename Mine, typename Theirs>
constexpr bool alike = (std::is_pointer_v<Mine> == std::is_pointer_v<Theirs>) && (std::is_void_v<Mine> == std::is_void_v<Theirs>);
template <typename A, typename B>
struct Alike : std::false_type {};
template <typename R, typename... A, typename S, typename... B>
  requires(sizeof...(A) == sizeof...(B))
struct Alike<R (*)(A...), S (*)(B...)> : std::bool_constant<alike<R, S> && (... && (alike<A, B> && sizeof(A) == sizeof(B)))> {};
#define SAME_CALL(member, function) static_assert(Alike<decltype(ours::Runtime::member), decltype(&function)>::value)
// The function's address as an object pointer stands for the allocator.
static_assert(std::is_pointer_v<decltype(TVMFFIEnvGetDLPackManagedTensorAllocator())>);
SAME_CALL(raise, TVMFFIErrorSetRaisedFromCStr);
SAME_CALL(current_stream, TVMFFIEnvGetStream);
SAME_CALL(allocator, TVMFFIEnvGetDLPackManagedTensorAllocator);
SAME_CALL(allocate, TVMFFIEnvTensorAlloc);
SAME_CALL(tensor_from_dlpack, TVMFFITensorFromDLPack);
SAME_CALL(release, TVMFFIObjectDecRef);
static_assert(TVM_FFI_VERSION_MAJOR == 0 && TVM_FFI_VERSION_MINOR == 1, "the interface of 0.1; a later one wants a new look");
