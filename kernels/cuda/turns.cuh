// Warpgroups of a CTA that take turns with the tensor cores: while one multiplies, the others do their arithmetic.
//
// Left alone they fall into step: products of two warpgroups that run at once take twice as long each and end together, so that all
// arithmetic comes together as well, with the tensor cores idle.
#pragma once
#include "barrier.cuh"

namespace lamina::cuda {

template <int workers>
struct Turns {
  Barrier given[workers];  // in shared memory; to a worker, by the one before it

  __device__ void init() {
    for (Barrier &barrier : given) barrier.init(4);
  }
};

// A worker's way through the turns, which go round in the workers' order, the first one's first: each worker takes and gives equally often,
// so one that has nothing left to multiply calls `pass` for what the first one still does.  All four warps of a warpgroup call alike.
// Not in_turns: nobody waits.
template <int workers, bool in_turns>
class Turn {
 public:
  __device__ Turn(Turns<workers> &turns, int worker)
      : mine_(turns.given[worker]), next_(turns.given[worker + 1 == workers ? 0 : worker + 1]), parity_(worker == 0) {}
  __device__ void take() {
    if constexpr (in_turns) {
      mine_.wait(parity_);
      parity_ ^= 1;
    }
  }
  __device__ void give() {
    if constexpr (in_turns)
      if (threadIdx.x % 32 == 0) next_.arrive();
  }
  __device__ void pass(int turns) {
    if constexpr (in_turns)
      for (; turns > 0; --turns) take(), give();
  }

 private:
  Barrier &mine_, &next_;
  int parity_;  // the first worker's first turn was given by nobody: wait(1) on a fresh barrier returns at once
};

}  // namespace lamina::cuda
