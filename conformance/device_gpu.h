// What CUDA and HIP devices do alike: graphs by stream capture, and threads that have never used the device.
#pragma once
#include <functional>
#include <memory>

namespace lamina::conformance {

// The runtime's calls, which throw lamina::Error; `end` gives its code instead, since a capture that was given up ends in an error.
struct GraphCalls {
  using Handle = void *;
  std::function<void(Handle stream)> begin;  // in the strictest mode: any call that could synchronise is an error
  std::function<int(Handle stream, Handle *graph)> end;
  std::function<void(int code)> require_ended;
  std::function<size_t(Handle graph)> nodes;
  std::function<Handle(Handle graph)> instantiate;
  std::function<void(Handle executable, Handle stream)> replay;  // and waits
  std::function<void(Handle)> destroy_graph, destroy_executable;
};

// Captures what `enqueue` puts on `stream`; returns what replays it, or nothing where enqueue gave up.  The graph lives as long as that.
std::function<void()> capture_graph(const GraphCalls &, void *stream, const std::function<bool(void *)> &enqueue);

// Runs `work` on a new thread, waits, and throws what it threw.
void on_new_thread(const std::function<void()> &work);

}  // namespace lamina::conformance
