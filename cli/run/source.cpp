#include "cli/run/source.h"

#include "hub_client/client.h"
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
  throw Error(ErrorKind::not_found,
              "unknown host '" + host + "'; " +
                  (known.empty() ? "with --build give a binding's file: layers/<layer>/hosts/HOST.json" : "the bundle has " + known));
}

}  // namespace

void bind_weights(const Source &source, const manifest::Contract &contract, const WeightsOptions &options, Tensors &tensors,
                  Attributes &attributes) {
  const manifest::HostBinding binding = manifest::parse_host_binding(binding_text(source, options.host), contract, options.host);
  manifest::BindOptions bind{options.host_class, options.prefix, {}};
  if (options.layer_index >= 0) bind.layer_index = options.layer_index;
  const manifest::BoundCheckpoint bound =
      manifest::bind_checkpoint(binding, contract, manifest::SafetensorsFile::open(options.weights), bind);
  for (const manifest::BoundArgument &argument : bound.arguments)
    if (argument.present) tensors[argument.name] = copy_of(argument.view);
  for (const manifest::BoundAttribute &attribute : bound.attributes) attributes[attribute.name] = attribute.value;
}

Source open_source(const SourceOptions &options) {
  Source source;
  if (!options.build.empty()) {
    source.plugin = std::make_unique<conformance::Plugin>(options.build);
    return source;
  }
  if (options.bundle.empty()) throw Error(ErrorKind::invalid_argument, "say what to run: --build FILE.so or --bundle ORG/NAME");
  hub::FetchOptions rules;
  rules.backend = options.backend;
  rules.signatures = options.signatures == "require" ? manifest::SignaturePolicy::require
                     : options.signatures == "warn"  ? manifest::SignaturePolicy::warn
                                                     : manifest::SignaturePolicy::off;
  rules.log = [](const std::string &sentence) { std::fprintf(stderr, "%s\n", sentence.c_str()); };
  const hub::Loaded loaded = hub::load(hub::Client(hub::read_environment()).fetch(options.bundle, rules));
  source.plugin = std::make_unique<conformance::Plugin>(loaded.path, *loaded.library);
  source.hosts = loaded.fetched.manifest.hosts;
  return source;
}

}  // namespace lamina::cli
