// A stand-in for libamdhip64 on machines without an AMD GPU: it executes the instructions of gfx90a, gfx942 and gfx950 code objects, one
// by one, and refuses what a GPU would let pass.  Tests open it by path, or find it by LD_LIBRARY_PATH=build/hip_emulator.
//
// LAMINA_HIP_EMULATOR changes the machine, as words like "arch=gfx90a devices=2 threads=1": arch, devices (0: none), threads (of the
// emulator; 0: one a processor), races (0: LDS races are not looked for), aligned (1: loads and
// stores must be at multiples of 4 bytes, which ROCm does not ask), runtime (the release that hipRuntimeGetVersion names), report (1:
// every launch with its instructions and time on standard error).
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace lamina::hip_emulator {

struct Machine {
  std::string arch = "gfx942";
  int devices = 1, threads = 0, races = 1, aligned = 0, runtime = 60443482, report = 0;
};

struct Launched {
  std::string kernel;
  unsigned groups[3], threads[3], dynamic_bytes;
  std::vector<unsigned char> arguments;  // the explicit ones, as the kernel finds them
  const void *stream;
  int device;
  bool captured;          // became a node of a graph
  uint64_t instructions;  // 0: has not run yet
};

class Control {
 public:
  virtual Machine &machine() = 0;
  // The call of that name that comes next, or the `nth` from now, fails with a hipError_t.
  virtual void fail_next(const std::string &function, int code, int nth = 1) = 0;
  virtual std::map<std::string, int> calls() = 0;  // how often each function was called
  virtual std::vector<Launched> launches() = 0;    // in the order of the calls
  virtual void forget() = 0;                       // calls, launches, misuses and the error that sticks
  // What a GPU would let pass, and uses that HIP leaves undefined, each a sentence.
  virtual std::vector<std::string> misuses() = 0;
  virtual int loaded_modules() = 0;
  virtual size_t live_bytes() = 0;  // allocated and not freed

 protected:
  ~Control() = default;
};

using ControlFunction = Control *(*)();
constexpr const char *control_symbol = "lamina_hip_emulator";
constexpr const char *library_path = "build/hip_emulator/libamdhip64.so.6";

}  // namespace lamina::hip_emulator
