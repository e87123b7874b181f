// One op of a plug-in applied to tensors in host memory: plan, packed weights, workspace, device copies, outputs.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "conformance/device.h"
#include "conformance/plugin.h"
#include "manifest/contract.h"
#include "manifest/tensor.h"

namespace lamina::cli {

struct HostTensor {  // owned, row-major
  lamina_dtype dtype{};
  std::vector<int64_t> shape;
  std::vector<unsigned char> bytes;
  manifest::TensorView view() const;
};

HostTensor to_float64(const manifest::TensorView &view);  // exact for every dtype of the contract but wide integers
HostTensor copy_of(const manifest::TensorView &view);

using Attributes = std::map<std::string, manifest::AttributeValue>;
using Tensors = std::map<std::string, HostTensor>;  // by the contract's argument names

class Invocation {
 public:
  // Copies the tensors to the device, packs the weights where the layer has an op "pack", and allocates outputs and workspace.
  // Errors: what the plug-in says, as invalid_argument or unsupported.
  Invocation(const conformance::Plugin &plugin, const std::string &op, conformance::Device &device, const Attributes &attributes,
             const Tensors &tensors, bool pack);
  ~Invocation();
  void run();  // waits for the device
  Tensors outputs() const;
  std::map<std::string, int64_t> dims() const;
  uint64_t workspace_bytes() const { return need_.workspace_size; }
  uint64_t packed_bytes() const { return packed_ ? packed_->size() : 0; }

 private:
  struct Slot {
    std::unique_ptr<conformance::Buffer> buffer;
    std::vector<int64_t> shape;
    lamina_tensor tensor{};
  };
  void place(int argument, lamina_dtype dtype, const std::vector<int64_t> &shape, const unsigned char *bytes);
  void pack_weights(const Attributes &attributes);
  void allocate_outputs();
  lamina_call call();

  const conformance::Plugin &plugin_;
  const lamina_op &op_;
  conformance::Device &device_;
  lamina_plan *plan_ = nullptr;
  std::vector<Slot> slots_;
  std::vector<const lamina_tensor *> table_;
  std::unique_ptr<conformance::Buffer> packed_, workspace_;
  lamina_need need_{};
};

}  // namespace lamina::cli
