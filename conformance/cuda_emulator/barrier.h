// How a tensor copy tells an mbarrier that its bytes are there.
#pragma once
#include "conformance/cuda_emulator/cluster.h"

namespace lamina::cuda_emulator {

void complete_bytes(Cta &cta, uint32_t barrier, int bytes);

}  // namespace lamina::cuda_emulator
