// The choice of a variant, row by row as the Python library `kernels` 0.17.2 was seen to choose, and that of a build.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "hub_client/resolve.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include <doctest/doctest.h>

#include "hub_client/machine.h"

using namespace lamina::hub;

namespace {

using Names = std::vector<std::string>;
const Framework torch213{std::pair(2, 13), true, std::pair(0, 1)};
const Framework no_torch{};

// Those that fit, best first, whatever order they are given in.
Names chosen(Names variants, const std::string &backend, const Framework &framework, const std::string &cpu = "x86_64") {
  Names first;
  std::mt19937 source(7);
  for (int round = 0; round < 5; ++round) {
    std::shuffle(variants.begin(), variants.end(), source);
    Names names;
    const std::vector<Candidate> candidates = resolve(variants, backend, cpu, "linux", framework);
    CHECK(candidates.size() == variants.size());
    for (const Candidate &candidate : candidates)
      if (candidate.reason.empty()) names.push_back(candidate.variant);
    if (round == 0) first = names;
    CHECK(names == first);
  }
  return first;
}

std::string reason(const std::string &variant, const std::string &backend, const Framework &framework) {
  return resolve({variant}, backend, "x86_64", "linux", framework).front().reason;
}
bool has(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("order of preference beside torch 2.13 and tvm-ffi 0.1 on a processor") {
  const Names order = {"torch-stable-abi213-cpu-x86_64-linux",
                       "torch-stable-abi211-cpu-x86_64-linux",
                       "torch-stable-abi210-cpu-x86_64-linux",
                       "torch-stable-abi29-cpu-x86_64-linux",
                       "torch-stable-abi20-cpu-x86_64-linux",
                       "torch213-cpu-x86_64-linux",
                       "torch213-cxx11-cpu-x86_64-linux",
                       "torch-cpu",  // a tie with the next, which Python leaves to chance
                       "tvm-ffi01-cpu-x86_64-linux",
                       "torch-universal"};
  CHECK(chosen(order, "cpu", torch213) == order);
}

TEST_CASE("what is passed over, and why") {
  struct Row {
    const char *variant, *word;
  };
  for (const Row &row : {Row{"torch213-cxx98-cpu-x86_64-linux", "C++ ABI cxx98"},
                         {"torch212-cpu-x86_64-linux", "for torch 2.12"},
                         {"torch214-cpu-x86_64-linux", "for torch 2.14"},
                         {"torch-stable-abi214-cpu-x86_64-linux", "too new"},
                         {"torch-stable-abi30-cpu-x86_64-linux", "too new"},
                         {"torch-stable-abi29-cpu-aarch64-linux", "for aarch64"},
                         {"torch-stable-abi29-cpu-x86_64-darwin", "for darwin"},
                         {"torch-stable-abi29-cpu-x86_64-windows", "for windows"},
                         {"torch-stable-abi29-cu130-x86_64-linux", "backend cu130, wanted cpu"},
                         {"tvm-ffi02-cpu-x86_64-linux", "for tvm-ffi 0.2"},
                         {"torch-cuda", "backend cuda, wanted cpu"},
                         {"torch-metal", "backend metal"}})
    CHECK_MESSAGE(has(reason(row.variant, "cpu", torch213), row.word), row.variant);
  for (const char *name :
       {"noarch", "universal", "cabi1-cpu-x86_64-linux", "lamina1-cpu-x86_64-linux", "torch213", "torch-noarch", "",
        "torch-stable-abi210-cxx11-cpu-x86_64-linux", "torch-stable-abi-cpu-x86_64-linux", "torch-stable-abi29-cpu-x86_64",
        "torch-stable-abi29-cpu-x86_64-linux-extra", "Torch213-cpu-x86_64-linux", "torch-stable-abi29--x86_64-linux"})
    CHECK_MESSAGE(reason(name, "cpu", torch213) == "not the name of a variant", name);
}

TEST_CASE("older torch takes an older stable ABI") {
  const Names all = {"torch-stable-abi29-cpu-x86_64-linux", "torch-stable-abi210-cpu-x86_64-linux", "torch-stable-abi213-cpu-x86_64-linux"};
  CHECK(chosen(all, "cpu", {std::pair(2, 9), true, {}}) == Names{"torch-stable-abi29-cpu-x86_64-linux"});
  CHECK(chosen(all, "cpu", {std::pair(2, 12), true, {}}).front() == "torch-stable-abi210-cpu-x86_64-linux");
  CHECK(chosen(all, "cpu", {std::pair(2, 8), true, {}}).empty());
}

TEST_CASE("without torch any stable ABI will do, and nothing that is one torch's") {
  CHECK(chosen({"torch-stable-abi29-cpu-x86_64-linux", "torch213-cpu-x86_64-linux", "torch-cpu", "torch-universal",
                "tvm-ffi01-cpu-x86_64-linux", "torch-stable-abi214-cpu-x86_64-linux"},
               "cpu", no_torch) == Names{"torch-stable-abi214-cpu-x86_64-linux", "torch-stable-abi29-cpu-x86_64-linux"});
  CHECK(has(reason("torch213-cpu-x86_64-linux", "cpu", no_torch), "one torch"));
}

TEST_CASE("the C++ ABI tag") {
  const Framework old_abi{std::pair(2, 13), false, {}};
  CHECK(chosen({"torch213-cxx98-cpu-x86_64-linux", "torch213-cxx11-cpu-x86_64-linux"}, "cpu", old_abi) ==
        Names{"torch213-cxx98-cpu-x86_64-linux"});
}

TEST_CASE("CUDA: the same major, a minor up to the driver's, the newest first") {
  const Names all = {"torch-stable-abi29-cu126-x86_64-linux", "torch-stable-abi29-cu128-x86_64-linux",
                     "torch-stable-abi29-cu130-x86_64-linux", "torch-stable-abi29-cu132-x86_64-linux",
                     "torch-stable-abi29-cpu-x86_64-linux"};
  CHECK(chosen(all, "cu130", no_torch) == Names{"torch-stable-abi29-cu130-x86_64-linux"});
  CHECK(chosen(all, "cu132", no_torch) == Names{"torch-stable-abi29-cu132-x86_64-linux", "torch-stable-abi29-cu130-x86_64-linux"});
  CHECK(chosen(all, "cu129", no_torch) == Names{"torch-stable-abi29-cu128-x86_64-linux", "torch-stable-abi29-cu126-x86_64-linux"});
  CHECK(chosen(all, "cu124", no_torch).empty());
  CHECK(chosen(all, "cpu", no_torch) == Names{"torch-stable-abi29-cpu-x86_64-linux"});
  CHECK(has(reason(all[0], "cu130", no_torch), "CUDA major 12"));
  CHECK(has(reason(all[3], "cu130", no_torch), "newer"));
  // A minor above 0 puts tvm-ffi before the noarch variant; at 13.0 they tie, and the name decides.
  CHECK(chosen({"torch-cuda", "tvm-ffi01-cu126-x86_64-linux"}, "cu128", torch213).front() == "tvm-ffi01-cu126-x86_64-linux");
  CHECK(chosen({"torch-cuda", "tvm-ffi01-cu130-x86_64-linux"}, "cu130", torch213).front() == "torch-cuda");
}

TEST_CASE("other backends must be equal") {
  const Names all = {"torch-stable-abi29-rocm71-x86_64-linux", "torch-stable-abi29-rocm72-x86_64-linux",
                     "torch-stable-abi29-xpu20253-x86_64-linux"};
  CHECK(chosen(all, "rocm72", torch213) == Names{"torch-stable-abi29-rocm72-x86_64-linux"});
  CHECK(chosen(all, "xpu20253", no_torch) == Names{"torch-stable-abi29-xpu20253-x86_64-linux"});
  CHECK(chosen({"torch-rocm", "torch-xpu", "torch-npu"}, "rocm72", torch213) == Names{"torch-rocm"});
  CHECK(chosen({"torch-rocm", "torch-xpu", "torch-npu"}, "xpu20253", torch213) == Names{"torch-xpu"});
  CHECK(chosen({"torch-rocm", "torch-xpu", "torch-npu"}, "cann85", torch213) == Names{"torch-npu"});
}

TEST_CASE("outside of torch another ROCm will do, after the machine's own, the newest first") {
  const Names all = {"torch-stable-abi29-rocm71-x86_64-linux", "torch-stable-abi29-rocm72-x86_64-linux",
                     "torch-stable-abi29-cpu-x86_64-linux"};
  CHECK(chosen(all, "rocm72", no_torch) == Names{all[1], all[0]});
  CHECK(chosen(all, "rocm71", no_torch) == Names{all[0], all[1]});
  CHECK(chosen(all, "rocm64", no_torch) == Names{all[1], all[0]});
  CHECK(chosen(all, "rocm64", torch213).empty());
  CHECK(chosen(all, "rocm64", {{}, true, std::pair(0, 1)}).empty());
  CHECK(has(reason("torch-stable-abi29-rocm71-x86_64-linux", "cu130", no_torch), "backend rocm71, wanted cu130"));
}

TEST_CASE("another processor") {
  CHECK(chosen({"torch-stable-abi29-cpu-x86_64-linux", "torch-stable-abi29-cpu-aarch64-linux"}, "cpu", no_torch, "aarch64") ==
        Names{"torch-stable-abi29-cpu-aarch64-linux"});
}

TEST_CASE("compute capabilities") {
  struct Row {
    const char *capability;
    int major, minor;
    bool runs;
  };
  for (const Row &row : {Row{"9.0", 9, 0, true},
                         {"9.0", 9, 1, true},
                         {"9.0", 10, 0, false},
                         {"9.0", 8, 9, false},
                         {"8.6", 8, 0, false},
                         {"9.0a", 9, 0, true},
                         {"9.0a", 9, 1, false},
                         {"9.0a", 10, 0, false},
                         {"10.0f", 10, 3, true},
                         {"10.0f", 11, 0, false},
                         {"8.0+PTX", 8, 0, true},
                         {"8.0+PTX", 12, 0, true},
                         {"8.0+PTX", 7, 5, false},
                         {"nonsense", 9, 0, false},
                         {"", 9, 0, false}})
    CHECK_MESSAGE(runs_on(row.capability, {row.major, row.minor, ""}) == row.runs,
                  row.capability << " on " << row.major << "." << row.minor);
}

TEST_CASE("what a build asks of a machine") {
  Machine machine;
  machine.cpu = "x86_64", machine.glibc = "2.36", machine.cpu_features = {"avx2", "fma"};
  CHECK(why_not(machine, "{}").empty());
  CHECK(why_not(machine, R"({"cpu":"x86_64","cpu_features":["avx2","fma"],"glibc":"2.28"})").empty());
  CHECK(has(why_not(machine, R"({"cpu":"aarch64"})"), "this machine is x86_64"));
  CHECK(has(why_not(machine, R"({"cpu_features":["avx2","amx_tile"]})"), "needs amx_tile"));
  CHECK(has(why_not(machine, R"({"glibc":"2.38"})"), "needs glibc 2.38"));
  CHECK(why_not(machine, R"({"glibc":"2.4"})").empty());  // a number after the dot, not a decimal fraction
  machine.cuda_problem = "no NVIDIA driver";
  const std::string cuda = R"({"cuda":{"capabilities":["8.0+PTX","9.0a"],"driver":580}})";
  CHECK(has(why_not(machine, cuda), "no NVIDIA driver"));
  CHECK(backend_of(machine) == "cpu");
  machine.cuda = {{9, 0, "H200"}}, machine.cuda_driver = 13000, machine.nvidia_driver = 580;
  CHECK(why_not(machine, cuda).empty());
  CHECK(backend_of(machine) == "cu130");
  machine.nvidia_driver = 570;
  CHECK(has(why_not(machine, cuda), "needs driver 580"));
  machine.nvidia_driver = 580, machine.cuda = {{7, 5, "T4"}};
  CHECK(has(why_not(machine, cuda), "7.5"));
}

TEST_CASE("what a build asks of an AMD machine") {
  Machine machine;
  const std::string rocm = R"({"rocm":{"archs":["gfx90a","gfx942"]}})";
  machine.rocm.problem = "no AMD GPU: the amdgpu driver is not there";
  CHECK(has(why_not(machine, rocm), "the amdgpu driver is not there"));
  machine.rocm = {7, 1, {{"gfx942", 304}, {"gfx908", 120}}, ""};
  CHECK(why_not(machine, rocm).empty());
  CHECK(has(why_not(machine, R"({"rocm":{}})"), "no GPU"));
  CHECK(backend_of(machine) == "rocm71");
  machine.rocm.devices.erase(machine.rocm.devices.begin());  // the first GPU counts
  CHECK(has(why_not(machine, rocm), "has code for gfx90a gfx942, this machine's GPU is gfx908"));
  machine.rocm = {0, 0, {{"gfx942", 304}}, "an AMD GPU without its HIP runtime"};
  CHECK(has(why_not(machine, rocm), "without its HIP runtime"));
  CHECK(backend_of(machine) == "cpu");
  machine.rocm = {7, 2, {{"gfx942", 304}}, ""};
  machine.cuda = {{9, 0, "H200"}}, machine.cuda_driver = 13000;
  CHECK(backend_of(machine) == "cu130");
}

TEST_CASE("AMD GPUs as the kernel driver lists them") {
  namespace fs = std::filesystem;
  const fs::path root = fs::path("build/test-scratch/kfd") / std::to_string(getpid());
  const auto node = [&](int number, const std::string &text) {
    fs::create_directories(root / "nodes" / std::to_string(number));
    std::ofstream(root / "nodes" / std::to_string(number) / "properties") << text;
  };
  const auto archs = [&](const RocmSettings &settings) {
    std::string problem, text;
    for (const RocmDevice &device : rocm_devices(root, settings, problem)) text += device.arch + " ";
    return text.empty() ? problem : text;
  };
  CHECK(has(archs({}), "the amdgpu driver is not there"));
  node(0, "cpu_cores_count 64\nsimd_count 0\ngfx_target_version 0\n");
  CHECK(has(archs({}), "lists none"));
  node(1, "simd_count 416\nsimd_per_cu 4\ngfx_target_version 90010\nunique_id 255\n");
  node(2, "simd_count 1216\nsimd_per_cu 4\ngfx_target_version 90402\nunique_id 4096\n");
  node(10, "simd_count 1024\nsimd_per_cu 4\ngfx_target_version 90500\n");  // after 2, not after 1
  node(11, "");                                                            // of another container
  node(12, "simd_count x\ngfx_target_version 18446744073709551616\n");
  node(13, "simd_count 4\ngfx_target_version 90099\n");
  CHECK(archs({}) == "gfx90a gfx942 gfx950 ");
  std::string problem;
  CHECK(rocm_devices(root, {}, problem)[1].compute_units == 304);
  CHECK(problem.empty());
  CHECK(archs({"2,0", {}, {}, {}}) == "gfx950 gfx90a ");
  CHECK(archs({"GPU-0000000000001000", {}, {}, {}}) == "gfx942 ");
  CHECK(archs({{}, "1", {}, {}}) == "gfx942 ");
  CHECK(archs({{}, {}, "1", {}}) == "gfx942 ");
  CHECK(archs({"2,0", "1", "0", {}}) == "gfx90a ");  // of those that ROCR shows; CUDA's variable is read where HIP's is absent
  CHECK(archs({{}, "0,7,1", {}, {}}) == "gfx90a ");  // a word that names none ends the list
  CHECK(has(archs({{}, "-1", {}, {}}), "hides"));
  CHECK(has(archs({{}, "", {}, {}}), "hides"));
  CHECK(archs({{}, "0", {}, "9.4.2"}) == "gfx942 ");
  CHECK(archs({{}, "0", {}, "9.4"}) == "gfx90a ");
  fs::remove_all(root);
}

TEST_CASE("this machine is one") {
  const Machine machine = this_machine();
  CHECK(!machine.cpu.empty());
  CHECK(!machine.glibc.empty());
  CHECK(machine.processors > 0);
  CHECK(machine.cuda.empty() == !machine.cuda_problem.empty());
}
