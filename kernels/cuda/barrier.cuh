// mbarriers: how copies and warps tell each other that shared memory is full or free (sm_90).
#pragma once
#include "copy.cuh"

namespace lamina::cuda {

// In shared memory.  A phase ends when the expected arrivals and bytes are complete; `wait(parity)` returns once the phase of that
// parity has ended, so the first wait on a fresh barrier is wait(0), and wait(1) returns at once.
struct Barrier {
  uint64_t state;

  __device__ uint32_t address() const { return shared_address(this); }
  __device__ void init(int arrivals) { asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(address()), "r"(arrivals) : "memory"); }
  __device__ void arrive() { asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(address()) : "memory"); }
  // Arrives, and makes the phase wait for `bytes` of tensor copies.
  __device__ void expect(int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(address()), "r"(bytes) : "memory");
  }
  __device__ void wait(int parity) {
    asm volatile(
        "{\n .reg .pred done;\n"
        "again_%=:\n mbarrier.try_wait.parity.shared.b64 done, [%0], %1;\n"
        " @!done bra again_%=;\n}" ::"r"(address()),
        "r"(parity)
        : "memory");
  }
};

// After init, before other threads or copies use the barriers (then __syncthreads).
__device__ inline void publish_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

// Among `threads` threads of a CTA, whole warps, that meet at one of its barriers 1 to 15 (0 is __syncthreads').
template <int threads>
__device__ void meet_threads(int barrier) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(threads) : "memory");
}

// Registers of a warpgroup, in multiples of 8; all its warps call it.  Who raises waits until the others have lowered theirs: for ever where
// the sum over the CTA exceeds what the launch allocated, so assert registers_fit.
constexpr bool registers_fit(int raised_groups, int raised, int lowered) {
  const int threads = (raised_groups + 1) * 128, at_launch = 65536 / threads / 8 * 8;  // of one CTA a processor
  return raised_groups * raised + lowered <= (raised_groups + 1) * at_launch;
}
template <int count>
__device__ void raise_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
}
template <int count>
__device__ void lower_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
}

// Programmatic dependent launch: the next kernel of the stream may start its prologue; wait for the results of the one before.
__device__ inline void allow_next_kernel() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
__device__ inline void wait_for_previous_kernel() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

}  // namespace lamina::cuda
