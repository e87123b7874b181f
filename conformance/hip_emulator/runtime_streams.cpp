// Streams, waiting, and capture into graphs.
#include <algorithm>

#include "conformance/hip_emulator/runtime.h"

namespace lamina::hip_emulator {
namespace {

constexpr size_t most_queued = 4096;

bool null_stream(const Stream &stream) { return &stream == model().streams.front().get(); }

hipError_t make_stream(hipStream_t *stream, unsigned flags) {
  if (!stream || (flags != hipStreamDefault && flags != hipStreamNonBlocking)) return failed(hipErrorInvalidValue);
  if (!model().machine.devices) return failed(hipErrorNoDevice);
  auto made = std::make_unique<Stream>();
  made->blocking = flags != hipStreamNonBlocking, made->device = this_thread().device;
  *stream = reinterpret_cast<hipStream_t>(made.get());
  model().streams.push_back(std::move(made));
  return hipSuccess;
}

bool captures_beside_null_stream() {
  return std::any_of(model().streams.begin(), model().streams.end(),
                     [](const auto &one) { return one->alive && one->capturing && one->blocking; });
}

}  // namespace

Stream *stream_of(hipStream_t given) {
  if (!given) return model().streams.front().get();
  for (const auto &stream : model().streams)
    if (stream->alive && reinterpret_cast<hipStream_t>(stream.get()) == given) return stream.get();
  return nullptr;
}

void finish(Stream &stream) {
  while (!stream.queue.empty()) {
    const Work work = std::move(stream.queue.front());
    stream.queue.pop_front();
    if (model().sticky == hipSuccess) work();
  }
}

// The latest stream first: who counts on an order that nothing asks for is found out.
void finish_blocking() {
  for (auto stream = model().streams.rbegin(); stream != model().streams.rend(); ++stream)
    if ((*stream)->blocking) finish(**stream);
}

void finish_everything() {
  for (auto stream = model().streams.rbegin(); stream != model().streams.rend(); ++stream) finish(**stream);
}

hipError_t enqueue(Stream &stream, Work work) {
  if (null_stream(stream) && captures_beside_null_stream()) {
    for (const auto &other : model().streams)
      if (other->capturing && other->blocking) other->invalid = true;
    return misuse(hipErrorStreamCaptureImplicit, "work on the null stream while a stream that waits for it is captured");
  }
  if (stream.capturing) {
    if (stream.invalid) return hipErrorStreamCaptureInvalidated;
    stream.captured.nodes.push_back(std::move(work));
    return hipSuccess;
  }
  if (null_stream(stream)) {
    finish_blocking();
  } else if (stream.blocking) {
    finish(*model().streams.front());
  }
  if (stream.queue.size() >= most_queued) finish(stream);
  if (model().sticky != hipSuccess) return model().sticky;
  stream.queue.push_back(std::move(work));
  return hipSuccess;
}

bool unsafe_now() {
  if (this_thread().mode == hipStreamCaptureModeRelaxed) return false;
  const auto forbids = [](const auto &stream) {
    if (!stream->alive || !stream->capturing) return false;
    const bool own = stream->origin == std::this_thread::get_id();
    if (stream->mode == hipStreamCaptureModeGlobal) return this_thread().mode == hipStreamCaptureModeGlobal || own;
    return stream->mode == hipStreamCaptureModeThreadLocal && own;
  };
  return std::any_of(model().streams.begin(), model().streams.end(), forbids);
}

hipError_t refuse_unsafe(const char *function) {
  for (const auto &stream : model().streams)
    if (stream->capturing && stream->origin == std::this_thread::get_id()) stream->invalid = true;
  return misuse(hipErrorStreamCaptureUnsupported, std::string(function) + " while a capture is under way");
}

}  // namespace lamina::hip_emulator

using namespace lamina::hip_emulator;

extern "C" {

hipError_t hipStreamCreate(hipStream_t *stream) {
  LAMINA_ENTRY(hipStreamCreate);
  return make_stream(stream, hipStreamDefault);
}

hipError_t hipStreamCreateWithFlags(hipStream_t *stream, unsigned flags) {
  LAMINA_ENTRY(hipStreamCreateWithFlags);
  return make_stream(stream, flags);
}

// Newer than the headers it is compiled with: runtimes have it from ROCm 5.6 on.
__attribute__((visibility("default"))) hipError_t hipStreamGetDevice(hipStream_t given, hipDevice_t *device) {
  LAMINA_ENTRY(hipStreamGetDevice);
  const Stream *stream = stream_of(given);
  if (!stream || !device) return failed(stream ? hipErrorInvalidValue : hipErrorInvalidHandle);
  *device = given ? stream->device : this_thread().device;
  return hipSuccess;
}

hipError_t hipStreamDestroy(hipStream_t given) {
  LAMINA_ENTRY(hipStreamDestroy);
  Stream *stream = stream_of(given);
  if (!stream || !given) return misuse(hipErrorInvalidHandle, "hipStreamDestroy of a stream that does not exist");
  finish(*stream);
  stream->alive = false;
  return hipSuccess;
}

hipError_t hipStreamSynchronize(hipStream_t given) {
  LAMINA_ENTRY(hipStreamSynchronize);
  Stream *stream = stream_of(given);
  if (!stream) return misuse(hipErrorInvalidHandle, "hipStreamSynchronize of a stream that does not exist");
  if (stream->capturing || unsafe_now()) return refuse_unsafe("hipStreamSynchronize");
  given ? finish(*stream) : finish_blocking();
  return failed(model().sticky);
}

hipError_t hipStreamQuery(hipStream_t given) {
  LAMINA_ENTRY(hipStreamQuery);
  Stream *stream = stream_of(given);
  if (!stream) return failed(hipErrorInvalidHandle);
  if (stream->capturing || unsafe_now()) return refuse_unsafe("hipStreamQuery");
  finish(*stream);
  return failed(model().sticky);
}

hipError_t hipDeviceSynchronize() {
  LAMINA_ENTRY(hipDeviceSynchronize);
  if (!model().machine.devices) return failed(hipErrorNoDevice);
  if (unsafe_now()) return refuse_unsafe("hipDeviceSynchronize");
  finish_everything();
  return failed(model().sticky);
}

hipError_t hipThreadExchangeStreamCaptureMode(hipStreamCaptureMode *mode) {
  LAMINA_ENTRY(hipThreadExchangeStreamCaptureMode);
  if (!mode || *mode < hipStreamCaptureModeGlobal || *mode > hipStreamCaptureModeRelaxed) return failed(hipErrorInvalidValue);
  std::swap(*mode, this_thread().mode);
  return hipSuccess;
}

hipError_t hipStreamBeginCapture(hipStream_t given, hipStreamCaptureMode mode) {
  LAMINA_ENTRY(hipStreamBeginCapture);
  Stream *stream = stream_of(given);
  if (!stream) return failed(hipErrorInvalidHandle);
  if (!given) return misuse(hipErrorStreamCaptureUnsupported, "the null stream cannot be captured");
  if (stream->capturing) return failed(hipErrorIllegalState);
  stream->capturing = true, stream->invalid = false, stream->mode = mode, stream->origin = std::this_thread::get_id();
  stream->captured = {};
  return hipSuccess;
}

hipError_t hipStreamIsCapturing(hipStream_t given, hipStreamCaptureStatus *status) {
  LAMINA_ENTRY(hipStreamIsCapturing);
  const Stream *stream = stream_of(given);
  if (!stream || !status) return failed(stream ? hipErrorInvalidValue : hipErrorInvalidHandle);
  *status = !stream->capturing ? hipStreamCaptureStatusNone
            : stream->invalid  ? hipStreamCaptureStatusInvalidated
                               : hipStreamCaptureStatusActive;
  return hipSuccess;
}

hipError_t hipStreamEndCapture(hipStream_t given, hipGraph_t *graph) {
  LAMINA_ENTRY(hipStreamEndCapture);
  Stream *stream = stream_of(given);
  if (!stream || !graph) return failed(hipErrorInvalidHandle);
  *graph = nullptr;
  if (!stream->capturing) return failed(hipErrorIllegalState);
  if (stream->mode != hipStreamCaptureModeRelaxed && stream->origin != std::this_thread::get_id())
    return failed(hipErrorStreamCaptureWrongThread);
  stream->capturing = false;
  if (stream->invalid) return failed(hipErrorStreamCaptureInvalidated);
  auto *made = new Graph(std::move(stream->captured));
  model().graphs.insert(made);
  *graph = reinterpret_cast<hipGraph_t>(made);
  return hipSuccess;
}

hipError_t hipGraphGetNodes(hipGraph_t given, hipGraphNode_t *nodes, size_t *count) {
  LAMINA_ENTRY(hipGraphGetNodes);
  auto *graph = reinterpret_cast<Graph *>(given);
  if (!model().graphs.contains(graph) || nodes || !count) return failed(hipErrorInvalidValue);  // counting is all it can do
  *count = graph->nodes.size();
  return hipSuccess;
}

hipError_t hipGraphInstantiate(hipGraphExec_t *executable, hipGraph_t given, hipGraphNode_t *, char *, size_t) {
  LAMINA_ENTRY(hipGraphInstantiate);
  auto *graph = reinterpret_cast<Graph *>(given);
  if (!model().graphs.contains(graph) || !executable) return failed(hipErrorInvalidValue);
  auto *made = new Graph(*graph);
  model().executables.insert(made);
  *executable = reinterpret_cast<hipGraphExec_t>(made);
  return hipSuccess;
}

hipError_t hipGraphLaunch(hipGraphExec_t given, hipStream_t given_stream) {
  LAMINA_ENTRY(hipGraphLaunch);
  auto *graph = reinterpret_cast<Graph *>(given);
  Stream *stream = stream_of(given_stream);
  if (!model().executables.contains(graph) || !stream) return failed(hipErrorInvalidValue);
  if (model().sticky != hipSuccess) return failed(model().sticky);
  for (const Work &node : graph->nodes)
    if (const hipError_t code = enqueue(*stream, node); code != hipSuccess) return failed(code);
  return hipSuccess;
}

hipError_t hipGraphExecDestroy(hipGraphExec_t given) {
  LAMINA_ENTRY(hipGraphExecDestroy);
  auto *graph = reinterpret_cast<Graph *>(given);
  if (!model().executables.erase(graph)) return failed(hipErrorInvalidValue);
  delete graph;
  return hipSuccess;
}

hipError_t hipGraphDestroy(hipGraph_t given) {
  LAMINA_ENTRY(hipGraphDestroy);
  auto *graph = reinterpret_cast<Graph *>(given);
  if (!model().graphs.erase(graph)) return failed(hipErrorInvalidValue);
  delete graph;
  return hipSuccess;
}
}
