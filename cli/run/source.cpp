#include "cli/run/source.h"

#include "manifest/error.h"
#include "manifest/files.h"
#include "manifest/host_binding.h"

namespace lamina::cli {
namespace {

constexpr uint64_t max_binding = 16 << 20;

// A file names a binding anywhere; a bare word names one of the bundle's.
std::string binding_text(const Source &source, const std::string &host) {
  if (host.empty()) throw Error(ErrorKind::invalid_argument, "--weights needs --host: whose parameter names does the checkpoint have?");
  if (host.ends_with(".json")) return manifest::read_file(host, max_binding);
  if (const auto found = source.hosts.find(host); found != source.hosts.end()) return found->second;
  std::string known;
  for (const auto &[name, text] : source.hosts) known += (known.empty() ? "" : ", ") + name;
  throw Error(ErrorKind::not_found, "unknown host '" + host + "'; " + (known.empty() ? "with --build give a binding's file: layers/<layer>/hosts/HOST.json" : "the bundle has " + known));
}

}  // namespace

void bind_weights(const Source &source, const manifest::Contract &contract, const WeightsOptions &options, Tensors &tensors, Attributes &attributes) {
  const manifest::HostBinding binding = manifest::parse_host_binding(binding_text(source, options.host), contract, options.host);
  manifest::BindOptions bind{options.host_class, options.prefix, {}};
  if (options.layer_index >= 0) bind.layer_index = options.layer_index;
  const manifest::BoundCheckpoint bound = manifest::bind_checkpoint(binding, contract, manifest::SafetensorsFile::open(options.weights), bind);
  for (const manifest::BoundArgument &argument : bound.arguments)
    if (argument.present) tensors[argument.name] = copy_of(argument.view);
  for (const manifest::BoundAttribute &attribute : bound.attributes) attributes[attribute.name] = attribute.value;
}

Source open_source(const SourceOptions &options) {
  if (options.build.empty()) throw Error(ErrorKind::invalid_argument, "say what to run: --build FILE.so or --bundle ORG/NAME");
  Source source;
  source.plugin = std::make_unique<conformance::Plugin>(options.build);
  return source;
}

}  // namespace lamina::cli
