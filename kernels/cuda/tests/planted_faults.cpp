// planted_faults NAME: one kernel with the fault NAME (none, out_of_bounds, race, barrier, uninitialised), for compute-sanitizer to find.
// conformance/tests/sanitize.sh runs it before it believes what the tool passes.
#include <cstdio>

#include "kernels/cuda/tests/machine.h"

extern "C" const char lamina_device_code[];

namespace {

using namespace lamina::cuda::tests;

#define LAMINA_ROW(name, shared, threads, Job, call) {#name, shared},
constexpr lamina::cuda::KernelEntry kernels[] = {LAMINA_FAULTS(LAMINA_ROW)};
#undef LAMINA_ROW
constexpr int kernel_count = sizeof kernels / sizeof *kernels;

void run(int kernel) {
  const lamina::cuda::Image image = {lamina_device_code, kernels, kernel_count, 80, 0};
  Machine machine(image);
  constexpr int words = 64;
  const auto in = machine.put(std::vector<uint32_t>(words, 7)), out = machine.room(words * sizeof(uint32_t));
  machine.launch(kernel, 64, BufferJob{in->data(), out->data(), words});
  machine.wait();
}

}  // namespace

int main(int argc, char **argv) {
  const std::string wanted = argc == 2 ? std::string("fault_") + argv[1] : "";
  for (int kernel = 0; kernel < kernel_count; ++kernel) {
    if (wanted != kernels[kernel].name) continue;
    try {
      run(kernel);
    } catch (const lamina::Error &error) {
      std::fprintf(stderr, "%s: %s\n", argv[1], error.what());
      return lamina::exit_code(error.kind);
    }
    std::printf("%s ran\n", argv[1]);
    return 0;
  }
  std::fprintf(stderr, "usage: planted_faults none|out_of_bounds|race|barrier|uninitialised\n");
  return 2;
}
