// The host half of every CUDA build in build/plugins against a stand-in driver: streams, contexts, devices, capture, threads.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <barrier>

#include "conformance/tests/cuda_builds.h"

using namespace lamina;
using namespace lamina::conformance;

TEST_CASE("streams: default ones, own ones, on any thread, and none of another context") {
  for (const Build &build : builds()) {
    fake_cuda::Machine machine;
    machine.devices = 2;
    with_driver(
        build,
        [&](const Fake &fake, const Plugin &plugin) {
          fake.start();
          {
            HostCall call(plugin, {"forward", build.dims, Element::bfloat16, build.given, false, {}, 0});
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
              HostCall inside(plugin, {"forward", build.dims, Element::float32, build.given, false, {}, 0});
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
            HostCall first(plugin, {"forward", build.dims, Element::bfloat16, build.given, true, {}, 0});
            HostCall second(plugin, {"forward", build.dims, Element::bfloat16, build.given, true, {}, 1});
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
          HostCall call(plugin,
                        {"forward", build.dims, Element::bfloat16, build.given, false, {}, 0});  // its first run is the captured one
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
              HostCall(plugin, {"pack", build.dims, Element::bfloat16, build.given, false, {}, 0});
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
          HostCall alone(plugin, {"forward", build.dims, Element::bfloat16, build.given, false, {}, 0});
          alone.must_run(reinterpret_cast<void *>(2), "run on another thread's own stream");
        });
        expect(fake.end_capture(stream) == 0, "another thread's launches are in the graph");
        fake.make_current(nullptr);
        fake.release(0);
        fake.nothing_left();
      });
    }
}

TEST_CASE("eight threads at once: the device code is loaded once, and plans come, run and go") {
  fake_cuda::Machine machine;
  machine.delay = 20;
  for (const Build &build : builds())
    with_driver(
        build,
        [&](const Fake &fake, const Plugin &plugin) {
          constexpr int count = 8;
          std::barrier together(count);
          std::vector<std::thread> threads;
          std::vector<std::string> found(count);
          for (std::string &mine : found)
            threads.emplace_back([&] {
              lamina_plan *plan = nullptr;
              const Outcome outcome = (together.arrive_and_wait(), create_plan(plugin, 0, plan));
              together.arrive_and_wait();  // no thread's plan is the last one yet
              try {
                require_status(outcome, LAMINA_OK, "");
                expect(fake->calls()["cuLibraryLoadData"] == 1, "threads that come together load more than once");
              } catch (const std::exception &error) { mine = error.what(); }
              together.arrive_and_wait();
              plugin.op("forward")->plan_destroy(plan);
              try {
                for (int round = 0; round < 10; ++round) {
                  HostCall call(plugin, {"forward", build.dims, Element::bfloat16, build.given, false, {}, 0});
                  call.must_run(nullptr, "forward");
                }
              } catch (const std::exception &error) { mine += error.what(); }
            });
          for (std::thread &thread : threads) thread.join();
          for (const std::string &mine : found) expect(mine.empty(), mine);
          fake.nothing_left();
        },
        machine);
}
