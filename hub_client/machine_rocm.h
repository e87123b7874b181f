// AMD GPUs as the kernel driver and the HIP runtime name them.  No call here starts the runtime on a GPU.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace lamina::hub {

struct RocmDevice {
  std::string arch;  // "gfx942"
  int compute_units = 0;
};
struct Rocm {
  int major = 0, minor = 0;  // of the runtime; 0.0: none
  std::vector<RocmDevice> devices;
  std::string problem;  // why there is no device or no runtime; empty when both are there
};

// What decides which GPUs a process sees: the environment variables of these names, absent where they are not set.
struct RocmSettings {
  std::optional<std::string> rocr_visible_devices, hip_visible_devices, cuda_visible_devices, hsa_override_gfx_version;
};

// The GPUs that the folder of the KFD driver's topology lists (.../topology: nodes/<n>/properties), in HIP's order, after the variables
// have hidden theirs.  Nodes that cannot be read belong to other containers.  `problem` says why there is none.  [pure but for the files]
std::vector<RocmDevice> rocm_devices(const std::filesystem::path &topology, const RocmSettings &settings, std::string &problem);

// This machine's.  LAMINA_KFD_TOPOLOGY names another folder than /sys/class/kfd/kfd/topology.  The runtime is looked for only where there
// is a GPU: LAMINA_HIP_RUNTIME, then one that the process has mapped, then the newest soname.  [thread-safe]
Rocm this_rocm();

}  // namespace lamina::hub
