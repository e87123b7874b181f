// A stand-in for libcuda.so.1 on machines without a GPU: a strict model of the driver's rules for contexts, streams, capture, loading and
// launches.  Kernels do not run; every launch is checked and written down.  Tests open the library by its path before anything asks for
// "libcuda.so.1"; the loader then hands that one out.
//
// Programs that a test starts get LD_LIBRARY_PATH=build/fake_cuda and, to change the machine, LAMINA_FAKE_CUDA as words like
// "devices=2 capability=90 driver=13000 missing=cuLaunchKernelEx".
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace lamina::fake_cuda {

struct Machine {        // set before the first driver call
  int devices = 1;      // 0: cuInit says that there is none
  int capability = 90;  // of every device: 90 is 9.0
  int driver = 13000;   // the CUDA version the driver supports
  int processors = 132;
  std::string missing;  // a function that cuGetProcAddress does not find
  int init_code = 0;    // what cuInit answers instead of success
  int delay = 0;        // microseconds before each call, so that threads meet
};

struct Launch {
  std::string kernel;
  unsigned grid[3], block[3], shared_bytes;  // dynamic shared memory
  std::vector<std::vector<unsigned char>> parameters;
  const void *stream;   // as given
  const void *context;  // in which it runs
  const void *current;  // context of the calling thread, or null
  int device;
  bool captured;           // became a node of a graph
  bool overlaps_previous;  // programmatic stream serialization
  unsigned cluster;        // blocks of one
  const void *image;       // that the kernel's library was loaded from
};

// What cuTensorMapEncodeTiled writes here: tests find it in launch parameters by `mark`.
struct TensorMap {
  static constexpr uint64_t marked = 0x70616d5f726f736e;
  uint64_t address, bytes, mark, elements[3];
  uint32_t rank, box[5];
  uint64_t strides[2];  // in bytes, of the second and the third dimension
  uint32_t swizzle;     // in bytes; 0: none
  uint32_t unused[9];
};
static_assert(sizeof(TensorMap) == 128);

struct Kernel {
  std::string name;
  std::vector<uint32_t> parameter_bytes;
  uint32_t static_shared_bytes, max_threads;
};

class Control {
 public:
  virtual Machine &machine() = 0;
  // The call of that name that comes next, or the `nth` from now, fails with a CUresult.
  virtual void fail_next(const std::string &function, int code, int nth = 1) = 0;
  virtual std::map<std::string, int> calls() = 0;  // how often each function was called
  virtual std::vector<Launch> launches() = 0;
  virtual void forget() = 0;  // calls and launches so far
  // Uses that a real driver punishes with undefined behaviour, or that its manual forbids, each a sentence.
  virtual std::vector<std::string> misuses() = 0;
  virtual std::vector<std::string> requested() = 0;  // names asked of cuGetProcAddress
  virtual int retained(int device) = 0;              // references of its primary context
  virtual int loaded_libraries() = 0;
  virtual int live_bytes() = 0;                                  // allocated and not freed
  virtual size_t stack_depth() = 0;                              // contexts of the calling thread
  virtual int capture_mode() = 0;                                // of the calling thread
  virtual std::vector<Kernel> kernels(const void *image) = 0;    // what a fat binary holds for this machine
  virtual std::vector<int> capabilities(const void *image) = 0;  // its machine code, in order

 protected:
  ~Control() = default;
};

using ControlFunction = Control *(*)();
constexpr const char *control_symbol = "lamina_fake_cuda";
constexpr const char *library_path = "build/fake_cuda/libcuda.so.1";

}  // namespace lamina::fake_cuda
