#include "conformance/device_gpu.h"

#include <exception>
#include <thread>

#include "manifest/error.h"

namespace lamina::conformance {

std::function<void()> capture_graph(const GraphCalls &calls, void *stream, const std::function<bool(void *)> &enqueue) {
  calls.begin(stream);
  const bool enqueued = enqueue(stream);
  void *graph = nullptr;
  const int ended = calls.end(stream, &graph);
  if (!enqueued) {
    if (ended == 0 && graph) calls.destroy_graph(graph);
    return {};
  }
  calls.require_ended(ended);
  const std::shared_ptr<void> owned_graph(graph, calls.destroy_graph);
  if (calls.nodes(graph) == 0) throw Error(ErrorKind::failed, "the captured graph is empty");
  const std::shared_ptr<void> executable(calls.instantiate(graph), calls.destroy_executable);
  return [replay = calls.replay, owned_graph, executable, stream] { replay(executable.get(), stream); };
}

void on_new_thread(const std::function<void()> &work) {
  std::exception_ptr thrown;
  std::thread([&] {
    try {
      work();
    } catch (...) { thrown = std::current_exception(); }
  }).join();
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace lamina::conformance
