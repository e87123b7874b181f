// The host half of every CUDA build in build/plugins against a stand-in driver: what plans need, share and give back, every failure, and
// what a run may do.  cuda_streams.cpp has streams, contexts and capture.  No GPU is needed, none is used.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include "conformance/session.h"
#include "conformance/tests/cuda_builds.h"

using namespace lamina;
using namespace lamina::conformance;

namespace {

constexpr int out_of_memory = 2, invalid_image = 200, no_binary = 209, launch_failed = 719, unknown_error = 999;

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
      std::filesystem::create_directories("build/conformance");
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
        lamina_plan *plan = nullptr;
        // A build whose kernels all have little shared memory asks for no more of it: that call cannot fail.
        if (std::string_view(fault.function) == "cuKernelSetAttribute") {
          require_status(create_plan(plugin, 0, plan), LAMINA_OK, "");
          plugin.op("forward")->plan_destroy(plan);
          if (fake->calls()[fault.function] == 0) return;
        }
        fake->fail_next(fault.function, fault.code, fault.nth);
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
          HostCall call(plugin,
                        {pack ? "pack" : "forward", build.dims, dtype, build.given, std::string_view(op) == "packed forward", {}, 0});
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
        HostCall call(plugin, {"forward", build.dims, Element::bfloat16, build.given, packed, {}, 0});
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

TEST_CASE("every case of the layer's list launches what a driver takes, at any size") {
  for (const Build &build : builds())
    for (const int capability : {80, 86, 89, 100, 120, 90}) {
      if (!serves(build, capability)) continue;
      fake_cuda::Machine machine;
      machine.capability = capability;
      CAPTURE(capability);
      with_driver(
          build,
          [&](const Fake &fake, const Plugin &plugin) {
            int ran = 0, refused = 0, keeping = 0;
            for (const Case &one : read_cases("layers/" + build.layer + "/cases.json").cases) {
              const lamina_op *op = plugin.op(one.op);
              const auto dtype = element_named(one.dtype);
              if (one.expect || !op || !dtype || !(op->args[0].dtypes & bit(*dtype))) continue;
              const std::string name = one.why + " " + one.label + ": ";
              HostCall::Request request{
                  one.op, one.dims, *dtype, {one.given.begin(), one.given.end()}, one.packed, attributes_for(*op, one), 0, {}};
              request.dtypes = one.dtypes;
              fake->forget();
              try {
                HostCall call(plugin, request);
                const Outcome outcome = call.run(nullptr);
                expect(outcome.ok(), describe(outcome));
                for (const auto &piece : check_addresses(fake->launches(), call.addresses()))
                  expect(!piece.empty(), "an address without a name");
                fake.no_misuse();
                ++ran;
              } catch (const Error &error) {
                const std::string sentence = error.what();
                expect(sentence.find("UNSUPPORTED") != std::string::npos, name + sentence);
                // A build may keep nothing for backward, if it says so.
                ++(sentence.find("takes save = nothing") != std::string::npos ? keeping : refused);
              }
            }
            std::printf("%s on %d.%d: %d cases ran, %d are unsupported, %d that keep activations left out\n", build.arch.c_str(),
                        capability / 10, capability % 10, ran, refused, keeping);
            std::fflush(stdout);
            expect(ran > 100 && refused < ran / 20, "too many cases are unsupported");
            fake.nothing_left();
          },
          machine);
    }
}

TEST_CASE("a launch that fails is a DEVICE_ERROR that names the kernel, and the next run works") {
  for (const Build &build : builds())
    with_driver(build, [&](const Fake &fake, const Plugin &plugin) {
      {
        HostCall call(plugin, {"forward", build.dims, Element::bfloat16, build.given, false, {}, 0});
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
