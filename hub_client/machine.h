// What this machine is, as far as choosing a build is concerned.
#pragma once
#include <set>
#include <string>
#include <vector>

#include "hub_client/machine_rocm.h"

namespace lamina::hub {

struct CudaDevice {
  int major = 0, minor = 0;  // compute capability
  std::string name;
};
struct Machine {
  std::string cpu;  // "x86_64", as uname says
  std::string os = "linux";
  std::set<std::string> cpu_features;  // the words of kernels/archs.mk: "avx2", "avx512bf16", "amx_tile"
  std::string glibc;                   // "2.36"
  int cuda_driver = 0;                 // CUDA version of the driver: 13000 for 13.0; 0: no driver
  int nvidia_driver = 0;               // major of its release: 580; 0: unknown
  std::vector<CudaDevice> cuda;
  std::string cuda_problem;    // why there is no CUDA device; empty when there is one
  Rocm rocm;                   // AMD's GPUs and runtime
  std::string processor_name;  // "Intel(R) Xeon(R) Processor"; may be empty
  int processors = 0;          // that this process may use
};

// Asks the processor, the C library, through libcuda.so.1 NVIDIA's driver, and what AMD's driver lists.  [thread-safe]
Machine this_machine();

// Why a machine cannot run a build with these requirements (a manifest's `requires`, as JSON); empty when it can.
std::string why_not(const Machine &machine, const std::string &requires_json);

// "9.0a" runs on 9.0 alone, "9.0" on 9.0 and later minors, "8.0+PTX" also on anything newer, "10.0f" on its family.
bool runs_on(const std::string &capability, const CudaDevice &device);

}  // namespace lamina::hub
