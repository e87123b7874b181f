// Streams, capture into graphs, and memory.
#include <sys/mman.h>

#include <cstring>

#include "conformance/fake_cuda/model.h"

namespace lamina::fake_cuda {
namespace {

bool captures_in(const Context *context) {
  for (const auto &stream : model().streams)
    if (stream->alive && stream->capturing && stream->context == context) return true;
  return false;
}

// A call that waits, or that works through the legacy stream.
CUresult may_wait(const char *function) {
  if (!current()) return CUDA_ERROR_INVALID_CONTEXT;
  if (unsafe_now() || captures_in(current())) return refuse_unsafe(function);
  return CUDA_SUCCESS;
}

bool owns(CUdeviceptr address, size_t bytes) {
  auto after = model().memory.upper_bound(address);
  if (after == model().memory.begin()) return false;
  const auto &[begin, size] = *--after;
  return address + bytes <= begin + size;
}

// Device memory ends, but for less than 256 bytes, at a page that may not be touched, and begins behind one; its bytes start as 0xff.
constexpr size_t page = 4096, alignment = 256;
size_t rounded(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }
size_t before(size_t bytes) { return page + rounded(bytes, page) - rounded(bytes, alignment); }

void *allocate(size_t bytes) {
  const size_t inside = rounded(bytes, page);
  void *region = mmap(nullptr, inside + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (region == MAP_FAILED) return nullptr;
  char *begin = static_cast<char *>(region);
  if (mprotect(begin + page, inside, PROT_READ | PROT_WRITE) != 0) {
    munmap(region, inside + 2 * page);
    return nullptr;
  }
  std::memset(begin + page, 0xff, inside);
  return begin + before(bytes);
}

void release(void *memory, size_t bytes) { munmap(static_cast<char *>(memory) - before(bytes), rounded(bytes, page) + 2 * page); }

}  // namespace

extern "C" {

CUresult cuStreamCreate(CUstream *stream, unsigned flags) {
  LAMINA_ENTRY(cuStreamCreate);
  if (!current()) return CUDA_ERROR_INVALID_CONTEXT;
  auto made = std::make_unique<Stream>();
  made->context = current(), made->blocking = !(flags & CU_STREAM_NON_BLOCKING);
  *stream = reinterpret_cast<CUstream>(made.get());
  model().streams.push_back(std::move(made));
  return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream given) {
  LAMINA_ENTRY(cuStreamDestroy);
  Stream *stream = stream_of(given);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  stream->alive = false;
  return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx(CUstream given, CUcontext *context) {
  LAMINA_ENTRY(cuStreamGetCtx);
  const Stream *stream = stream_of(given);
  if (!stream && !is_default(given)) return CUDA_ERROR_INVALID_HANDLE;
  if (!stream && !current()) return CUDA_ERROR_INVALID_CONTEXT;
  *context = reinterpret_cast<CUcontext>(stream ? stream->context : current());
  return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream given) {
  LAMINA_ENTRY(cuStreamSynchronize);
  const Stream *stream = stream_of(given);
  if (stream && stream->capturing) return refuse_unsafe("cuStreamSynchronize");
  if (!stream && !is_default(given)) return CUDA_ERROR_INVALID_HANDLE;
  return stream ? CUDA_SUCCESS : may_wait("cuStreamSynchronize");
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
  LAMINA_ENTRY(cuThreadExchangeStreamCaptureMode);
  if (*mode != CU_STREAM_CAPTURE_MODE_GLOBAL && *mode != CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && *mode != CU_STREAM_CAPTURE_MODE_RELAXED)
    return CUDA_ERROR_INVALID_VALUE;
  std::swap(*mode, thread().mode);
  return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture(CUstream given, CUstreamCaptureMode mode) {
  LAMINA_ENTRY(cuStreamBeginCapture);
  Stream *stream = stream_of(given);
  if (!stream) return given == nullptr || given == CU_STREAM_LEGACY ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_ERROR_INVALID_HANDLE;
  if (stream->capturing) return CUDA_ERROR_ILLEGAL_STATE;
  stream->capturing = true, stream->invalid = false, stream->mode = mode, stream->origin = std::this_thread::get_id();
  stream->captured = {};
  return CUDA_SUCCESS;
}

CUresult cuStreamEndCapture(CUstream given, CUgraph *graph) {
  LAMINA_ENTRY(cuStreamEndCapture);
  *graph = nullptr;
  Stream *stream = stream_of(given);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  if (!stream->capturing) return CUDA_ERROR_ILLEGAL_STATE;
  if (stream->mode != CU_STREAM_CAPTURE_MODE_RELAXED && stream->origin != std::this_thread::get_id())
    return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  stream->capturing = false;
  if (stream->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  auto *made = new Graph(stream->captured);
  model().graphs.insert(made);
  *graph = reinterpret_cast<CUgraph>(made);
  return CUDA_SUCCESS;
}

CUresult cuGraphGetNodes(CUgraph given, CUgraphNode *nodes, size_t *count) {
  LAMINA_ENTRY(cuGraphGetNodes);
  auto *graph = reinterpret_cast<Graph *>(given);
  if (!model().graphs.contains(graph) || nodes) return CUDA_ERROR_INVALID_VALUE;  // counting is all it can do
  *count = graph->launches.size();
  return CUDA_SUCCESS;
}

CUresult cuGraphInstantiate(CUgraphExec *executable, CUgraph given, unsigned long long) {
  LAMINA_ENTRY(cuGraphInstantiateWithFlags);
  auto *graph = reinterpret_cast<Graph *>(given);
  if (!model().graphs.contains(graph)) return CUDA_ERROR_INVALID_VALUE;
  auto *made = new Graph(*graph);
  model().executables.insert(made);
  *executable = reinterpret_cast<CUgraphExec>(made);
  return CUDA_SUCCESS;
}

CUresult cuGraphLaunch(CUgraphExec given, CUstream stream) {
  LAMINA_ENTRY(cuGraphLaunch);
  auto *graph = reinterpret_cast<Graph *>(given);
  if (!model().executables.contains(graph)) return CUDA_ERROR_INVALID_VALUE;
  if (!stream_of(stream) && !is_default(stream)) return CUDA_ERROR_INVALID_HANDLE;
  for (Launch launch : graph->launches) {
    launch.captured = false, launch.stream = stream;
    const CUresult code = execute(launch);
    model().launches.push_back(launch);
    if (code != CUDA_SUCCESS) return code;
  }
  return CUDA_SUCCESS;
}

CUresult cuGraphExecDestroy(CUgraphExec given) {
  LAMINA_ENTRY(cuGraphExecDestroy);
  auto *graph = reinterpret_cast<Graph *>(given);
  if (!model().executables.erase(graph)) return CUDA_ERROR_INVALID_VALUE;
  delete graph;
  return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph given) {
  LAMINA_ENTRY(cuGraphDestroy);
  auto *graph = reinterpret_cast<Graph *>(given);
  if (!model().graphs.erase(graph)) return CUDA_ERROR_INVALID_VALUE;
  delete graph;
  return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize() {
  LAMINA_ENTRY(cuCtxSynchronize);
  return may_wait("cuCtxSynchronize");
}

CUresult cuMemAlloc(CUdeviceptr *address, size_t bytes) {
  LAMINA_ENTRY(cuMemAlloc);
  if (!current()) return CUDA_ERROR_INVALID_CONTEXT;
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (unsafe_now()) return refuse_unsafe("cuMemAlloc");
  void *memory = allocate(bytes);
  if (!memory) return CUDA_ERROR_OUT_OF_MEMORY;
  *address = reinterpret_cast<CUdeviceptr>(memory);
  model().memory[*address] = bytes;
  return CUDA_SUCCESS;
}

CUresult cuMemFree(CUdeviceptr address) {
  LAMINA_ENTRY(cuMemFree);
  if (!current()) return CUDA_ERROR_INVALID_CONTEXT;
  if (unsafe_now()) return refuse_unsafe("cuMemFree");
  const auto found = model().memory.find(address);
  if (found == model().memory.end()) return CUDA_ERROR_INVALID_VALUE;
  release(reinterpret_cast<void *>(address), found->second);
  model().memory.erase(found);
  return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t bytes) {
  LAMINA_ENTRY(cuMemcpyHtoD);
  if (const CUresult code = may_wait("cuMemcpyHtoD"); code != CUDA_SUCCESS) return code;
  if (!owns(to, bytes)) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(reinterpret_cast<void *>(to), from, bytes);
  return CUDA_SUCCESS;
}

CUresult cuMemcpyDtoH(void *to, CUdeviceptr from, size_t bytes) {
  LAMINA_ENTRY(cuMemcpyDtoH);
  if (const CUresult code = may_wait("cuMemcpyDtoH"); code != CUDA_SUCCESS) return code;
  if (!owns(from, bytes)) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(to, reinterpret_cast<const void *>(from), bytes);
  return CUDA_SUCCESS;
}

CUresult cuMemsetD8(CUdeviceptr to, unsigned char value, size_t bytes) {
  LAMINA_ENTRY(cuMemsetD8);
  if (const CUresult code = may_wait("cuMemsetD8"); code != CUDA_SUCCESS) return code;
  if (!owns(to, bytes)) return CUDA_ERROR_INVALID_VALUE;
  std::memset(reinterpret_cast<void *>(to), value, bytes);
  return CUDA_SUCCESS;
}
}

}  // namespace lamina::fake_cuda
