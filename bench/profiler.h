// Profiler ranges for what a plug-in enqueues, by the host callback of the ABI.
#pragma once
#include <memory>
#include <string>

#include "abi/lamina_abi.h"

namespace lamina::bench {

// A host whose `range` opens and closes ranges of NVIDIA's profilers: nvtxRangePushA and nvtxRangePop of `library`, by dlopen.  Null where
// that library is not installed.  Must outlive the plans that are made with it.
std::shared_ptr<const lamina_host> profiler_host(const std::string &library = "libnvToolsExt.so.1");

}  // namespace lamina::bench
