// mbarriers: pending arrivals and bytes of a phase in eight bytes of shared memory, as on a GPU, where nothing but these functions may look.
#include <cstring>

#include "conformance/cuda_emulator/barrier.h"
#include "conformance/cuda_emulator/failure.h"

namespace lamina::cuda_emulator {
namespace {

constexpr uint8_t initialised = 0x5c;
constexpr int most_bytes = (1 << 20) - 1;  // PTX ISA, "Tracking asynchronous operations by the mbarrier object"

struct Phase {
  int32_t bytes;  // expected less arrived: below zero while copies are ahead of who expects them
  uint8_t arrivals, missing, parity, mark;
};
static_assert(sizeof(Phase) == 8);

Phase read(Cta &cta, const void *barrier) {
  Phase phase;
  std::memcpy(&phase, barrier, sizeof phase);
  if (phase.mark != initialised) fail("the mbarrier at %u of CTA %d is not initialised", cta.address(barrier), cta.rank());
  return phase;
}

void write(void *barrier, Phase phase) {
  if (phase.missing == 0 && phase.bytes == 0) phase.parity ^= 1, phase.missing = phase.arrivals;
  std::memcpy(barrier, &phase, sizeof phase);
}

void take_arrival(Cta &cta, void *barrier, Phase &phase) {
  if (phase.missing == 0) fail("more arrivals than expected at the mbarrier at %u of CTA %d", cta.address(barrier), cta.rank());
  --phase.missing;
}

}  // namespace

void barrier_init(void *barrier, int arrivals) {
  if (arrivals < 1 || arrivals > 255) fail("mbarrier.init with %d arrivals; the emulator has room for 1 to 255", arrivals);
  if (reinterpret_cast<uintptr_t>(barrier) % 8) fail("an mbarrier that is not aligned to 8 bytes");
  const auto count = static_cast<uint8_t>(arrivals);
  const Phase phase{0, count, count, 0, initialised};
  std::memcpy(barrier, &phase, sizeof phase);
}

void barrier_arrive(void *barrier, int rank) {
  Cta &mine = running_cta(), &cta = rank < 0 ? mine : mine.cluster().cta(rank);
  void *twin = cta.pointer(mine.address(barrier));
  Phase phase = read(cta, twin);
  take_arrival(cta, twin, phase);
  write(twin, phase);
}

void barrier_expect(void *barrier, int bytes) {
  Cta &cta = running_cta();
  Phase phase = read(cta, barrier);
  take_arrival(cta, barrier, phase);
  phase.bytes += bytes;
  if (phase.bytes > most_bytes) fail("the mbarrier at %u expects %d bytes", cta.address(barrier), phase.bytes);
  write(barrier, phase);
}

void complete_bytes(Cta &cta, uint32_t address, int bytes) {
  void *barrier = cta.pointer(address);
  Phase phase = read(cta, barrier);
  phase.bytes -= bytes;
  if (phase.bytes < -most_bytes) fail("more bytes than expected at the mbarrier at %u of CTA %d", address, cta.rank());
  write(barrier, phase);
}

void barrier_wait(const void *barrier, int parity) {
  Cta &cta = running_cta();
  read(cta, barrier);
  const auto ended = [](const void *what, uint64_t asked) {
    Phase phase;
    std::memcpy(&phase, what, sizeof phase);
    return phase.parity != asked;
  };
  cta.wait({ended, barrier, static_cast<uint64_t>(parity), "the mbarrier, address and parity"});
}

}  // namespace lamina::cuda_emulator
