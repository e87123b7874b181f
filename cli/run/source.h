// Where `lamina run` takes a plug-in and a host binding from: files, or a bundle of a hub.
#pragma once
#include <map>
#include <memory>
#include <string>

#include "cli/run/invocation.h"

namespace lamina::cli {

struct SourceOptions {
  std::string build;   // FILE.so, or
  std::string bundle;  // ORG/NAME[@revision]
  std::string backend, signatures;
};
struct Source {
  std::unique_ptr<conformance::Plugin> plugin;
  std::map<std::string, std::string> hosts;  // the bundle's: name -> binding as JSON text; empty for a file
};
// Errors: as fetching and verifying a bundle; invalid_argument when neither is given.
Source open_source(const SourceOptions &options);

struct WeightsOptions {
  std::string host, host_class, weights, prefix;
  int layer_index = -1;
};
// Adds the layer's parameters to `tensors` and what the host fixes to `attributes`.
void bind_weights(const Source &source, const manifest::Contract &contract, const WeightsOptions &options, Tensors &tensors,
                  Attributes &attributes);

}  // namespace lamina::cli
