// Device code, its kernels, launches and tensor maps.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "conformance/fake_cuda/model.h"

namespace lamina::fake_cuda {
namespace {

constexpr uint32_t without_asking = 48 * 1024;  // shared bytes of a block

// Puts a kernel into a context, which a real driver also does at the first launch: a load, and not allowed under capture.
CUresult load(Handle &kernel, const Context *context, const char *function) {
  if (kernel.loaded.contains(context)) return CUDA_SUCCESS;
  if (unsafe_now()) return refuse_unsafe((std::string(function) + ", which loads " + kernel.kernel.name + ",").c_str());
  kernel.loaded.insert(context);
  return CUDA_SUCCESS;
}

// For programs that look from outside: each launch is a line of the file that LAMINA_FAKE_CUDA_LAUNCHES names.
void write_down(const Launch &launch) {
  const char *path = std::getenv("LAMINA_FAKE_CUDA_LAUNCHES");
  FILE *file = path ? std::fopen(path, "a") : nullptr;
  if (!file) return;
  std::fprintf(file, "%s grid %u %u %u threads %u shared %u overlaps %d\n", launch.kernel.c_str(), launch.grid[0], launch.grid[1],
               launch.grid[2], launch.block[0] * launch.block[1] * launch.block[2], launch.shared_bytes, launch.overlaps_previous);
  std::fclose(file);
}

CUresult check_shape(const CUlaunchConfig &config, const Handle &kernel, int device) {
  const std::string &name = kernel.kernel.name;
  const uint64_t threads = uint64_t{config.blockDimX} * config.blockDimY * config.blockDimZ;
  if (!config.gridDimX || !config.gridDimY || !config.gridDimZ || !threads)
    return misuse(name + ": an empty grid or block"), CUDA_ERROR_INVALID_VALUE;
  if (config.gridDimX > 0x7fffffff || config.gridDimY > 65535 || config.gridDimZ > 65535)
    return misuse(name + ": a grid beyond 2147483647 x 65535 x 65535"), CUDA_ERROR_INVALID_VALUE;
  if (threads > kernel.kernel.max_threads)
    return misuse(name + ": " + std::to_string(threads) + " threads; it was compiled for " + std::to_string(kernel.kernel.max_threads)),
           CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
  const auto asked = kernel.opted_in.find(device);
  const uint32_t most = asked != kernel.opted_in.end() ? asked->second + kernel.kernel.static_shared_bytes : without_asking;
  if (config.sharedMemBytes + kernel.kernel.static_shared_bytes > most)
    return misuse(name + ": " + std::to_string(config.sharedMemBytes) + " bytes of shared memory, more than was asked for"),
           CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}

CUresult check_attributes(const CUlaunchConfig &config, const std::string &name, bool &overlaps, unsigned &cluster) {
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    const CUlaunchAttribute &attribute = config.attrs[i];
    const bool overlap = attribute.id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    if (!overlap && attribute.id != CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION)
      return misuse(name + ": the stand-in knows no launch attribute " + std::to_string(attribute.id)), CUDA_ERROR_NOT_SUPPORTED;
    if (model().machine.capability < 90)
      return misuse(name + ": programmatic launch and clusters need compute capability 9.0"), CUDA_ERROR_NOT_SUPPORTED;
    if (overlap) {
      overlaps = attribute.value.programmaticStreamSerializationAllowed != 0;
      continue;
    }
    const auto &dim = attribute.value.clusterDim;
    cluster = dim.x * dim.y * dim.z;
    if (cluster == 0 || cluster > 8) return misuse(name + ": a cluster of none or of more than 8 blocks"), CUDA_ERROR_INVALID_CLUSTER_SIZE;
    if (config.gridDimX % dim.x || config.gridDimY % dim.y || config.gridDimZ % dim.z)
      return misuse(name + ": the grid is no multiple of the cluster"), CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

// Whether work on the legacy stream would wait for a stream that is being captured.
bool joins_capture(CUstream stream, const Context *context) {
  if (stream && stream != CU_STREAM_LEGACY) return false;
  for (const auto &other : model().streams)
    if (other->alive && other->capturing && other->blocking && other->context == context) return true;
  return false;
}

}  // namespace

extern "C" {

CUresult cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *, void **, unsigned options, CUlibraryOption *, void **,
                           unsigned library_options) {
  LAMINA_ENTRY(cuLibraryLoadData);
  if (unsafe_now()) return refuse_unsafe("cuLibraryLoadData");
  if (options || library_options) return misuse("cuLibraryLoadData: the stand-in knows no options"), CUDA_ERROR_INVALID_VALUE;
  try {
    auto made = std::make_unique<Library>(Library{pieces_of(code), code});
    if (!choose(made->pieces, model().machine.capability)) return CUDA_ERROR_NO_BINARY_FOR_GPU;
    *library = reinterpret_cast<CUlibrary>(made.get());
    model().libraries.push_back(std::move(made));
  } catch (const std::runtime_error &error) {
    misuse(std::string("cuLibraryLoadData: ") + error.what());
    return CUDA_ERROR_INVALID_IMAGE;
  }
  return CUDA_SUCCESS;
}

CUresult cuLibraryUnload(CUlibrary given) {
  LAMINA_ENTRY(cuLibraryUnload);
  if (unsafe_now()) return refuse_unsafe("cuLibraryUnload");
  for (const auto &library : model().libraries)
    if (library->alive && reinterpret_cast<CUlibrary>(library.get()) == given) {
      library->alive = false;
      return CUDA_SUCCESS;
    }
  misuse("cuLibraryUnload of a library that is not loaded");
  return CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary given, const char *name) {
  LAMINA_ENTRY(cuLibraryGetKernel);
  for (const auto &library : model().libraries) {
    if (!library->alive || reinterpret_cast<CUlibrary>(library.get()) != given) continue;
    for (const Kernel &known : kernels_for(library->pieces, model().machine.capability))
      if (known.name == name) {
        model().handles.push_back(std::make_unique<Handle>(Handle{library.get(), known, {}, {}}));
        *kernel = reinterpret_cast<CUkernel>(model().handles.back().get());
        return CUDA_SUCCESS;
      }
    return CUDA_ERROR_NOT_FOUND;
  }
  return CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuKernelGetFunction(CUfunction *function, CUkernel given) {
  LAMINA_ENTRY(cuKernelGetFunction);
  Handle *kernel = handle_of(given);
  if (!kernel) return CUDA_ERROR_INVALID_HANDLE;
  if (!current()) return CUDA_ERROR_INVALID_CONTEXT;
  *function = reinterpret_cast<CUfunction>(given);
  return load(*kernel, current(), "cuKernelGetFunction");
}

CUresult cuKernelSetAttribute(CUfunction_attribute attribute, int value, CUkernel given, CUdevice device) {
  LAMINA_ENTRY(cuKernelSetAttribute);
  Handle *kernel = handle_of(given);
  if (!kernel) return CUDA_ERROR_INVALID_HANDLE;
  if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
    return misuse("cuKernelSetAttribute: the stand-in knows no attribute " + std::to_string(attribute)), CUDA_ERROR_INVALID_VALUE;
  if (value < 0 || value + static_cast<int>(kernel->kernel.static_shared_bytes) > most_shared_bytes(model().machine.capability))
    return misuse(kernel->kernel.name + ": asks for " + std::to_string(value) + " bytes of shared memory, more than the GPU has"),
           CUDA_ERROR_INVALID_VALUE;
  kernel->opted_in[device] = static_cast<uint32_t>(value);
  return CUDA_SUCCESS;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **parameters, void **extra) {
  LAMINA_ENTRY(cuLaunchKernelEx);
  Handle *kernel = handle_of(function);
  if (!kernel) return misuse("cuLaunchKernelEx of a kernel that is not loaded"), CUDA_ERROR_INVALID_HANDLE;
  Stream *stream = stream_of(config->hStream);
  if (!stream && !is_default(config->hStream)) return CUDA_ERROR_INVALID_HANDLE;
  const Context *context = stream ? stream->context : current();
  if (!context) return CUDA_ERROR_INVALID_CONTEXT;
  if (!context->alive) return misuse("a launch into a context that is gone"), CUDA_ERROR_INVALID_CONTEXT;
  if (joins_capture(config->hStream, context))
    return misuse("a launch on the legacy stream while another is captured"), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  if (const CUresult code = check_shape(*config, *kernel, context->device); code != CUDA_SUCCESS) return code;
  bool overlaps = false;
  unsigned cluster = 1;
  if (const CUresult code = check_attributes(*config, kernel->kernel.name, overlaps, cluster); code != CUDA_SUCCESS) return code;
  if (const CUresult code = load(*kernel, context, "cuLaunchKernelEx"); code != CUDA_SUCCESS) return code;
  if (extra || (!parameters && !kernel->kernel.parameter_bytes.empty())) return CUDA_ERROR_INVALID_VALUE;
  Launch launch{kernel->kernel.name,
                {config->gridDimX, config->gridDimY, config->gridDimZ},
                {config->blockDimX, config->blockDimY, config->blockDimZ},
                config->sharedMemBytes,
                {},
                config->hStream,
                context,
                current(),
                context->device,
                stream && stream->capturing,
                overlaps,
                cluster,
                kernel->library->image};
  for (size_t i = 0; i < kernel->kernel.parameter_bytes.size(); ++i) {
    const auto *bytes = static_cast<const unsigned char *>(parameters[i]);
    launch.parameters.emplace_back(bytes, bytes + kernel->kernel.parameter_bytes[i]);
  }
  if (launch.captured) {
    if (stream->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    stream->captured.launches.push_back(launch);
  }
  write_down(launch);
  const CUresult code = launch.captured ? CUDA_SUCCESS : execute(launch);
  model().launches.push_back(std::move(launch));
  return code;
}

CUresult cuTensorMapEncodeTiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *address, const cuuint64_t *extents,
                                const cuuint64_t *byte_strides, const cuuint32_t *box, const cuuint32_t *element_strides,
                                CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion,
                                CUtensorMapFloatOOBfill) {
  LAMINA_ENTRY(cuTensorMapEncodeTiled);
  const auto refuse = [](const char *what) { return misuse(std::string("cuTensorMapEncodeTiled: ") + what), CUDA_ERROR_INVALID_VALUE; };
  if (type != CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 && type != CU_TENSOR_MAP_DATA_TYPE_FLOAT16)
    return refuse("the stand-in knows 16-bit floats alone");
  if (rank < 1 || rank > 5) return refuse("rank is not 1 to 5");
  if (reinterpret_cast<uintptr_t>(map) % 64) return refuse("the map is not aligned to 64 bytes");
  if (reinterpret_cast<uintptr_t>(address) % 16 || !address) return refuse("the tensor is not aligned to 16 bytes");
  if (interleave != CU_TENSOR_MAP_INTERLEAVE_NONE) return refuse("the stand-in knows no interleaving");
  TensorMap made{};
  made.address = reinterpret_cast<uint64_t>(address), made.mark = TensorMap::marked, made.rank = rank;
  uint64_t last = 0;
  for (cuuint32_t i = 0; i < rank; ++i) {
    if (extents[i] == 0 || extents[i] > uint64_t{1} << 32) return refuse("an extent is not 1 to 2^32");
    if (box[i] == 0 || box[i] > 256) return refuse("a side of the box is not 1 to 256");
    if (element_strides[i] == 0 || element_strides[i] > 8) return refuse("an element stride is not 1 to 8");
    const uint64_t stride = i == 0 ? 2 : byte_strides[i - 1];
    if (i > 0 && (stride % 16 || stride >= uint64_t{1} << 40)) return refuse("a stride is not a multiple of 16 below 2^40");
    last += (extents[i] - 1) * stride;
    if (i < 3) made.elements[i] = extents[i];
    if (i == 1 || i == 2) made.strides[i - 1] = stride;
    made.box[i] = box[i];
  }
  const uint32_t inner = box[0] * 2;
  if (inner % 16) return refuse("the inner side of the box is no multiple of 16 bytes");
  if ((swizzle == CU_TENSOR_MAP_SWIZZLE_128B && inner > 128) || (swizzle == CU_TENSOR_MAP_SWIZZLE_64B && inner > 64) ||
      (swizzle == CU_TENSOR_MAP_SWIZZLE_32B && inner > 32))
    return refuse("the inner side of the box is wider than the swizzle");
  made.bytes = last + 2;
  made.swizzle = swizzle == CU_TENSOR_MAP_SWIZZLE_128B  ? 128
                 : swizzle == CU_TENSOR_MAP_SWIZZLE_64B ? 64
                 : swizzle == CU_TENSOR_MAP_SWIZZLE_32B ? 32
                                                        : 0;
  static_assert(sizeof made == sizeof *map);
  std::memcpy(map, &made, sizeof made);
  return CUDA_SUCCESS;
}
}

}  // namespace lamina::fake_cuda
