// Stands in for kernels/cuda/barrier.cuh.
#pragma once
#include "copy.cuh"

namespace lamina::cuda {

struct Barrier {
  uint64_t state;

  void init(int arrivals) { cuda_emulator::barrier_init(this, arrivals); }
  void arrive() { cuda_emulator::barrier_arrive(this, -1); }
  void expect(int bytes) { cuda_emulator::barrier_expect(this, bytes); }
  void wait(int parity) { cuda_emulator::barrier_wait(this, parity); }
};

inline void publish_barriers() {}

constexpr bool registers_fit(int raised_groups, int raised, int lowered) {
  const int threads = (raised_groups + 1) * 128, at_launch = 65536 / threads / 8 * 8;
  return raised_groups * raised + lowered <= (raised_groups + 1) * at_launch;
}
template <int count>
void raise_registers() {
  cuda_emulator::set_registers(count, true);
}
template <int count>
void lower_registers() {
  cuda_emulator::set_registers(count, false);
}

inline void allow_next_kernel() { cuda_emulator::allow_next_kernel(); }
inline void wait_for_previous_kernel() { cuda_emulator::wait_for_previous_kernel(); }

template <int threads>
void meet_threads(int barrier) {
  cuda_emulator::meet(barrier, threads);
}

}  // namespace lamina::cuda
