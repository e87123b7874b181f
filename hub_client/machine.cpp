#include "hub_client/machine.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <sched.h>
#include <sys/utsname.h>

#include <fstream>
#include <sstream>

#include "manifest/elf_facts.h"
#include "manifest/json.h"

namespace lamina::hub {
namespace {

// The kernel lists what it also saves and restores, so a word here can be used.
std::set<std::string> cpu_features(std::string &name) {
  std::set<std::string> words;
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name") && name.empty()) name = line.substr(std::min(line.size(), line.find(':') + 2));
    if (!line.starts_with("flags") && !line.starts_with("Features")) continue;
    std::istringstream list(line.substr(line.find(':') + 1));
    for (std::string word; list >> word;) {
      if (word.starts_with("avx512_")) word = "avx512" + word.substr(7);
      words.insert(word);
    }
    break;
  }
  return words;
}

// "CUDA_ERROR_NO_DEVICE (100)".
std::string cuda_error(void *driver, int code) {
  const auto name_of = reinterpret_cast<int (*)(int, const char **)>(dlsym(driver, "cuGetErrorName"));
  const char *name = nullptr;
  if (name_of) name_of(code, &name);
  return name ? std::string(name) + " (" + std::to_string(code) + ")" : "error " + std::to_string(code);
}

void ask_cuda(Machine &machine) {
  void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!driver) {
    const char *why = dlerror();
    machine.cuda_problem = std::string("no NVIDIA driver: ") + (why ? why : "libcuda.so.1 does not load");
    return;
  }
  const auto entry = [&](auto type, const char *name) { return reinterpret_cast<decltype(type)>(dlsym(driver, name)); };
  using Init = int (*)(unsigned);
  using Get = int (*)(int *);
  using Device = int (*)(int *, int);
  using Attribute = int (*)(int *, int, int);
  using Name = int (*)(char *, int, int);
  const auto init = entry(Init{}, "cuInit");
  const auto version = entry(Get{}, "cuDriverGetVersion"), count = entry(Get{}, "cuDeviceGetCount");
  const auto device = entry(Device{}, "cuDeviceGet");
  const auto attribute = entry(Attribute{}, "cuDeviceGetAttribute");
  const auto name = entry(Name{}, "cuDeviceGetName");
  if (!init || !version || !count || !device || !attribute || !name) {
    machine.cuda_problem = "libcuda.so.1 lacks functions that every driver has";
    return;
  }
  version(&machine.cuda_driver);
  if (const int code = init(0); code != 0) {
    machine.cuda_problem = "the NVIDIA driver answers " + cuda_error(driver, code);
    return;
  }
  constexpr int capability_major = 75, capability_minor = 76;
  int devices = 0;
  count(&devices);
  for (int i = 0; i < devices; ++i) {
    int handle = 0;
    CudaDevice found;
    char text[128] = {};
    if (device(&handle, i) != 0 || attribute(&found.major, capability_major, handle) != 0 ||
        attribute(&found.minor, capability_minor, handle) != 0)
      continue;
    if (name(text, sizeof text - 1, handle) == 0) found.name = text;
    machine.cuda.push_back(found);
  }
  if (machine.cuda.empty()) machine.cuda_problem = "the NVIDIA driver shows this process no GPU (CUDA_VISIBLE_DEVICES hides them?)";
  std::ifstream file("/proc/driver/nvidia/version");
  for (std::string word; file >> word;)
    if (word.size() >= 7 && std::isdigit(static_cast<unsigned char>(word[0])) && word.find('.') == 3) {
      machine.nvidia_driver = std::stoi(word);
      break;
    }
}

std::string why_not_rocm(const Rocm &rocm, const manifest::Json &needs) {
  if (!rocm.problem.empty() || rocm.devices.empty())
    return "needs an AMD GPU and its HIP runtime" + (rocm.problem.empty() ? "" : ": " + rocm.problem);
  const std::string &arch = rocm.devices.front().arch;
  std::string archs;
  for (const auto &name : needs.value("archs", manifest::Json::array())) {
    if (name.get<std::string>() == arch) return "";
    archs += " " + name.get<std::string>();
  }
  return "has code for" + (archs.empty() ? " no GPU" : archs) + ", this machine's GPU is " + arch;
}

}  // namespace

Machine this_machine() {
  Machine machine;
  utsname name{};
  uname(&name);
  machine.cpu = name.machine;
  machine.cpu_features = cpu_features(machine.processor_name);
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) machine.processors = CPU_COUNT(&allowed);
  machine.glibc = gnu_get_libc_version();
  ask_cuda(machine);
  machine.rocm = this_rocm();
  return machine;
}

bool runs_on(const std::string &capability, const CudaDevice &device) {
  std::string base = capability;
  const bool ptx = base.ends_with("+PTX");
  if (ptx) base.resize(base.size() - 4);
  const char suffix = base.empty() ? '\0' : base.back();
  int major = 0, minor = 0;
  if (std::sscanf(base.c_str(), "%d.%d", &major, &minor) != 2) return false;
  if (suffix == 'a') return device.major == major && device.minor == minor;
  if (device.major == major && device.minor >= minor) return true;
  return ptx && (device.major > major);
}

std::string why_not(const Machine &machine, const std::string &requires_json) {
  const manifest::Json needs = manifest::parse_json(requires_json, "requirements");
  if (const std::string cpu = needs.value("cpu", machine.cpu); cpu != machine.cpu)
    return "is for " + cpu + ", this machine is " + machine.cpu;
  if (const std::string glibc = needs.value("glibc", "0"); manifest::compare_versions(glibc, machine.glibc) > 0)
    return "needs glibc " + glibc + ", this machine has " + machine.glibc;
  std::string missing;
  for (const auto &feature : needs.value("cpu_features", manifest::Json::array()))
    if (!machine.cpu_features.contains(feature.get<std::string>())) missing += " " + feature.get<std::string>();
  if (!missing.empty()) return "needs" + missing + ", which this processor lacks";
  if (needs.contains("cuda")) {
    if (machine.cuda.empty())
      return "needs an NVIDIA GPU and its driver" + (machine.cuda_problem.empty() ? "" : ": " + machine.cuda_problem);
    const int driver = needs["cuda"].value("driver", 0);
    if (machine.nvidia_driver && machine.nvidia_driver < driver)
      return "needs driver " + std::to_string(driver) + ", this machine has " + std::to_string(machine.nvidia_driver);
    for (const auto &capability : needs["cuda"].at("capabilities"))
      if (runs_on(capability.get<std::string>(), machine.cuda.front())) return "";
    return "has no code for compute capability " + std::to_string(machine.cuda.front().major) + "." +
           std::to_string(machine.cuda.front().minor);
  }
  if (needs.contains("rocm")) return why_not_rocm(machine.rocm, needs["rocm"]);
  return "";
}

}  // namespace lamina::hub
