// This process's threads for hosts that bring none: one small pool for each plug-in, started at first use, alive until the process ends.
#pragma once
#include "kernels/common/parallel.h"

namespace lamina::cpu {

// Uses every processor that this process may run on.  A region inside a region, or beside another thread's, runs on its caller alone.
// After fork the child starts threads of its own at its first region.  [thread-safe]
Parallel own_threads();

}  // namespace lamina::cpu
