// What the emulator tells of faulty kernels, and the rules of its HIP functions.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <algorithm>
#include <thread>

#include "conformance/hip_emulator/tests/hip_api.h"

using namespace lamina::hip_emulator;

namespace {

constexpr const char *faults_path = "build/hip_emulator/tests/faults.gfx942.co", *other_path = "build/hip_emulator/tests/kernels.gfx90a.co";
constexpr int invalid_value = 1, no_device = 100, invalid_device = 101, invalid_image = 200, no_binary = 209, not_found = 500,
              illegal_address = 700, launch_failure = 719, capture_unsupported = 900, capture_invalidated = 901;

struct Loaded {
  std::vector<char> image = read_whole(faults_path);
  Handle module = nullptr;
  Loaded() {
    hip().control->forget();
    REQUIRE_MESSAGE(!image.empty(), faults_path << " is missing; make build/bin/hip_emulator-runtime_test");
    REQUIRE(hip().hipModuleLoadData(&module, image.data()) == 0);
  }
  ~Loaded() {
    hip().control->forget();
    CHECK(hip().hipModuleUnload(module) == 0);
    hip().control->forget();
  }
  Handle function(const char *name) {
    Handle found = nullptr;
    REQUIRE(hip().hipModuleGetFunction(&found, module, name) == 0);
    return found;
  }
  int launch(const char *name, void *&address, Handle stream = nullptr, unsigned threads = 64) {
    void *arguments[] = {&address};
    return hip().hipModuleLaunchKernel(function(name), 1, 1, 1, threads, 1, 1, 0, stream, arguments, nullptr);
  }
};

std::vector<uint32_t> words() {
  std::vector<uint32_t> content(64);
  for (uint32_t i = 0; i < 64; ++i) content[i] = 1000 + i;
  return content;
}

// Runs a kernel on 64 words and wants an error with a sentence.
void expect(const char *kernel, int code, const std::vector<std::string> &phrases) {
  CAPTURE(kernel);
  Loaded loaded;
  DeviceVector<uint32_t> memory(words());
  REQUIRE(loaded.launch(kernel, memory.address()) == 0);
  CHECK(hip().hipDeviceSynchronize() == code);
  CHECK(hip().hipDeviceSynchronize() == code);  // it sticks
  const std::vector<std::string> sentences = hip().control->misuses();
  REQUIRE(sentences.size() == 1);
  for (const std::string &phrase : phrases)
    CHECK_MESSAGE(sentences[0].find(phrase) != std::string::npos, sentences[0] << " does not say: " << phrase);
  CHECK(sentences[0].find(std::string("kernel ") + kernel + ", workgroup (0, 0, 0), wave 0, at 0x") == 0);
  hip().control->forget();
}

}  // namespace

TEST_CASE("a kernel without fault") {
  Loaded loaded;
  DeviceVector<uint32_t> memory(words());
  REQUIRE(loaded.launch("right", memory.address()) == 0);
  std::vector<uint32_t> found;
  CHECK(memory.read(found) == 0);
  for (uint32_t i = 0; i < 64; ++i) CHECK(found[i] == 7 + i);
  REQUIRE(loaded.launch("transfer", memory.address()) == 0);
  CHECK(memory.read(found) == 0);
  for (uint32_t i = 0; i < 64; ++i) CHECK(found[i] == 8 + i);
  CHECK(hip().control->misuses().empty());
  CHECK(hip().control->launches().front().instructions == 6);
}

TEST_CASE("faults") {
  expect("scalar_load_without_wait", launch_failure, {"global_store_dword v1, v1, s[4:5]: s4 is used before an s_waitcnt lgkmcnt"});
  expect("load_without_wait", launch_failure, {"v_add_u32_e32 v3, 1, v3: v3 is used before an s_waitcnt vmcnt"});
  expect("overwritten_before_load", launch_failure, {"v_mov_b32_e32 v2, 0: v2 is used before an s_waitcnt vmcnt"});
  expect("lds_without_wait", launch_failure, {"v_mov_b32_e32 v3, v2: v2 is used before an s_waitcnt lgkmcnt"});
  expect("barrier_without_wait", launch_failure, {"s_barrier", "lgkmcnt(0) is missing"});
  expect("unwritten_address", launch_failure, {"v9 is used as an address, but nothing has written it"});
  expect("unwritten_data", launch_failure, {"v2 is used as data of a store, but nothing has written it"});
  expect("unwritten_condition", launch_failure, {"branches on SCC"});
  expect("unwritten_lds", launch_failure, {"v2 is used as data of a store, but nothing has written it"});
  expect("transfer_without_wait", launch_failure, {"v2 is used as data of a store"});
  expect("past_the_end", illegal_address,
         {"writes 4 bytes", "(lane 0), out of bounds: an allocation of 256 bytes begins at", "that is 1020 bytes before"});
  expect("before_the_begin", illegal_address, {"reads 4 bytes", "(lane 0), out of bounds", "that is -4 bytes before"});
  expect("writes_arguments", illegal_address, {"which lies in the kernel's arguments and must not be written"});
  expect("lds_past_the_end", launch_failure, {"writes 4 bytes of LDS at 1024, out of bounds: it has 1024"});
  expect("unaligned_atomic", launch_failure, {"is not aligned (lane 0)"});
}

TEST_CASE("what the emulator does not take is refused before it runs") {
  Loaded loaded;
  Handle function = nullptr;
  CHECK(hip().hipModuleGetFunction(&function, loaded.module, "not_known") == invalid_image);
  REQUIRE(hip().control->misuses().size() == 1);
  CHECK(hip().control->misuses()[0].find("not_known: instructions that the emulator does not take:\n  the instruction c09") == 0);
  CHECK(hip().hipModuleGetFunction(&function, loaded.module, "flushes_denormals") == invalid_image);
  CHECK(hip().hipModuleGetFunction(&function, loaded.module, "absent") == not_found);
}

TEST_CASE("code objects: other GPUs, other files, damaged ones") {
  Loaded loaded;
  Handle module = nullptr;
  const std::vector<char> other = read_whole(other_path);
  REQUIRE(!other.empty());
  CHECK(hip().hipModuleLoadData(&module, other.data()) == no_binary);
  const std::vector<char> text(4096, 'x');
  CHECK(hip().hipModuleLoadData(&module, text.data()) == invalid_image);
  // Any byte of the headers and the note may be anything: it is refused or loads, and nothing else happens.  But for those that say where the
  // section headers lie: a pointer without a length has no other end.
  for (size_t at = 4; at < std::min<size_t>(loaded.image.size(), 1600); ++at) {
    if ((at >= 0x28 && at < 0x30) || at == 0x3c || at == 0x3d) continue;
    std::vector<char> damaged = loaded.image;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    const int code = hip().hipModuleLoadData(&module, damaged.data());
    CHECK((code == 0 || code == invalid_image || code == no_binary));
    if (code == 0) hip().hipModuleUnload(module);
  }
}

TEST_CASE("launches that do not fit the kernel") {
  Loaded loaded;
  DeviceVector<uint32_t> memory(words());
  Handle function = loaded.function("right");
  void *arguments[] = {&memory.address()}, *missing[] = {nullptr};
  const auto launch = [&](unsigned groups, unsigned threads, unsigned dynamic, void **given, void **extra) {
    return hip().hipModuleLaunchKernel(function, groups, 1, 1, threads, 1, 1, dynamic, nullptr, given, extra);
  };
  CHECK(launch(1, 65, 0, arguments, nullptr) == invalid_value);
  CHECK(launch(0, 64, 0, arguments, nullptr) == invalid_value);
  CHECK(launch(1, 64, 65536, arguments, nullptr) == invalid_value);
  CHECK(launch(1, 64, 0, missing, nullptr) == invalid_value);
  CHECK(launch(1, 64, 0, nullptr, nullptr) == invalid_value);
  size_t bytes = 4;
  void *extra[] = {reinterpret_cast<void *>(1), &memory.address(), reinterpret_cast<void *>(2), &bytes, reinterpret_cast<void *>(3)};
  CHECK(launch(1, 64, 0, nullptr, extra) == invalid_value);
  CHECK(hip().control->misuses().back().find("gets 4 bytes of arguments; it takes 8") != std::string::npos);
  bytes = 8;
  CHECK(launch(1, 64, 0, nullptr, extra) == 0);
  CHECK(hip().control->launches().size() == 1);
}

TEST_CASE("work is queued until somebody waits") {
  Loaded loaded;
  Handle stream = nullptr;
  REQUIRE(hip().hipStreamCreateWithFlags(&stream, 1) == 0);
  DeviceVector<uint32_t> memory(words());
  std::vector<uint32_t> early(64), late(64);
  REQUIRE(loaded.launch("right", memory.address(), stream) == 0);
  CHECK(hip().hipMemcpy(early.data(), memory.address(), 256, device_to_host) == 0);  // does not wait for that stream
  CHECK(early[3] == 1003);
  CHECK(hip().hipMemcpyAsync(late.data(), memory.address(), 256, device_to_host, stream) == 0);
  CHECK(late[3] == 0);
  CHECK(hip().hipStreamSynchronize(stream) == 0);
  CHECK(late[3] == 10);
  CHECK(hip().hipStreamDestroy(stream) == 0);
  // Memory that is gone when the kernel runs.
  {
    DeviceVector<uint32_t> gone(words());
    void *address = gone.address();
    REQUIRE(hip().hipStreamCreateWithFlags(&stream, 1) == 0);
    REQUIRE(loaded.launch("right", address, stream) == 0);
  }
  CHECK(hip().hipStreamSynchronize(stream) == 0);  // hipFree waits for everything
  CHECK(hip().hipStreamDestroy(stream) == 0);
}

TEST_CASE("capture") {
  Loaded loaded;
  Handle stream = nullptr, graph = nullptr, executable = nullptr, module = nullptr;
  REQUIRE(hip().hipStreamCreateWithFlags(&stream, 0) == 0);
  DeviceVector<uint32_t> memory(words());
  std::vector<uint32_t> found;
  REQUIRE(hip().hipStreamBeginCapture(stream, 0) == 0);
  REQUIRE(loaded.launch("right", memory.address(), stream) == 0);
  REQUIRE(hip().hipStreamEndCapture(stream, &graph) == 0);
  REQUIRE(hip().hipGraphInstantiate(&executable, graph, nullptr, nullptr, 0) == 0);
  CHECK(memory.read(found) == 0);
  CHECK(found[5] == 1005);
  REQUIRE(hip().hipGraphLaunch(executable, stream) == 0);
  CHECK(memory.read(found) == 0);
  CHECK(found[5] == 12);
  CHECK(hip().control->launches()[0].captured);
  // Loading, allocating and waiting spoil a capture, but not in relaxed mode.
  REQUIRE(hip().hipStreamBeginCapture(stream, 0) == 0);
  int relaxed = 2;
  REQUIRE(hip().hipThreadExchangeStreamCaptureMode(&relaxed) == 0);
  REQUIRE(hip().hipModuleLoadData(&module, loaded.image.data()) == 0);
  REQUIRE(hip().hipThreadExchangeStreamCaptureMode(&relaxed) == 0);
  CHECK(hip().hipModuleUnload(module) == capture_unsupported);
  CHECK(hip().hipStreamEndCapture(stream, &graph) == capture_invalidated);
  CHECK(hip().hipModuleUnload(module) == 0);
  CHECK(hip().hipStreamDestroy(stream) == 0);
}

TEST_CASE("devices and chosen failures") {
  Loaded loaded;
  Control &control = *hip().control;
  int value = 0;
  CHECK(hip().hipGetDeviceCount(&value) == 0);
  CHECK(value == 1);
  CHECK(hip().hipSetDevice(1) == invalid_device);
  CHECK(hip().hipGetLastError() == invalid_device);
  CHECK(hip().hipGetLastError() == 0);
  CHECK(hip().hipDeviceGetAttribute(&value, 87, 0) == 0);
  CHECK(value == 64);
  control.fail_next("hipGetDevice", launch_failure, 2);
  CHECK(hip().hipGetDevice(&value) == 0);
  CHECK(hip().hipGetDevice(&value) == launch_failure);
  CHECK(hip().hipGetDevice(&value) == 0);
  CHECK(control.calls().at("hipGetDevice") == 3);
  control.machine().devices = 0;
  CHECK(hip().hipGetDeviceCount(&value) == no_device);
  CHECK(hip().hipInit(0) == no_device);
  Handle module = nullptr;
  CHECK(hip().hipModuleLoadData(&module, loaded.image.data()) == no_device);
  control.machine().devices = 2;
  std::thread([&] {
    CHECK(hip().hipSetDevice(1) == 0);
    DeviceVector<uint32_t> memory(words());
    CHECK(loaded.launch("right", memory.address()) != 0);  // loaded on device 0
  }).join();
  control.machine().devices = 1;
  CHECK(control.loaded_modules() == 1);
  CHECK(control.live_bytes() == 0);
}
