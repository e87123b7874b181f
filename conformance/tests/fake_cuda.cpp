// The stand-in driver keeps the rules that it is there for: what a real driver refuses, it refuses.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "conformance/tests/cuda_host.h"

using namespace lamina;
using namespace lamina::conformance;

namespace {

constexpr int invalid_value = 1, not_initialised = 3, invalid_context = 201, no_binary = 209, invalid_handle = 400, not_found = 500,
              out_of_resources = 701, capture_unsupported = 900, capture_invalidated = 901, capture_implicit = 906, wrong_thread = 908;
enum Mode { global, thread_local_mode, relaxed };

// CUlaunchConfig as cuda.h of release 13.0 lays it out.
struct Config {
  unsigned grid[3] = {1, 1, 1}, block[3] = {32, 1, 1}, shared_bytes = 0;
  void *stream = nullptr, *attributes = nullptr;
  unsigned attribute_count = 0;
};
static_assert(sizeof(Config) == 56);

std::string sm80_image() {
  for (const auto &layer : std::filesystem::directory_iterator("build/obj/plugins")) {
    std::ifstream file(layer.path() / "cuda_sm80/device_code.fatbin", std::ios::binary);
    if (file) return {std::istreambuf_iterator<char>(file), {}};
  }
  return "";
}

// The driver's functions as the tests here call them.
struct Calls {
  Fake fake;
  int load(void **library, const void *image) const {
    return fake.function<int (*)(void **, const void *, void *, void *, unsigned, void *, void *, unsigned)>("cuLibraryLoadData")(
        library, image, nullptr, nullptr, 0, nullptr, nullptr, 0);
  }
  int kernel(void **kernel, void *library, const char *name) const {
    return fake.function<int (*)(void **, void *, const char *)>("cuLibraryGetKernel")(kernel, library, name);
  }
  int resolve(void *kernel) const {
    void *function;
    return fake.function<int (*)(void **, void *)>("cuKernelGetFunction")(&function, kernel);
  }
  int allow_shared(void *kernel, int bytes) const {
    constexpr int most_dynamic_shared = 8;
    return fake.function<int (*)(int, int, void *, int)>("cuKernelSetAttribute")(most_dynamic_shared, bytes, kernel, 0);
  }
  int launch(const Config &config, void *kernel) const {
    static char room[4096];
    void *parameters[] = {room};
    return fake.function<int (*)(const Config *, void *, void **, void **)>("cuLaunchKernelEx")(&config, kernel, parameters, nullptr);
  }
  int allocate() const {
    unsigned long long address = 0;
    const int code = fake.function<int (*)(unsigned long long *, size_t)>("cuMemAlloc_v2")(&address, 64);
    if (code == 0) fake.function<int (*)(unsigned long long)>("cuMemFree_v2")(address);
    return code;
  }
  int wait() const { return fake.function<int (*)()>("cuCtxSynchronize")(); }
  int wait(void *stream) const { return fake.function<int (*)(void *)>("cuStreamSynchronize")(stream); }
  int end(void *stream) const {
    void *graph;
    return fake.function<int (*)(void *, void **)>("cuStreamEndCapture")(stream, &graph);
  }
  int exchange(int mode) const { return fake.function<int (*)(int *)>("cuThreadExchangeStreamCaptureMode")(&mode), mode; }
};

void alone(const std::function<void(const Calls &)> &work, int capability = 80) {
  const std::string found = run_in_child(
      [&] {
        const Calls calls;
        calls.fake->machine().capability = capability;
        work(calls);
      },
      60);
  CHECK(found == "");
}

void gives(int found, int expected, const char *what) {
  expect(found == expected, std::string(what) + " gives " + std::to_string(found) + ", expected " + std::to_string(expected));
}

}  // namespace

TEST_CASE("nothing works before cuInit, and contexts are counted") {
  alone([](const Calls &calls) {
    void *context = nullptr;
    gives(calls.fake.function<int (*)(void **, int)>("cuDevicePrimaryCtxRetain")(&context, 0), not_initialised, "retain before cuInit");
    calls.fake.start();
    context = calls.fake.retain(0);
    expect(calls.fake.retain(0) == context && calls.fake->retained(0) == 2, "a device has one primary context");
    gives(calls.allocate(), invalid_context, "allocation without a context");
    calls.fake.make_current(context);
    gives(calls.allocate(), 0, "allocation");
    calls.fake.release(0), calls.fake.release(0);
    expect(calls.fake->misuses().empty(), "balanced calls are no misuse");
    const int again = calls.fake.function<int (*)(int)>("cuDevicePrimaryCtxRelease_v2")(0);
    gives(again, invalid_context, "one release too many");
    expect(calls.fake->misuses().size() == 1, "one release too many is a misuse");
  });
}

TEST_CASE("launches are checked against the machine code in the image") {
  const std::string image = sm80_image();
  REQUIRE(!image.empty());
  alone([&](const Calls &calls) {
    calls.fake.start();
    calls.fake.make_current(calls.fake.retain(0));
    void *library = nullptr, *kernel = nullptr;
    gives(calls.load(&library, image.data()), 0, "loading");
    gives(calls.kernel(&kernel, library, "no_such_kernel"), not_found, "an unknown kernel");
    const auto kernels = calls.fake->kernels(image.data());
    expect(!kernels.empty(), "the image holds kernels");
    const fake_cuda::Kernel &known = kernels.front();
    expect(known.parameter_bytes.size() == 1 && known.parameter_bytes[0] > 8 && known.max_threads >= 32, "parameters are read from it");
    gives(calls.kernel(&kernel, library, known.name.c_str()), 0, "a known kernel");
    Config config;
    gives(calls.launch(config, kernel), 0, "a plain launch");
    const auto launches = calls.fake->launches();
    expect(launches.size() == 1 && launches[0].kernel == known.name && launches[0].parameters[0].size() == known.parameter_bytes[0],
           "a launch is written down");
    config.grid[0] = 0;
    gives(calls.launch(config, kernel), invalid_value, "an empty grid");
    config.grid[0] = 0x80000000;
    gives(calls.launch(config, kernel), invalid_value, "2^31 blocks");
    config.grid[0] = 1, config.grid[1] = 65536;
    gives(calls.launch(config, kernel), invalid_value, "65536 blocks in y");
    config.grid[1] = 1, config.block[0] = known.max_threads + 1;
    gives(calls.launch(config, kernel), out_of_resources, "more threads than it was compiled for");
    config.block[0] = 32, config.shared_bytes = 48 * 1024 + 16;
    gives(calls.launch(config, kernel), invalid_value, "more shared memory than was asked for");
    gives(calls.allow_shared(kernel, 164 * 1024), invalid_value, "asking for more shared memory than the GPU has");
    gives(calls.allow_shared(kernel, 48 * 1024 + 16), 0, "asking for shared memory");
    gives(calls.launch(config, kernel), 0, "with what was asked for");
    gives(calls.launch({}, &config), invalid_handle, "no kernel at all");
    calls.fake.make_current(nullptr);
    gives(calls.launch({}, kernel), invalid_context, "the default stream of a thread without a context");
  });
  alone(
      [&](const Calls &calls) {
        calls.fake.start();
        void *library = nullptr;
        gives(calls.load(&library, image.data()), no_binary, "a GPU older than the image");
      },
      75);
}

TEST_CASE("what would wait, allocate or load is refused during a capture, by mode") {
  const std::string image = sm80_image();
  for (const int mode : {global, thread_local_mode, relaxed}) {
    CAPTURE(mode);
    alone([&](const Calls &calls) {
      calls.fake.start();
      void *const context = calls.fake.retain(0);
      calls.fake.make_current(context);
      void *library = nullptr, *kernel = nullptr, *other = nullptr;
      gives(calls.load(&library, image.data()), 0, "loading");
      const auto kernels = calls.fake->kernels(image.data());
      gives(calls.kernel(&kernel, library, kernels[0].name.c_str()), 0, "a kernel");
      gives(calls.kernel(&other, library, kernels[1].name.c_str()), 0, "another kernel");
      gives(calls.resolve(kernel), 0, "loading a kernel");
      void *const stream = calls.fake.stream();
      Config config;
      config.stream = stream;
      calls.fake.begin_capture(stream, mode);
      gives(calls.launch(config, kernel), 0, "a launch");
      const int refused = mode == relaxed ? 0 : capture_unsupported;
      // Each of these spoils the capture; begun anew each time.
      const std::pair<const char *, std::function<int()>> unsafe[] = {
          {"allocation", [&] { return calls.allocate(); }},
          {"loading", [&] { return calls.load(&library, image.data()); }},
          {"the first launch of a kernel", [&] { return calls.launch(config, other); }}};
      for (const auto &[what, call] : unsafe) {
        gives(call(), refused, what);
        gives(calls.end(stream), refused ? capture_invalidated : 0, "the end of that capture");
        calls.fake.begin_capture(stream, mode);
      }
      gives(calls.wait(), capture_unsupported, "waiting for the context");
      gives(calls.end(stream), capture_invalidated, "the end of that capture");
      calls.fake.begin_capture(stream, mode);
      gives(calls.wait(stream), capture_unsupported, "waiting for the captured stream");
      calls.end(stream);
      // Another thread: only a global capture reaches it, and its own mode lifts that.
      calls.fake.begin_capture(stream, mode);
      std::string found;
      std::thread([&] {
        try {
          calls.fake.make_current(context);
          expect(calls.exchange(relaxed) == global, "a thread's mode begins as global");
          gives(calls.allocate(), 0, "allocation in a relaxed thread");
          calls.exchange(global);
          gives(calls.end(stream), mode == relaxed ? 0 : wrong_thread, "ending the capture in another thread");
        } catch (const std::exception &error) { found = error.what(); }
      }).join();
      expect(found.empty(), found);
      if (mode != relaxed) gives(calls.end(stream), 0, "ending it where it began");
      calls.fake.begin_capture(stream, mode);
      int elsewhere = 0;
      std::thread([&] {
        calls.fake.make_current(context);
        elsewhere = calls.allocate();
      }).join();
      gives(elsewhere, mode == global ? capture_unsupported : 0, "allocation in another thread");
    });
  }
  alone([&](const Calls &calls) {
    calls.fake.start();
    calls.fake.make_current(calls.fake.retain(0));
    void *library = nullptr, *kernel = nullptr;
    calls.load(&library, image.data());
    calls.kernel(&kernel, library, calls.fake->kernels(image.data())[0].name.c_str());
    calls.resolve(kernel);
    void *const blocking = calls.fake.stream(true);
    calls.fake.begin_capture(blocking, relaxed);
    gives(calls.launch({}, kernel), capture_implicit, "the legacy stream beside the capture of one that waits for it");
  });
}
