#include "hub_client/machine_rocm.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;

struct Node {
  RocmDevice device;
  std::string unique_id;  // "GPU-" and 16 hex digits, as ROCR_VISIBLE_DEVICES may name it
};

// 90402 is gfx942, 90010 is gfx90a: two decimal digits each for minor and stepping; the stepping is written as a hex digit.
std::string arch_of(uint64_t version) {
  const uint64_t stepping = version % 100;
  if (!version || version > 999999 || stepping > 15) return "";
  return "gfx" + std::to_string(version / 10000) + std::to_string(version / 100 % 100) + "0123456789abcdef"[stepping];
}

// "9.4.2" as HSA_OVERRIDE_GFX_VERSION has it.
std::string arch_of_words(const std::string &text) {
  unsigned major = 0, minor = 0, stepping = 0;
  char rest = 0;
  if (std::sscanf(text.c_str(), "%3u.%2u.%2u%c", &major, &minor, &stepping, &rest) != 3) return "";
  return arch_of(major * 10000u + minor * 100u + stepping);
}

// A node of the topology that is a GPU; processors are nodes too.
std::optional<Node> read_node(const fs::path &folder) {
  std::ifstream file(folder / "properties");
  uint64_t version = 0, simds = 0, simds_of_unit = 0, id = 0;
  int lines = 0;
  for (std::string name, line; lines < 1000 && std::getline(file, line); ++lines) {
    std::istringstream words(line);
    uint64_t value = 0;
    if (!(words >> name >> value)) continue;
    if (name == "gfx_target_version") version = value;
    if (name == "simd_count") simds = value;
    if (name == "simd_per_cu") simds_of_unit = value;
    if (name == "unique_id") id = value;
  }
  const std::string arch = arch_of(version);
  if (arch.empty() || !simds) return std::nullopt;
  char text[32];
  std::snprintf(text, sizeof text, "GPU-%016llx", static_cast<unsigned long long>(id));
  return Node{{arch, static_cast<int>(std::min<uint64_t>(simds / std::max<uint64_t>(simds_of_unit, 1), 1 << 20))}, text};
}

std::vector<Node> read_nodes(const fs::path &topology) {
  std::vector<std::pair<int, fs::path>> folders;
  std::error_code refused;
  for (fs::directory_iterator entry(topology / "nodes", refused), end; !refused && entry != end && folders.size() < 4096;
       entry.increment(refused)) {
    const std::string name = entry->path().filename();
    int number = -1;
    const auto [last, code] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (code == std::errc() && last == name.data() + name.size() && number >= 0) folders.emplace_back(number, entry->path());
  }
  std::sort(folders.begin(), folders.end());
  std::vector<Node> nodes;
  for (const auto &[number, folder] : folders)
    if (const std::optional<Node> node = read_node(folder)) nodes.push_back(*node);
  return nodes;
}

// "2,0" takes the third and the first; the first word that names no GPU ends the list, as the runtime has it.
std::vector<Node> visible(const std::vector<Node> &nodes, const std::optional<std::string> &list) {
  if (!list) return nodes;
  std::vector<Node> shown;
  std::istringstream words(*list);
  for (std::string word; std::getline(words, word, ',');) {
    word.erase(std::remove_if(word.begin(), word.end(), [](unsigned char c) { return std::isspace(c); }), word.end());
    size_t index = nodes.size();
    if (word.starts_with("GPU-")) {
      index = static_cast<size_t>(std::find_if(nodes.begin(), nodes.end(), [&](const Node &node) { return node.unique_id == word; }) -
                                  nodes.begin());
    } else if (const auto [last, code] = std::from_chars(word.data(), word.data() + word.size(), index);
               code != std::errc() || last != word.data() + word.size()) {
      break;
    }
    if (index >= nodes.size()) break;
    shown.push_back(nodes[index]);
  }
  return shown;
}

int look_at_library(dl_phdr_info *library, size_t, void *path) {
  const std::string name = library->dlpi_name ? library->dlpi_name : "";
  if (!fs::path(name).filename().string().starts_with("libamdhip64.so")) return 0;
  *static_cast<std::string *>(path) = name;
  return 1;
}

// In the order in which plug-ins look, so that the version is that of the runtime they will use.
void *open_runtime(std::string &problem) {
  const auto open = [](const std::string &name, int more) { return dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL | more); };
  if (const char *named = std::getenv("LAMINA_HIP_RUNTIME"); named && *named) {
    void *library = open(named, 0);
    if (!library) problem = std::string("LAMINA_HIP_RUNTIME names a runtime that cannot be loaded: ") + dlerror();
    return library;
  }
  std::string mapped;
  dl_iterate_phdr(look_at_library, &mapped);
  if (!mapped.empty())
    if (void *library = open(mapped, RTLD_NOLOAD)) return library;
  for (const char *name : {"libamdhip64.so.10", "libamdhip64.so.9", "libamdhip64.so.8", "libamdhip64.so.7", "libamdhip64.so.6",
                           "libamdhip64.so.5", "libamdhip64.so", "/opt/rocm/lib/libamdhip64.so"})
    if (void *library = open(name, 0)) return library;
  problem = "an AMD GPU without its HIP runtime (libamdhip64.so, ROCm 5 to 10; LAMINA_HIP_RUNTIME may name it)";
  return nullptr;
}

void ask_runtime(Rocm &rocm) {
  void *library = open_runtime(rocm.problem);
  if (!library) return;
  const auto version = reinterpret_cast<int (*)(int *)>(dlsym(library, "hipRuntimeGetVersion"));
  int number = 0;
  if (!version || version(&number) != 0 || number <= 0) {
    rocm.problem = "the HIP runtime does not say its version (hipRuntimeGetVersion)";
    return;
  }
  rocm.major = number / 10000000, rocm.minor = number / 100000 % 100;
}

std::optional<std::string> variable(const char *name) {
  const char *value = std::getenv(name);
  return value ? std::optional<std::string>(value) : std::nullopt;
}

}  // namespace

std::vector<RocmDevice> rocm_devices(const fs::path &topology, const RocmSettings &settings, std::string &problem) {
  std::error_code ignored;
  if (!fs::is_directory(topology / "nodes", ignored)) {
    problem = "no AMD GPU: the amdgpu driver is not there (" + topology.string() + ")";
    return {};
  }
  const std::vector<Node> all = read_nodes(topology);
  if (all.empty()) problem = "no AMD GPU that this process may use (" + topology.string() + " lists none)";
  const auto &of_hip = settings.hip_visible_devices ? settings.hip_visible_devices : settings.cuda_visible_devices;
  std::vector<RocmDevice> devices;
  for (const Node &node : visible(visible(all, settings.rocr_visible_devices), of_hip)) devices.push_back(node.device);
  if (devices.empty() && !all.empty())
    problem = "ROCR_VISIBLE_DEVICES, HIP_VISIBLE_DEVICES or CUDA_VISIBLE_DEVICES hides this machine's AMD GPUs";
  if (settings.hsa_override_gfx_version)
    if (const std::string arch = arch_of_words(*settings.hsa_override_gfx_version); !arch.empty())
      for (RocmDevice &device : devices) device.arch = arch;
  return devices;
}

Rocm this_rocm() {
  Rocm rocm;
  const RocmSettings settings{variable("ROCR_VISIBLE_DEVICES"), variable("HIP_VISIBLE_DEVICES"), variable("CUDA_VISIBLE_DEVICES"),
                              variable("HSA_OVERRIDE_GFX_VERSION")};
  rocm.devices = rocm_devices(variable("LAMINA_KFD_TOPOLOGY").value_or("/sys/class/kfd/kfd/topology"), settings, rocm.problem);
  if (!rocm.devices.empty()) ask_runtime(rocm);
  return rocm;
}

}  // namespace lamina::hub
