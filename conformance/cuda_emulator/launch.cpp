// A launch of the stand-in driver, executed before it returns: a stream's work is in order, and so is a graph's.
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <utility>

#include "conformance/cuda_emulator/cluster.h"
#include "conformance/cuda_emulator/failure.h"
#include "conformance/cuda_emulator/kernels.h"
#include "conformance/cuda_emulator/settings.h"
#include "conformance/fake_cuda/model.h"

lamina::cuda_emulator::Index threadIdx, blockIdx, blockDim, gridDim;

namespace lamina::cuda_emulator {
namespace {

constexpr size_t most_in_registers = 16;  // a larger structure is passed in memory

Cta *running = nullptr;
const char *kernel = "";
bool failed = false;

void run_clusters(const Grid &grid, std::mt19937 &dice, ProductTime when) {
  std::vector<Index> first;
  for (unsigned z = 0; z < grid.blocks.z; ++z)
    for (unsigned y = 0; y < grid.blocks.y; ++y)
      for (unsigned x = 0; x < grid.blocks.x; x += grid.cluster) first.push_back({x, y, z});
  std::shuffle(first.begin(), first.end(), dice);
  for (const Index &block : first) Cluster(grid, block, dice, when).run();
}

CUresult refuse(const fake_cuda::Launch &launch, const std::string &why) {
  std::fprintf(stderr, "cuda_emulator: %s: %s\n", launch.kernel.c_str(), why.c_str());
  return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult run_launch(const fake_cuda::Launch &launch) {
  static unsigned launches = 0;
  static std::set<std::pair<uint64_t, uint64_t>> written, written_before;
  if (failed) return CUDA_ERROR_LAUNCH_FAILED;  // as on a GPU, it sticks
  const HostKernel host = find_kernel(launch.image, launch.kernel);
  if (!host.function) return refuse(launch, host.why_not);
  if (launch.parameters.size() != 1 || launch.parameters[0].size() <= most_in_registers)
    return refuse(launch, "the emulator passes one structure of more than 16 bytes");
  if (launch.block[1] != 1 || launch.block[2] != 1) return refuse(launch, "the emulator knows blocks of one dimension");
  kernel = launch.kernel.c_str();
  const Grid grid{kernel,
                  host.function,
                  launch.parameters[0].data(),
                  launch.parameters[0].size(),
                  {launch.grid[0], launch.grid[1], launch.grid[2]},
                  launch.block[0],
                  launch.cluster,
                  launch.shared_bytes,
                  launch.overlaps_previous,
                  &written,
                  &written_before,
                  host.shared_memory};
  std::mt19937 dice(settings().seed + 7919 * launches);
  const ProductTime when = settings().products_by_launch ? static_cast<ProductTime>((settings().seed + launches) % 3) : settings().products;
  ++launches;
  written_before = std::exchange(written, {});
  blockDim = {grid.threads, 1, 1}, gridDim = grid.blocks;
  const auto begin = std::chrono::steady_clock::now();
  try {
    run_clusters(grid, dice, when);
  } catch (const LaunchFailed &) {
    running = nullptr;
    return CUDA_ERROR_LAUNCH_FAILED;
  }
  if (settings().report)
    std::fprintf(stderr, "cuda_emulator: %s: %u x %u blocks of %u, %.3f s\n", kernel, grid.blocks.x, grid.blocks.y, grid.threads,
                 std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  return CUDA_SUCCESS;
}

// An access outside of everything by a kernel ends its launch; one by somebody else is none of ours.
void touched(int, siginfo_t *info, void *) {
  if (running && running->in_thread()) fail("an access to %p, which is no memory of the device", info->si_addr);
  signal(SIGSEGV, SIG_DFL);
}

const bool registered = [] {
  fake_cuda::executor = run_launch;
  struct sigaction action{};
  action.sa_sigaction = touched;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, nullptr);
  return true;
}();

}  // namespace

Cta &running_cta() { return *running; }

void make_running(Cta *cta) {
  running = cta;
  if (cta) blockIdx = cta->block();
}

void fail(const char *format, ...) {
  if (!failed) {
    std::fprintf(stderr, "cuda_emulator: %s: ", kernel);
    if (running && running->in_thread()) std::fprintf(stderr, "CTA %u %u, thread %u: ", blockIdx.x, blockIdx.y, threadIdx.x);
    va_list arguments;
    va_start(arguments, format);
    std::vfprintf(stderr, format, arguments);
    va_end(arguments);
    std::fprintf(stderr, "\n");
  }
  failed = true;
  if (running && running->in_thread())
    for (;;) running->thread().fiber.leave();  // nobody resumes it
  throw LaunchFailed();
}

void end_if_failed() {
  if (failed) throw LaunchFailed();
}

}  // namespace lamina::cuda_emulator
