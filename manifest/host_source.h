// One HostSource applied to a tensor: from host_binding.cpp, which checks a binding with made-up extents, and bind_checkpoint.cpp.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "manifest/host_binding.h"

namespace lamina::manifest {

// Which elements of a parameter a source takes: first element, extents and strides, in elements.
struct Cut {
  int64_t offset = 0;
  std::vector<int64_t> shape, strides;
};
// `whole` is the parameter (after the layer axis, if any).  Errors: malformed when an axis or a bound lies outside.
Cut cut(const HostSource &source, const Cut &whole, const std::map<std::string, int64_t> &dims);

// The extents of a parameter or of a contract argument.  Errors: as evaluate().
std::vector<int64_t> extents(const std::vector<std::string> &formulas, const std::map<std::string, int64_t> &dims);

// Adds the dims that are formulas of others to those that are known.  Errors: malformed when some depend on each other, or on unknown ones.
void complete_dims(const std::map<std::string, HostDim> &rules, std::map<std::string, int64_t> &dims);

// Calls `visit` with every parameter name that a source reads.
void for_each_parameter(const HostSource &source, const std::function<void(const std::string &)> &visit);

}  // namespace lamina::manifest
