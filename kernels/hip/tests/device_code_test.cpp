// Loading and launching against the emulator: sharing, devices, the runtime's own words for what goes wrong.
#include <string>
#include <vector>

#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "emulator.h"
#include "jobs.h"

namespace lamina::hip {
namespace {

constexpr const char *names[] = {"over_lanes"}, *wrong_names[] = {"over_lanes", "no_such_kernel"};

std::vector<char> object(const char *target, int format) {
  return read_file((std::string(LAMINA_CODE_OBJECTS "/primitives.") + target + "." + std::to_string(format) + ".co").c_str());
}

struct Fresh {  // a machine with two GPUs of gfx942, nothing loaded
  std::vector<char> cdna3 = object("gfx942", 5), cdna3_old = object("gfx942", 4), cdna2 = object("gfx90a", 5),
                    noise = std::vector<char>(8192, 'x');
  Failure failure;
  hip_emulator::Control &control = *emulator().control;
  Fresh() {
    control.forget();
    control.machine().arch = "gfx942", control.machine().devices = 2;
    emulator().set_device(0);
  }
  ~Fresh() {
    CHECK(control.loaded_modules() == 0);
    CHECK(control.misuses().empty());
    int current = -1;
    emulator().get_device(&current);
    CHECK(current == 0);
  }
  bool says(const char *text) const { return std::string(failure.message).find(text) != std::string::npos; }
};

TEST_CASE_FIXTURE(Fresh, "plans of one GPU share a module; another GPU has its own; the current GPU stays") {
  const CodeObject objects[] = {{"gfx942", cdna3.data(), 5}};
  const Image image{objects, 1, names, 1};
  DeviceCode *first = nullptr, *second = nullptr, *other = nullptr;
  REQUIRE(load_device_code(image, 1, first, failure) == Status::ok);
  REQUIRE(load_device_code(image, 1, second, failure) == Status::ok);
  CHECK(first == second);
  CHECK(control.loaded_modules() == 1);
  REQUIRE(load_device_code(image, 0, other, failure) == Status::ok);
  CHECK(other != first);
  CHECK(control.loaded_modules() == 2);
  {
    emulator().set_device(1);
    Memory from(1024), to(1024);
    from.write(std::vector<float>(256, 1.0f));
    emulator().set_device(0);
    RowsJob job{static_cast<float *>(from.data), static_cast<float *>(to.data)};
    void *parameters[] = {&job};
    {
      Launcher launcher(*first, nullptr);
      REQUIRE(launcher.open(failure) == Status::ok);
      int current = -1;
      emulator().get_device(&current);
      CHECK(current == 1);
      REQUIRE(launcher.launch({0, {1, 1, 1}, 256}, parameters, failure) == Status::ok);
    }
    emulator().set_device(1);
    CHECK(emulator().synchronize() == 0);
    CHECK(to.read<float>()[77] == 16.0f);
    emulator().set_device(0);
    REQUIRE(control.launches().size() == 1);
    CHECK(control.launches()[0].device == 1);
  }
  release_device_code(first), release_device_code(second), release_device_code(other);
}

TEST_CASE_FIXTURE(Fresh, "code objects are tried in order until the runtime takes one") {
  const CodeObject objects[] = {{"gfx90a", cdna2.data(), 5}, {"gfx942", noise.data(), 5}, {"gfx942", cdna3_old.data(), 4}};
  DeviceCode *code = nullptr;
  const Image mixed{objects, 3, names, 1};
  REQUIRE(load_device_code(mixed, 0, code, failure) == Status::ok);
  CHECK(code->object == 2);
  release_device_code(code);
  const Image both{objects, 2, names, 1};
  CHECK(load_device_code(both, 0, code, failure) == Status::unsupported);
  CHECK(says("device code for gfx90a alone"));
  CHECK(says("(200)"));
  const Image alone{objects, 1, names, 1};
  CHECK(load_device_code(alone, 0, code, failure) == Status::unsupported);
  CHECK(failure.native_code == no_binary_for_gpu);
  CHECK(says("no kernel image is available"));
  control.forget();  // the noise was a misuse
}

TEST_CASE_FIXTURE(Fresh, "errors keep the runtime's own words") {
  const CodeObject objects[] = {{"gfx942", cdna3.data(), 5}};
  const Image image{objects, 1, names, 1}, wrong{objects, 1, wrong_names, 2};
  DeviceCode *code = nullptr;
  CHECK(load_device_code(image, 2, code, failure) == Status::wrong_device);
  CHECK(says("there is no ROCm device 2; the runtime sees 2"));
  CHECK(load_device_code(image, -1, code, failure) == Status::wrong_device);
  CHECK(load_device_code(wrong, 0, code, failure) == Status::device_error);
  CHECK(says("no_such_kernel"));
  control.fail_next("hipModuleLoadData", out_of_memory);
  CHECK(load_device_code(image, 0, code, failure) == Status::no_memory);
  CHECK(failure.native_code == out_of_memory);
  control.fail_next("hipModuleLoadData", 999);
  CHECK(load_device_code(image, 0, code, failure) == Status::device_error);
  CHECK(says("hipModuleLoadData"));
  REQUIRE(load_device_code(image, 0, code, failure) == Status::ok);
  Memory from(1024), to(1024);
  RowsJob job{static_cast<float *>(from.data), static_cast<float *>(to.data)};
  void *parameters[] = {&job};
  Launcher launcher(*code, nullptr);
  REQUIRE(launcher.open(failure) == Status::ok);
  control.fail_next("hipModuleLaunchKernel", 1);
  CHECK(launcher.launch({0, {1, 1, 1}, 256}, parameters, failure) == Status::device_error);
  CHECK(failure.native_code == 1);
  CHECK(says("over_lanes"));
  release_device_code(code);
}

}  // namespace
}  // namespace lamina::hip
