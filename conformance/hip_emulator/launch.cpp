#include "conformance/hip_emulator/launch.h"

#include <sched.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#include "conformance/hip_emulator/local_memory.h"
#include "conformance/hip_emulator/reach.h"
#include "conformance/hip_emulator/wave.h"

namespace lamina::hip_emulator {
namespace {

// The packet that starts a kernel, as far as kernels look into it (HSA System Architecture, "kernel dispatch packet").
struct alignas(64) Packet {
  u16 header = 0, setup = 3, group_x, group_y, group_z, reserved = 0;
  u32 grid_x, grid_y, grid_z, private_bytes = 0, group_bytes;
  u64 code = 0, arguments, reserved2 = 0, signal = 0;
};
static_assert(sizeof(Packet) == 64);

int processors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return 1;
}

// Memory that kernels may read while this lives.
class Lent {
 public:
  Lent(const void *memory, size_t bytes, const char *what) : memory_(memory) { regions().add(memory, bytes, false, what); }
  ~Lent() { regions().remove(memory_); }
  Lent(const Lent &) = delete;
  Lent &operator=(const Lent &) = delete;

 private:
  const void *memory_;
};

struct Shared {
  const Kernel &kernel;
  const Program &program;
  const Grid &grid;
  const Checks &checks;
  const u8 *arguments;
  const Packet *packet;
  std::vector<Region> reachable;
  std::atomic<u64> next{0}, instructions{0};
  std::mutex lock;
  std::optional<Trap> trap;
  u64 trapped_group = ~u64{0};
};

// One thread's machine: it runs workgroups, one after the other.
class Processor {
 public:
  explicit Processor(Shared &shared) : shared_(shared), reach_(shared.reachable) {
    const auto &threads = shared.grid.threads;
    threads_ = threads[0] * threads[1] * threads[2];
    for (u32 first = 0; first < threads_; first += lane_count) waves_.push_back(std::make_unique<Wave>());
  }
  void run() {
    const auto &groups = shared_.grid.groups;
    const u64 count = u64{groups[0]} * groups[1] * groups[2];
    for (u64 group; (group = shared_.next++) < count;) {
      try {
        run_group({static_cast<u32>(group % groups[0]), static_cast<u32>(group / groups[0] % groups[1]),
                   static_cast<u32>(group / groups[0] / groups[1])});
      } catch (const Trap &trap) {
        const std::lock_guard hold(shared_.lock);
        if (group < shared_.trapped_group) shared_.trap = trap, shared_.trapped_group = group;
        shared_.next = count;
      }
    }
    shared_.instructions += instructions_;
  }

 private:
  void prepare(Wave &wave, int id, const std::array<u32, 3> &group);
  void run_group(const std::array<u32, 3> &group);
  void run_wave(Wave &wave, const std::array<u32, 3> &group);
  [[noreturn]] void explain(const Trap &, const Wave &, const std::array<u32, 3> &group) const;

  Shared &shared_;
  Reach reach_;
  LocalMemory local_;
  std::vector<std::unique_ptr<Wave>> waves_;
  u32 threads_ = 0;
  u64 instructions_ = 0;
};

// Registers as the hardware sets them up: user data, then the workgroup's position; the work-item's in the first vector register.
void Processor::prepare(Wave &wave, int id, const std::array<u32, 3> &group) {
  const Descriptor &d = shared_.kernel.descriptor;
  std::memset(wave.defined, 0, sizeof wave.defined);
  std::memset(wave.scalar_defined, 0, sizeof wave.scalar_defined);
  int next = 0;
  const auto put = [&](u64 value) { wave.set_scalar64(next, value), next += 2; };
  if (d.properties & 1) next += 4;  // scratch: such kernels are refused
  if (d.properties & 2) put(reinterpret_cast<u64>(shared_.packet));
  if (d.properties & 4) next += 2;
  if (d.properties & 8) put(reinterpret_cast<u64>(shared_.arguments));
  if (d.properties & 16) put(0);
  if (d.properties & 32) next += 2;
  if (d.properties & 64) wave.set_scalar(next++, 0);
  next = std::max(next, static_cast<int>(d.resources2 >> 1 & 31));
  for (int axis = 0; axis < 3; ++axis)
    if (d.resources2 >> (7 + axis) & 1) wave.set_scalar(next++, group[static_cast<size_t>(axis)]);
  u64 exec = 0;
  const auto &threads = shared_.grid.threads;
  for (int lane = 0; lane < lane_count; ++lane) {
    const u32 thread = static_cast<u32>(id * lane_count + lane);
    if (thread >= threads_) continue;
    exec |= u64{1} << lane;
    wave.v[0][lane] = thread % threads[0] | (thread / threads[0] % threads[1]) << 10 | (thread / threads[0] / threads[1]) << 20;
  }
  wave.defined[0] = exec;
  wave.set_scalar64(code::exec, exec);
  wave.scc_defined = wave.done = wave.at_barrier = false;
  wave.next = shared_.program.entry, wave.id = id;
  wave.local = &local_, wave.reach = &reach_;
  wave.arch = shared_.kernel.object->arch(), wave.code = reinterpret_cast<u64>(shared_.kernel.object->image().data());
  wave.strictly_aligned = shared_.checks.aligned;
  wave.outstanding.clear();
}

void Processor::explain(const Trap &trap, const Wave &wave, const std::array<u32, 3> &group) const {
  const Instruction &i = shared_.program.code[wave.next - 1];
  const std::span<const u8> image = shared_.kernel.object->image();
  std::vector<u32> words(i.bytes / 4);
  std::memcpy(words.data(), image.data() + i.address, i.bytes);
  char place[160];
  std::snprintf(place, sizeof place, ", workgroup (%u, %u, %u), wave %d, at 0x%x: ", group[0], group[1], group[2], wave.id, i.address);
  throw Trap(trap.kind, "kernel " + shared_.kernel.facts.name + place + text_of(words, i.address, wave.arch) + ": " + trap.what());
}

void Processor::run_wave(Wave &wave, const std::array<u32, 3> &group) {
  const Instruction *code = shared_.program.code.data();
  u64 left = shared_.checks.most_instructions;
  try {
    while (!wave.done && !wave.at_barrier) {
      const Instruction &i = code[wave.next++];
      wave.outstanding.check(i);
      i.run(wave, i);
      if (--left == 0) throw Trap("the wave does not come to an end");
    }
  } catch (const Trap &trap) { explain(trap, wave, group); }
  instructions_ += shared_.checks.most_instructions - left;
}

void Processor::run_group(const std::array<u32, 3> &group) {
  local_.begin(size_t{shared_.kernel.descriptor.group_bytes} + shared_.grid.dynamic_bytes, shared_.checks.races);
  for (size_t id = 0; id < waves_.size(); ++id) prepare(*waves_[id], static_cast<int>(id), group);
  for (bool alive = true; alive;) {
    alive = false;
    for (const auto &wave : waves_) {
      if (wave->done) continue;
      wave->at_barrier = false;
      run_wave(*wave, group);
      alive = alive || !wave->done;
    }
    local_.barrier();
  }
}

}  // namespace

Result run_grid(const Kernel &kernel, const Grid &grid, const std::vector<u8> &given, const Checks &checks) {
  const auto start = std::chrono::steady_clock::now();
  struct alignas(256) Block {
    u8 bytes[256];
  };
  std::vector<Block> arguments(given.size() / sizeof(Block) + 1);
  std::memcpy(arguments.data(), given.data(), given.size());
  Packet packet{};
  packet.setup = 3;
  packet.group_x = static_cast<u16>(grid.threads[0]), packet.group_y = static_cast<u16>(grid.threads[1]),
  packet.group_z = static_cast<u16>(grid.threads[2]);
  packet.grid_x = grid.groups[0] * grid.threads[0], packet.grid_y = grid.groups[1] * grid.threads[1],
  packet.grid_z = grid.groups[2] * grid.threads[2];
  packet.group_bytes = kernel.descriptor.group_bytes + grid.dynamic_bytes, packet.arguments = reinterpret_cast<u64>(arguments.data());
  const Lent lent_packet(&packet, sizeof packet, "the dispatch packet");
  // Compilers read the segment's last words in larger pieces than its size allows: it is a multiple of 16 bytes.
  const Lent lent_arguments(arguments.data(), given.size() / 16 * 16 + 16, "the kernel's arguments");
  Shared shared{kernel, kernel.program(), grid, checks, arguments.data()->bytes, &packet, regions().sorted(), {}, {}, {}, {}, ~u64{0}};
  const u64 groups = u64{grid.groups[0]} * grid.groups[1] * grid.groups[2];
  const u64 wanted = std::min<u64>(groups, static_cast<u64>(checks.threads ? checks.threads : processors()));
  std::vector<std::thread> helpers;
  const auto work = [&] { Processor(shared).run(); };
  for (u64 i = 1; i < wanted; ++i) helpers.emplace_back(work);
  work();
  for (std::thread &helper : helpers) helper.join();
  if (shared.trap) throw *shared.trap;
  return {shared.instructions, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
}

}  // namespace lamina::hip_emulator
