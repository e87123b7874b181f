// The state of the stand-in driver, and its rules.  Every entry point holds `Entry` while it runs.
#pragma once
#include <cuda.h>

#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "conformance/fake_cuda/image.h"

namespace lamina::fake_cuda {

struct Context {
  int device;
  bool primary, alive = true;
};

struct Graph {
  std::vector<Launch> launches;
};

struct Stream {
  Context *context;
  bool blocking, alive = true;
  bool capturing = false, invalid = false;
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  std::thread::id origin;
  Graph captured;
};

struct Library {
  std::vector<Piece> pieces;
  const void *image;
  bool alive = true;
};

// A CUkernel, and, with a context, the CUfunction it stands for there.
struct Handle {
  Library *library;
  Kernel kernel;
  std::set<const Context *> loaded;  // contexts whose module holds it
  std::map<int, uint32_t> opted_in;  // dynamic shared bytes by device
};

struct Model {
  std::recursive_mutex lock;
  Machine machine;
  bool initialised = false;
  std::map<int, std::pair<std::unique_ptr<Context>, int>> primary;  // by device: context and references
  std::vector<std::unique_ptr<Context>> contexts;                   // other ones
  std::vector<std::unique_ptr<Stream>> streams;
  std::vector<std::unique_ptr<Library>> libraries;
  std::vector<std::unique_ptr<Handle>> handles;
  std::set<Graph *> graphs, executables;
  std::map<CUdeviceptr, size_t> memory;
  std::map<std::string, int> calls;
  std::map<std::string, std::pair<int, int>> faults;  // by function: calls until it fails, and the code
  std::vector<Launch> launches;
  std::vector<std::string> misuses, requested;
};
Model &model();

struct Thread {
  std::vector<Context *> stack;
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
};
Thread &thread();

// What every function does first: takes the lock, counts the call, and says whether it goes on.
class Entry {
 public:
  explicit Entry(const char *function);
  CUresult refused() const { return code_; }

 private:
  std::unique_lock<std::recursive_mutex> hold_;
  CUresult code_ = CUDA_SUCCESS;
};
#define LAMINA_ENTRY(name) \
  Entry entry(#name);      \
  if (entry.refused() != CUDA_SUCCESS) return entry.refused()

void misuse(const std::string &sentence);
Context *current();           // null: none
Stream *stream_of(CUstream);  // null: a default stream or none of ours
bool is_default(CUstream);
Handle *handle_of(const void *);  // null: none of ours

// Runs a kernel where this library can (conformance/cuda_emulator): `executor` is null in the stand-in that only writes down.
extern CUresult (*executor)(const Launch &);
CUresult execute(const Launch &);

// The shared memory that a block may opt in to, by compute capability (CUDA C++ Programming Guide, table of technical specifications).
int most_shared_bytes(int capability);

// CUDA's rule for calls that may synchronise or allocate while a capture is under way: by the calling thread's mode and the modes of
// all captures.  A call that breaks it spoils the captures of its thread.
bool unsafe_now();
CUresult refuse_unsafe(const char *function);

}  // namespace lamina::fake_cuda
