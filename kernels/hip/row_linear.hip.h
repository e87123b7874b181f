// The device code of a layer that is one linear map over rows: all of it.
#pragma once
#include "rows_kernels.h"
#include "rows_norm.hip.h"

namespace lamina::hip {

LAMINA_ROW_LINEAR_KERNELS(LAMINA_ROWS_KERNEL)

}  // namespace lamina::hip
