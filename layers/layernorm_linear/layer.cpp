// LayerNorm and a linear map as a plug-in: what this layer is among the linear maps over rows, and its table of ops.
// The only file of the layer that includes abi/.
#include "build.h"
#include "contract.h"
#include "plugin/row_linear.h"

namespace lamina::layernorm_linear {
namespace {

namespace forward = contract::forward;
namespace pack = contract::pack;

struct Layer {
  static constexpr NormPlace norm = NormPlace::before;
  static constexpr bool norm_by_weight = false;
  static constexpr uint64_t dtypes = activation_dtypes;
  static const Build &build() { return layernorm_linear::build; }
};

constexpr plugin::RowLinearIndex forward_index =
    plugin::row_linear_index(forward::arguments<activation_dtypes>, forward::attributes, forward::attribute_count);
constexpr plugin::RowLinearIndex pack_index =
    plugin::row_linear_index(pack::arguments<activation_dtypes>, pack::attributes, pack::attribute_count);

constexpr plugin::Op forward_op =
    plugin::make_op(contract::layer, "forward", LAMINA_FORWARD, forward::arguments<activation_dtypes>, forward::attributes, forward::rules,
                    forward::attribute_count, plugin::RowLinearHooks<Layer, forward_index>::hooks);
constexpr plugin::Op pack_op = plugin::make_op(contract::layer, "pack", LAMINA_PACK, pack::arguments<activation_dtypes>, pack::attributes,
                                               pack::rules, pack::attribute_count, plugin::RowLinearHooks<Layer, pack_index>::hooks);
constexpr const lamina_op *ops[] = {&forward_op, &pack_op};
constexpr lamina_library library = plugin::make_library(contract::layer, contract::version, LAMINA_ARCH, contract::size, ops);

}  // namespace
}  // namespace lamina::layernorm_linear

LAMINA_EXPORT const lamina_library *lamina_library_v1(void) { return &lamina::layernorm_linear::library; }
