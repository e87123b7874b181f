// The state behind the HIP functions.  Every entry point holds `Entry` while it runs.
//
// Work is queued: kernels, copies and fills on a stream run when something waits for that stream, so that a missing wait or order shows.
#pragma once
#define __HIP_PLATFORM_AMD__
#pragma GCC visibility push(default)  // the HIP functions are what this library exports
#include <hip/hip_runtime_api.h>
#pragma GCC visibility pop

#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <thread>

#include "conformance/hip_emulator/hip_emulator.h"
#include "conformance/hip_emulator/launch.h"

namespace lamina::hip_emulator {

struct Module {
  std::unique_ptr<CodeObject> code;
  int device;
  bool alive = true;
};

struct Function {
  Module *module;
  const Kernel *kernel;
};

using Work = std::function<void()>;  // a failure goes to model().sticky

struct Graph {
  std::vector<Work> nodes;
};

struct Stream {
  int device = 0;
  bool blocking = true, alive = true, capturing = false, invalid = false;
  hipStreamCaptureMode mode = hipStreamCaptureModeGlobal;
  std::thread::id origin;
  Graph captured;
  std::deque<Work> queue;
};

struct Model {
  std::recursive_mutex lock;
  Machine machine;
  std::vector<std::unique_ptr<Stream>> streams;  // the first is the null stream
  std::vector<std::unique_ptr<Module>> modules;
  std::vector<std::unique_ptr<Function>> functions;
  std::set<Graph *> graphs, executables;
  std::map<void *, size_t> memory;
  std::map<std::string, int> calls;
  std::map<std::string, std::pair<int, int>> faults;  // by function: calls until it fails, and the code
  std::vector<Launched> launches;
  std::vector<std::string> misuses;
  hipError_t sticky = hipSuccess;  // the first failure on a device ends everything after it
};
Model &model();

struct Thread {
  int device = 0;
  hipError_t last = hipSuccess;
  hipStreamCaptureMode mode = hipStreamCaptureModeGlobal;
};
Thread &this_thread();

// What every function does first: takes the lock, counts the call, and says whether it goes on.
class Entry {
 public:
  explicit Entry(const char *function);
  hipError_t refused() const { return code_; }

 private:
  std::unique_lock<std::recursive_mutex> hold_;
  hipError_t code_ = hipSuccess;
};
#define LAMINA_ENTRY(name) \
  Entry entry(#name);      \
  if (entry.refused() != hipSuccess) return failed(entry.refused())

hipError_t failed(hipError_t);  // notes it for hipGetLastError
hipError_t misuse(hipError_t, const std::string &sentence);

Stream *stream_of(hipStream_t);  // null: none of ours
// Captured, or queued; what goes to the null stream waits for blocking streams.
hipError_t enqueue(Stream &, Work);
// Run what is queued; then model().sticky says whether anything failed.
void finish(Stream &);
void finish_blocking();  // the null stream and those that wait for it
void finish_everything();
// Calls that wait or allocate are errors while a capture is under way, by the modes of the thread and of the captures.
bool unsafe_now();
hipError_t refuse_unsafe(const char *function);

}  // namespace lamina::hip_emulator
