// One call of this layer after layer.cpp has checked it: the linear map over rows that several layers share.
#pragma once
#include "kernels/common/row_linear.h"

namespace lamina::linear_residual {

using Problem = RowLinear;
using Gradients = RowLinearGradients;
using Settings = RowLinearSettings;
using Run = RowLinearRun;

}  // namespace lamina::linear_residual
