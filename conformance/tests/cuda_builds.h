// The CUDA builds in build/plugins, each put before the stand-in driver in a process of its own.
#pragma once
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "conformance/tests/cuda_host.h"

namespace lamina::conformance {

struct Build {
  std::string path, layer, arch;
  std::vector<std::string> capabilities;  // that it is for, in the words of kernels/archs.mk
  Dims dims;                              // of the layer's first case
  std::set<std::string> given;            // its optional arguments that the layer cannot do without, as patterns
};

inline std::string text_of(const std::string &path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::vector<Build> find_builds() {
  const auto archs = nlohmann::json::parse(text_of("build/gen/archs.json"));
  std::vector<Build> builds;
  for (const auto &entry : std::filesystem::directory_iterator("build/plugins")) {
    const std::string name = entry.path().stem().string();
    const size_t layer = name.find('-'), arch = name.rfind('-');
    if (entry.path().extension() != ".so" || name.compare(arch + 1, 5, "cuda_") != 0) continue;
    Build build{entry.path().string(), name.substr(0, layer), name.substr(arch + 1), {}, {}, {}};
    archs.at(build.arch).at("requires").at("cuda").at("capabilities").get_to(build.capabilities);
    for (const Case &one : read_cases("layers/" + build.layer + "/cases.json").cases)
      if (build.dims.empty() && one.op == "forward" && !one.expect && !one.on_gpu_only) {
        build.dims = one.dims;
        build.given.insert(one.given.begin(), one.given.end());
      }
    builds.push_back(build);
  }
  return builds;
}

inline const std::vector<Build> &builds() {
  static const std::vector<Build> found = find_builds();
  return found;
}

// "8.6" also serves the later minors of its major, "8.0+PTX" all that is later, "9.0a" itself alone.
inline bool serves(const Build &build, int capability) {
  for (const std::string &words : build.capabilities) {
    const int own = (words[0] - '0') * 10 + (words.size() > 3 && words[1] != '.' ? 0 : words[2] - '0');
    const int wide = words.compare(0, 2, "10") == 0 ? 100 : words.compare(0, 2, "12") == 0 ? 120 : own;
    if (words.back() == 'a' ? capability == wide
                            : (capability / 10 == wide / 10 && capability >= wide) || (words.ends_with("+PTX") && capability >= wide))
      return true;
  }
  return false;
}
inline int a_capability(const Build &build) {
  for (const int capability : {90, 80})
    if (serves(build, capability)) return capability;
  throw Error(ErrorKind::failed, build.path + " serves neither 9.0 nor 8.0");
}

// `work` with the stand-in driver and the build, in a process of its own: both keep state.
inline void with_driver(const Build &build, const std::function<void(const Fake &, const Plugin &)> &work,
                        fake_cuda::Machine machine = {}) {
  CAPTURE(build.path);
  if (machine.capability == 90) machine.capability = a_capability(build);
  const std::string found = run_in_child(
      [&] {
        const Fake fake;
        fake->machine() = machine;
        const Plugin plugin(build.path);
        work(fake, plugin);
      },
      120);
  CHECK(found == "");
}

inline void in_thread(const std::function<void()> &work) {
  std::exception_ptr thrown;
  std::thread([&] {
    try {
      work();
    } catch (...) { thrown = std::current_exception(); }
  }).join();
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace lamina::conformance
