// The host half of every CUDA build in build/plugins against a stand-in driver: plans, errors, loading, streams, contexts, capture, several
// devices, and what goes into launches.  No GPU is needed, none is used.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "conformance/tests/cuda_host.h"

using namespace lamina;
using namespace lamina::conformance;

namespace {

constexpr int out_of_memory = 2, invalid_image = 200, no_binary = 209, launch_failed = 719, unknown_error = 999;

struct Build {
  std::string path, layer, arch;
  std::vector<std::string> capabilities;  // that it is for, in the words of kernels/archs.mk
  Dims dims;                              // of the layer's first case
};

std::string text_of(const std::string &path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<Build> find_builds() {
  const auto archs = nlohmann::json::parse(text_of("build/gen/archs.json"));
  std::vector<Build> builds;
  for (const auto &entry : std::filesystem::directory_iterator("build/plugins")) {
    const std::string name = entry.path().stem().string();
    const size_t layer = name.find('-'), arch = name.rfind('-');
    if (entry.path().extension() != ".so" || name.compare(arch + 1, 5, "cuda_") != 0) continue;
    Build build{entry.path().string(), name.substr(0, layer), name.substr(arch + 1), {}, {}};
    archs.at(build.arch).at("requires").at("cuda").at("capabilities").get_to(build.capabilities);
    for (const Case &one : read_cases("layers/" + build.layer + "/cases.json").cases)
      if (build.dims.empty() && one.op == "forward" && !one.expect && !one.on_gpu_only) build.dims = one.dims;
    builds.push_back(build);
  }
  return builds;
}

const std::vector<Build> &builds() {
  static const std::vector<Build> found = find_builds();
  return found;
}

// "8.6" also serves the later minors of its major, "8.0+PTX" all that is later, "9.0a" itself alone.
bool serves(const Build &build, int capability) {
  for (const std::string &words : build.capabilities) {
    const int own = (words[0] - '0') * 10 + (words.size() > 3 && words[1] != '.' ? 0 : words[2] - '0');
    const int wide = words.compare(0, 2, "10") == 0 ? 100 : words.compare(0, 2, "12") == 0 ? 120 : own;
    if (words.back() == 'a' ? capability == wide
                            : (capability / 10 == wide / 10 && capability >= wide) || (words.ends_with("+PTX") && capability >= wide))
      return true;
  }
  return false;
}
int a_capability(const Build &build) {
  for (const int capability : {90, 80})
    if (serves(build, capability)) return capability;
  throw Error(ErrorKind::failed, build.path + " serves neither 9.0 nor 8.0");
}

// `work` with the stand-in driver and the build, in a process of its own: both keep state.
void with_driver(const Build &build, const std::function<void(const Fake &, const Plugin &)> &work, fake_cuda::Machine machine = {}) {
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

void in_thread(const std::function<void()> &work) {
  std::exception_ptr thrown;
  std::thread([&] {
    try {
      work();
    } catch (...) { thrown = std::current_exception(); }
  }).join();
  if (thrown) std::rethrow_exception(thrown);
}

// What this process says about the build where no driver can be opened: exit code 0 if all is as it should be.
int without_driver(const std::string &path) {
  try {
    const Plugin plugin(path);
    expect(plugin.contract().starts_with("{"), "the contract does not show");
    for (uint32_t i = 0; i < plugin.library().op_count; ++i) {
      lamina_plan *plan = nullptr;
      require_status(create_plan(plugin, 0, plan, plugin.library().ops[i]->name), LAMINA_UNSUPPORTED, "no CUDA driver");
      expect(plan == nullptr, "a refused plan is not NULL");
    }
    return 0;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

}  // namespace

int main(int count, char **words) {
  if (count == 3 && std::string_view(words[1]) == "--without-driver") return without_driver(words[2]);
  return doctest::Context(count, words).run();
}

TEST_CASE("there are CUDA builds") { CHECK(builds().size() >= 2); }

TEST_CASE("without a driver a build shows its contract, and plans are UNSUPPORTED") {
  // A file that is no library stands where the driver would be, so that a machine that has one answers alike.
  for (const Build &build : builds()) {
    CAPTURE(build.path);
    const pid_t child = fork();
    if (child == 0) {
      setenv("LD_LIBRARY_PATH", "build/fake_cuda/broken", 1);
      execl("/proc/self/exe", "cuda_host_path", "--without-driver", build.path.c_str(), nullptr);
      _exit(127);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
}

TEST_CASE("a driver that is too old, finds no GPU or lacks a function is UNSUPPORTED, with the reason") {
  for (const Build &build : builds()) {
    fake_cuda::Machine none, old, broken;
    none.devices = 0, old.driver = 12080, broken.init_code = unknown_error;
    const auto refused = [](const std::string &words) {
      return [words](const Fake &fake, const Plugin &plugin) {
        lamina_plan *plan = nullptr;
        require_status(create_plan(plugin, 0, plan), LAMINA_UNSUPPORTED, words);
        fake.nothing_left();
      };
    };
    with_driver(build, refused("no usable GPU"), none);
    with_driver(build, refused("no usable GPU: cuInit gives error 999"), broken);
    with_driver(build, refused("supports CUDA 12.8; this build needs 13.0 (driver 580)"), old);
    CHECK(run_in_child(
              [&] {
                open_library("build/fake_cuda/ancient/libcuda.so.1");
                lamina_plan *plan = nullptr;
                require_status(create_plan(Plugin(build.path), 0, plan), LAMINA_UNSUPPORTED, "cuGetProcAddress_v2");
              },
              60) == "");
    with_driver(build, [&build](const Fake &fake, const Plugin &plugin) {
      lamina_plan *plan = nullptr;
      require_status(create_plan(plugin, 0, plan), LAMINA_OK, "");
      const auto names = fake->requested();
      expect(names.size() > 10, "the build asks the driver for too few functions to be true");
      for (const std::string &name : names) {
        const std::string found = run_in_child(
            [&] {
              // A fresh copy has opened no driver yet; a file of its own makes the loader take it for another library.
              const std::string copy = "build/conformance/" + build.arch + "-" + std::to_string(getpid()) + ".so";
              std::filesystem::copy_file(build.path, copy, std::filesystem::copy_options::overwrite_existing);
              const Plugin again(copy);
              std::filesystem::remove(copy);
              fake->machine().missing = name;
              lamina_plan *other = nullptr;
              require_status(create_plan(again, 0, other), LAMINA_UNSUPPORTED, "has no " + name);
            },
            60);
        expect(found.empty(), found);
      }
      plugin.op("forward")->plan_destroy(plan);
    });
    with_driver(build, [](const Fake &fake, const Plugin &plugin) {  // a driver that comes up later is found then
      fake->fail_next("cuInit", unknown_error);
      lamina_plan *plan = nullptr;
      require_status(create_plan(plugin, 0, plan), LAMINA_UNSUPPORTED, "cuInit");
      require_status(create_plan(plugin, 0, plan), LAMINA_OK, "");
      plugin.op("forward")->plan_destroy(plan);
      fake.nothing_left();
    });
  }
}

TEST_CASE("plans are made on exactly the GPUs that the arch names") {
  for (const Build &build : builds())
    for (const int capability : {70, 75, 80, 86, 87, 89, 100, 103, 120, 121, 90}) {
      CAPTURE(capability);
      fake_cuda::Machine machine;
      machine.capability = capability;
      const std::string found = run_in_child(
          [&] {
            const Fake fake;
            fake->machine() = machine;
            const Plugin plugin(build.path);
            lamina_plan *plan = nullptr;
            const Outcome outcome = create_plan(plugin, 0, plan);
            const std::string words = std::to_string(capability / 10) + "." + std::to_string(capability % 10);
            if (serves(build, capability)) {
              require_status(outcome, LAMINA_OK, "");
              plugin.op("forward")->plan_destroy(plan);
            } else {
              require_status(outcome, LAMINA_UNSUPPORTED, words);
            }
            fake.nothing_left();
          },
          60);
      CHECK(found == "");
    }
}

TEST_CASE("a failure while a plan is made is told, leaves nothing behind, and the next try works") {
  struct Fault {
    const char *function;
    int code, nth;
    lamina_status status;
    const char *words;
  };
  const Fault faults[] = {
      {"cuDevicePrimaryCtxRetain", out_of_memory, 1, LAMINA_NO_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
      {"cuDevicePrimaryCtxRetain", unknown_error, 1, LAMINA_DEVICE_ERROR, "cuDevicePrimaryCtxRetain"},
      {"cuLibraryLoadData", out_of_memory, 1, LAMINA_NO_MEMORY, "cuLibraryLoadData"},
      {"cuLibraryLoadData", no_binary, 1, LAMINA_UNSUPPORTED, "no device code for compute capability"},
      {"cuLibraryLoadData", invalid_image, 1, LAMINA_DEVICE_ERROR, "cuLibraryLoadData"},
      {"cuLibraryGetKernel", unknown_error, 3, LAMINA_DEVICE_ERROR, ""},
      {"cuKernelGetFunction", out_of_memory, 2, LAMINA_NO_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
      {"cuKernelSetAttribute", unknown_error, 1, LAMINA_DEVICE_ERROR, ""},
  };
  for (const Build &build : builds())
    for (const Fault &fault : faults) {
      CAPTURE(fault.function);
      with_driver(build, [&fault](const Fake &fake, const Plugin &plugin) {
        fake->fail_next(fault.function, fault.code, fault.nth);
        lamina_plan *plan = nullptr;
        const Outcome outcome = create_plan(plugin, 0, plan);
        require_status(outcome, fault.status, fault.words);
        expect(outcome.native_code == fault.code, "native_code is not the driver's code");
        expect(plan == nullptr, "a refused plan is not NULL");
        fake.nothing_left();
        require_status(create_plan(plugin, 0, plan), LAMINA_OK, "");
        plugin.op("forward")->plan_destroy(plan);
        fake.nothing_left();
      });
    }
  for (const Build &build : builds())
    with_driver(build, [](const Fake &fake, const Plugin &plugin) {
      for (const int device : {1, 7, -1}) {
        lamina_plan *plan = nullptr;
        require_status(create_plan(plugin, device, plan), LAMINA_WRONG_DEVICE, "no CUDA device " + std::to_string(device));
      }
      fake.nothing_left();
    });
}

TEST_CASE("plans of one context share what the first one loaded, and the last one gives it back") {
  for (const Build &build : builds())
    with_driver(build, [](const Fake &fake, const Plugin &plugin) {
      std::vector<std::pair<const lamina_op *, lamina_plan *>> plans;
      const auto add = [&](const char *op) {
        lamina_plan *plan = nullptr;
        require_status(create_plan(plugin, 0, plan, op), LAMINA_OK, "");
        plans.emplace_back(plugin.op(op), plan);
      };
      add("forward");
      auto calls = fake->calls();
      expect(calls["cuLibraryLoadData"] == 1, "the first plan loads the device code once");
      expect(calls["cuLibraryGetKernel"] > 0 && calls["cuLibraryGetKernel"] == calls["cuKernelGetFunction"],
             "a kernel is looked up but not loaded into the context");
      fake->forget();
      add("pack"), add("forward");
      calls = fake->calls();
      expect(!calls.contains("cuLibraryLoadData") && !calls.contains("cuKernelGetFunction"), "a later plan loads again");
      expect(fake->retained(0) == 1, "plans hold the primary context once");
      for (size_t i = 0; i < plans.size(); ++i) {
        expect(fake->loaded_libraries() == 1, "device code is gone before the last plan");
        plans[i].first->plan_destroy(plans[i].second);
      }
      fake.nothing_left();
      plans.clear();
      add("forward");  // and begins anew
      expect(fake->loaded_libraries() == 1, "a plan after the last one loads again");
      plans[0].first->plan_destroy(plans[0].second);
      fake.nothing_left();
    });
}

TEST_CASE("run loads nothing, allocates nothing and waits for nothing") {
  const std::set<std::string> allowed = {"cuStreamGetCtx", "cuCtxPushCurrent", "cuCtxPopCurrent", "cuLaunchKernelEx",
                                         "cuTensorMapEncodeTiled"};
  for (const Build &build : builds())
    for (const Element dtype : {Element::float32, Element::bfloat16, Element::float16})
      for (const char *op : {"forward", "packed forward", "pack"}) {
        CAPTURE(op);
        with_driver(build, [&](const Fake &fake, const Plugin &plugin) {
          const bool pack = std::string_view(op) == "pack";
          HostCall call(plugin, {pack ? "pack" : "forward", build.dims, dtype, {}, std::string_view(op) == "packed forward", {}, 0});
          for (int round = 0; round < 2; ++round) {
            fake->forget();
            call.must_run(nullptr, op);
            for (const auto &[name, times] : fake->calls()) expect(allowed.contains(name), "run calls " + name);
            expect(!fake->launches().empty(), "run launches nothing");
            expect(fake->stack_depth() == 0, "run leaves a context on the thread's stack");
          }
          fake.no_misuse();
        });
      }
}

TEST_CASE("every address of a launch lies in a tensor or the workspace, and every tensor is used") {
  for (const Build &build : builds())
    for (const bool packed : {false, true})
      with_driver(build, [&](const Fake &fake, const Plugin &plugin) {
        HostCall call(plugin, {"forward", build.dims, Element::bfloat16, {}, packed, {}, 0});
        fake->forget();
        call.must_run(nullptr, "forward");
        const auto used = check_addresses(fake->launches(), call.addresses());
        const lamina_op &op = *plugin.op("forward");
        for (uint32_t i = 0; i < op.arg_count; ++i) {
          if (op.args[i].flags & LAMINA_OPTIONAL) continue;
          const bool parameter = op.args[i].role == LAMINA_PARAM;
          expect(used.contains(op.args[i].name) != (packed && parameter),
                 std::string(op.args[i].name) + (packed ? " (packed)" : "") + ": used where it may not be, or not where it must be");
        }
        expect(used.contains("packed") == packed, "packed weights are not used");
        fake.no_misuse();
      });
}

TEST_CASE("a launch that fails is a DEVICE_ERROR that names the kernel, and the next run works") {
  for (const Build &build : builds())
    with_driver(build, [&](const Fake &fake, const Plugin &plugin) {
      {
        HostCall call(plugin, {"forward", build.dims, Element::bfloat16, {}, false, {}, 0});
        fake->forget();
        call.must_run(nullptr, "forward");
        const auto launches = fake->launches();
        for (size_t i = 0; i < launches.size(); ++i) {
          fake->forget();
          fake->fail_next("cuLaunchKernelEx", launch_failed, static_cast<int>(i) + 1);
          const Outcome outcome = call.run(nullptr);
          require_status(outcome, LAMINA_DEVICE_ERROR, launches[i].kernel + ": CUDA_ERROR_LAUNCH_FAILED");
          expect(outcome.native_code == launch_failed, "native_code is not the driver's code");
          expect(fake->launches().size() == i, "launches go on after one that failed");
          expect(fake->stack_depth() == 0, "a failed run leaves a context on the thread's stack");
          call.must_run(nullptr, "the run after a failed one");
        }
        int outside = 0;
        require_status(call.run(&outside), LAMINA_DEVICE_ERROR, "cuStreamGetCtx");  // no stream of this driver
      }
      fake.nothing_left();
    });
}

TEST_CASE("streams: default ones, own ones, on any thread, and none of another context") {
  for (const Build &build : builds()) {
    fake_cuda::Machine machine;
    machine.devices = 2;
    with_driver(
        build,
        [&](const Fake &fake, const Plugin &plugin) {
          fake.start();
          {
            HostCall call(plugin, {"forward", build.dims, Element::bfloat16, {}, false, {}, 0});
            void *const primary = fake.retain(0), *const other_device = fake.retain(1);
            fake.make_current(primary);
            void *const own = fake.stream(), *const blocking = fake.stream(true);
            fake.make_current(other_device);
            void *const foreign = fake.stream();
            void *const legacy = reinterpret_cast<void *>(1), *const per_thread = reinterpret_cast<void *>(2);
            // Whatever is current, also nothing.
            for (void *current : {primary, other_device, static_cast<void *>(nullptr)}) {
              fake.make_current(current);
              for (void *stream : {static_cast<void *>(nullptr), legacy, per_thread, own, blocking})
                for (const bool thread : {false, true}) {
                  fake->forget();
                  if (thread) in_thread([&] { call.must_run(stream, "a thread without a context"); });
                  else call.must_run(stream, "this thread");
                  for (const auto &launch : fake->launches())
                    expect(launch.context == primary && launch.stream == stream && launch.device == 0,
                           launch.kernel + " goes to another context or stream");
                  expect(fake->stack_depth() == (current ? 1u : 0u), "run changes the thread's stack of contexts");
                }
              fake->forget();
              require_status(call.run(foreign), LAMINA_WRONG_DEVICE, "another CUDA context");
              expect(fake->launches().empty(), "a refused run launches");
            }
            void *const mine = fake.own_context(0);
            void *const second = fake.stream();
            require_status(call.run(second), LAMINA_WRONG_DEVICE, "another CUDA context");
            {  // a plan made while the host's own context is current belongs to it
              const int before = fake->retained(0);
              HostCall inside(plugin, {"forward", build.dims, Element::float32, {}, false, {}, 0});
              expect(fake->retained(0) == before, "the primary context is held by a plan of another one");
              fake->forget();
              inside.must_run(second, "a stream of the host's own context");
              for (const auto &launch : fake->launches()) expect(launch.context == mine, "a launch goes to another context");
              require_status(inside.run(own), LAMINA_WRONG_DEVICE, "another CUDA context");
            }
            fake.destroy_context(mine);
            fake.make_current(nullptr);
            fake.release(0), fake.release(1);
          }
          fake.nothing_left(2);
        },
        machine);
  }
}

TEST_CASE("two devices: each plan runs on its own") {
  for (const Build &build : builds()) {
    fake_cuda::Machine machine;
    machine.devices = 2;
    with_driver(
        build,
        [&](const Fake &fake, const Plugin &plugin) {
          fake.start();
          {
            HostCall first(plugin, {"forward", build.dims, Element::bfloat16, {}, true, {}, 0});
            HostCall second(plugin, {"forward", build.dims, Element::bfloat16, {}, true, {}, 1});
            expect(fake->loaded_libraries() == 2, "each device has its own device code");
            for (const int device : {1, 0, 1}) {
              fake->forget();
              (device ? second : first).must_run(nullptr, "forward");
              for (const auto &launch : fake->launches()) expect(launch.device == device, "a launch goes to the other device");
            }
          }
          fake.nothing_left(2);
        },
        machine);
  }
}

TEST_CASE("run is captured in every mode, and plans come and go beside a capture in another thread") {
  for (const Build &build : builds())
    for (const int mode : {0, 1, 2}) {
      CAPTURE(mode);
      with_driver(build, [&](const Fake &fake, const Plugin &plugin) {
        fake.start();
        {
          void *const primary = fake.retain(0);
          fake.make_current(primary);
          void *const stream = fake.stream(), *const blocking = fake.stream(true);
          HostCall call(plugin, {"forward", build.dims, Element::bfloat16, {}, false, {}, 0});  // its first run is the captured one
          for (void *captured : {stream, blocking}) {
            fake.begin_capture(captured, mode);
            fake->forget();
            call.must_run(captured, "run under capture");
            const size_t launched = fake->launches().size();
            for (const auto &launch : fake->launches()) expect(launch.captured, launch.kernel + " is launched beside the capture");
            in_thread([&] {
              lamina_plan *plan = nullptr;
              require_status(create_plan(plugin, 0, plan), LAMINA_OK, "");
              plugin.op("forward")->plan_destroy(plan);
              HostCall(plugin, {"pack", build.dims, Element::bfloat16, {}, false, {}, 0});
              expect(fake->capture_mode() == 0, "plan creation changes the thread's capture mode");
            });
            call.must_run(captured, "a second run under the same capture");
            expect(fake.end_capture(captured) == 2 * launched, "the graph lacks nodes");
          }
          fake.make_current(nullptr);
          fake.release(0);
        }
        fake.nothing_left();
        // The first and the last plan of a context, whole loads and unloads, while others capture.
        void *const primary = fake.retain(0);
        fake.make_current(primary);
        void *const stream = fake.stream();
        fake.begin_capture(stream, mode);
        in_thread([&] {
          HostCall alone(plugin, {"forward", build.dims, Element::bfloat16, {}, false, {}, 0});
          alone.must_run(reinterpret_cast<void *>(2), "run on another thread's own stream");
        });
        expect(fake.end_capture(stream) == 0, "another thread's launches are in the graph");
        fake.make_current(nullptr);
        fake.release(0);
        fake.nothing_left();
      });
    }
}

TEST_CASE("plans come, run and go on eight threads at once") {
  for (const Build &build : builds())
    with_driver(build, [&](const Fake &fake, const Plugin &plugin) {
      std::vector<std::thread> threads;
      std::vector<std::string> found(8);
      for (std::string &mine : found)
        threads.emplace_back([&] {
          try {
            for (int round = 0; round < 20; ++round) {
              HostCall call(plugin, {"forward", build.dims, Element::bfloat16, {}, false, {}, 0});
              call.must_run(nullptr, "forward");
            }
          } catch (const std::exception &error) { mine = error.what(); }
        });
      for (std::thread &thread : threads) thread.join();
      for (const std::string &mine : found) expect(mine.empty(), mine);
      fake.nothing_left();
    });
}
