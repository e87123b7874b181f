// A linear map, a residual and a LayerNorm as a plug-in: what this layer is among the linear maps over rows, and its table of ops.
// The only file of the layer that includes abi/.
#include "build.h"
#include "contract.h"
#include "plugin/row_linear.h"

namespace lamina::linear_residual {
namespace {

namespace forward = contract::forward;
namespace pack = contract::pack;
namespace forward_train = contract::forward_train;
namespace backward = contract::backward;

struct Layer {
  static constexpr NormPlace norm = NormPlace::after;
  static constexpr bool norm_by_weight = true;
  static constexpr uint64_t dtypes = activation_dtypes;
  static const Build &build() { return linear_residual::build; }
};

// One row of the library's table; `op` is the namespace of its generated tables.
#define LAMINA_OP(op, kind)                                                                                                               \
  constexpr plugin::RowLinearIndex op##_index =                                                                                           \
      plugin::row_linear_index(op::arguments<activation_dtypes>, op::attributes, op::attribute_count);                                    \
  constexpr plugin::Op op##_op = plugin::make_op(contract::layer, #op, kind, op::arguments<activation_dtypes>, op::attributes, op::rules, \
                                                 op::attribute_count, plugin::RowLinearHooks<Layer, op##_index>::hooks);
LAMINA_OP(forward, LAMINA_FORWARD)
LAMINA_OP(pack, LAMINA_PACK)
LAMINA_OP(forward_train, LAMINA_FORWARD_TRAIN)
LAMINA_OP(backward, LAMINA_BACKWARD)

// A build lists the ops that it has.
constexpr const lamina_op *ops[] = {&forward_op, &pack_op}, *training_ops[] = {&forward_op, &pack_op, &forward_train_op, &backward_op};
constexpr lamina_library library = plugin::make_library(contract::layer, contract::version, LAMINA_ARCH, contract::size, ops);
constexpr lamina_library training_library =
    plugin::make_library(contract::layer, contract::version, LAMINA_ARCH, contract::size, training_ops);

}  // namespace
}  // namespace lamina::linear_residual

LAMINA_EXPORT const lamina_library *lamina_library_v1(void) {
  using namespace lamina::linear_residual;
  return build.backward ? &training_library : &library;
}
