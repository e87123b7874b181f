// Our own names for AMD's types against AMD's headers (Debian's libamdhip64-dev): the same number of arguments, of the same kind and size;
// the same numbers for errors.  Compiling is the test.
#define __HIP_PLATFORM_AMD__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include <hip/hip_runtime_api.h>
#pragma GCC diagnostic pop

#include <cstdio>
#include <type_traits>

#include "kernels/hip/runtime.h"

namespace lamina::hip {
namespace {

// Passed alike: the same size, both pointers or both integers.
template <class Ours, class Theirs>
constexpr bool alike = sizeof(Ours) == sizeof(Theirs) && std::is_pointer_v<Ours> == std::is_pointer_v<Theirs> &&
                       (std::is_integral_v<Ours> || std::is_enum_v<Ours>) == (std::is_integral_v<Theirs> || std::is_enum_v<Theirs>);

template <class Ours, class Theirs>
struct SameCall : std::false_type {};
template <class OurResult, class... Ours, class TheirResult, class... Theirs>
struct SameCall<OurResult (*)(Ours...), TheirResult (*)(Theirs...)> {
  static constexpr bool value = [] {
    if constexpr (sizeof...(Ours) != sizeof...(Theirs)) return false;
    else return alike<OurResult, TheirResult> && (alike<Ours, Theirs> && ...);
  }();
};
#define LAMINA_SAME(member, function) \
  static_assert(SameCall<decltype(Runtime::member), decltype(&::function)>::value, #function " has another prototype")

LAMINA_SAME(runtime_version, hipRuntimeGetVersion);
LAMINA_SAME(device_count, hipGetDeviceCount);
LAMINA_SAME(get_device, hipGetDevice);
LAMINA_SAME(set_device, hipSetDevice);
LAMINA_SAME(module_load, hipModuleLoadData);
LAMINA_SAME(module_unload, hipModuleUnload);
LAMINA_SAME(module_function, hipModuleGetFunction);
LAMINA_SAME(launch, hipModuleLaunchKernel);
LAMINA_SAME(exchange_capture_mode, hipThreadExchangeStreamCaptureMode);
LAMINA_SAME(error_name, hipGetErrorName);
LAMINA_SAME(error_string, hipGetErrorString);
static_assert(!SameCall<decltype(Runtime::module_load), decltype(&::hipModuleUnload)>::value, "the comparison sees arity");
static_assert(!SameCall<decltype(Runtime::set_device), decltype(&::hipModuleUnload)>::value, "the comparison sees kinds");

static_assert(std::is_same_v<Stream, hipStream_t> || sizeof(Stream) == sizeof(hipStream_t));
static_assert(success == hipSuccess && out_of_memory == hipErrorOutOfMemory && no_device == hipErrorNoDevice);
static_assert(invalid_device == hipErrorInvalidDevice && invalid_image == hipErrorInvalidImage &&
              no_binary_for_gpu == hipErrorNoBinaryForGpu);
static_assert(invalid_kernel_file == hipErrorInvalidKernelFile && shared_object_failed == hipErrorSharedObjectInitFailed);
static_assert(capture_relaxed == hipStreamCaptureModeRelaxed);
static_assert(sizeof(Runtime) == 12 * sizeof(void *), "every member is compared above, but hipStreamGetDevice, which these headers lack");

}  // namespace
}  // namespace lamina::hip

int main() {
  std::puts("the prototypes are those of AMD's headers");
  return 0;
}
