// The threads of the operating system on which the CTAs of a cluster run, in turns: a kernel's __shared__ variables are thread_local, so
// that each CTA has its own under the same name.
#pragma once
#include <functional>

namespace lamina::cuda_emulator {

// Runs `work` on the thread of CTA `rank`, waits for it, and throws what it threw.  Rank 0 is the caller's own thread.
void on_memory_thread(int rank, const std::function<void()> &work);

}  // namespace lamina::cuda_emulator
