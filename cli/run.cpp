// lamina run: one layer on tensors from files.  The shortest way to see a checkpoint's layer work, and to compare two builds.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "cli/run/invocation.h"
#include "cli/run/source.h"
#include "manifest/error.h"
#include "manifest/npy.h"
#include "verbs.h"

namespace lamina::cli {
namespace {

struct Options {
  std::string build, bundle, backend, host, host_class, weights, prefix, op = "forward", compare, device = "cpu", signatures = "require";
  std::vector<std::string> inputs, outputs, attributes;
  int layer_index = -1, repeat = 1;
  bool raw = false;
};

// "name=FILE", or FILE alone for the first argument of the role.
std::pair<std::string, std::string> split(const std::string &text, const std::string &first) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) return {first, text};
  return {text.substr(0, equals), text.substr(equals + 1)};
}

std::string first_of_role(const lamina_op &op, uint32_t role) {
  for (uint32_t i = 0; i < op.arg_count; ++i)
    if (op.args[i].role == role) return op.args[i].name;
  return "";
}

Tensors widened(const Tensors &tensors) {
  Tensors wide;
  for (const auto &[name, tensor] : tensors) wide.emplace(name, to_float64(tensor.view()));
  return wide;
}

// |a - b| / |b| over all elements, in float64.
double relative_error(const HostTensor &a, const HostTensor &b) {
  const HostTensor left = to_float64(a.view()), right = to_float64(b.view());
  const auto *x = reinterpret_cast<const double *>(left.bytes.data()), *y = reinterpret_cast<const double *>(right.bytes.data());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < left.bytes.size() / sizeof(double); ++i) difference += (x[i] - y[i]) * (x[i] - y[i]), norm += y[i] * y[i];
  return std::sqrt(difference / norm);
}

void compare_with(const Options &options, const manifest::Contract &contract, const Attributes &attributes, const Tensors &tensors,
                  const Tensors &outputs) {
  const conformance::Plugin other(options.compare);
  const std::unique_ptr<conformance::Device> device = conformance::cpu_device();
  const bool reference = std::string_view(other.library().target) == "reference";
  Invocation truth(other, options.op, *device, attributes, reference ? widened(tensors) : tensors, !options.raw);
  truth.run();
  for (const auto &[name, expected] : truth.outputs()) {
    const HostTensor &found = outputs.at(name);
    const double error = relative_error(found, expected);
    const auto limit = contract.tolerances.frobenius.find(manifest::dtype_name(found.dtype));
    std::printf("%s against %s%s: relative error %.2e", name.c_str(), other.library().target, reference ? " (float64)" : "", error);
    if (limit != contract.tolerances.frobenius.end()) std::printf(", the contract allows %.1e", limit->second);
    std::printf("\n");
    if (!(limit == contract.tolerances.frobenius.end() || error <= limit->second))
      throw Error(ErrorKind::failed, "the result is farther from " + options.compare + " than the contract allows");
  }
}

double best_seconds(Invocation &invocation, int repeat) {
  double best = INFINITY;
  for (int i = 0; i < repeat; ++i) {
    const auto start = std::chrono::steady_clock::now();
    invocation.run();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

void run(const Options &options) {
  const Source source = open_source({options.build, options.bundle, options.backend, options.signatures});
  const conformance::Plugin &plugin = *source.plugin;
  const manifest::Contract contract = manifest::parse_contract(plugin.contract(), plugin.path());
  const lamina_op *op = plugin.op(options.op);
  if (!op) throw Error(ErrorKind::not_found, plugin.path() + " has no op '" + options.op + "'");

  Tensors tensors;
  Attributes attributes;
  if (!options.weights.empty())
    bind_weights(source, contract, {options.host, options.host_class, options.weights, options.prefix, options.layer_index}, tensors,
                 attributes);
  for (const std::string &text : options.inputs) {
    const auto [name, file] = split(text, first_of_role(*op, LAMINA_INPUT));
    manifest::NpyArray array = manifest::read_npy(file);
    tensors[name] = {array.dtype, array.shape, std::move(array.bytes)};
  }
  for (const std::string &text : options.attributes) {
    const auto [name, value] = split(text, "");
    attributes[name] = contract.checked_attribute_text(name, value);
  }

  const std::unique_ptr<conformance::Device> device = conformance::open_device(options.device);
  std::printf("%s %s, build %s on %s\n", plugin.library().name, plugin.library().version, plugin.library().target, device->name().c_str());
  Invocation invocation(plugin, options.op, *device, attributes, tensors, !options.raw);
  invocation.run();
  const Tensors outputs = invocation.outputs();
  for (const std::string &text : options.outputs) {
    const auto [name, file] = split(text, first_of_role(*op, LAMINA_OUTPUT));
    const auto found = outputs.find(name);
    if (found == outputs.end()) throw Error(ErrorKind::invalid_argument, options.op + " has no output '" + name + "'");
    manifest::write_npy(file, found->second.view());
    std::printf("wrote %s %s to %s\n", name.c_str(), manifest::shape_text(found->second.shape).c_str(), file.c_str());
  }
  const double seconds = best_seconds(invocation, options.repeat), flops = contract.flops(options.op, invocation.dims());
  std::printf("%.3f ms (best of %d)", seconds * 1e3, options.repeat);
  if (flops > 0) std::printf(", %.1f GFLOP/s", flops / seconds * 1e-9);
  std::printf(", workspace %.1f MB, packed weights %.2f MB\n", static_cast<double>(invocation.workspace_bytes()) * 1e-6,
              static_cast<double>(invocation.packed_bytes()) * 1e-6);
  if (!options.compare.empty()) compare_with(options, contract, attributes, tensors, outputs);
}

}  // namespace

void add_run(CLI::App &app) {
  auto options = std::make_shared<Options>();
  CLI::App *verb = app.add_subcommand(
      "run",
      "Run one layer on tensors from files.\n\n"
      "  lamina run --bundle ORG/triangle-multiplication@v1 --host boltz --weights model.safetensors \\\n"
      "     --prefix pairformer_module.layers.0.tri_mul_out --input pair.npy --input pair_mask=mask.npy --output update.npy");
  CLI::Option *build = verb->add_option("--build", options->build, "a plug-in: FILE.so")->check(CLI::ExistingFile);
  verb->add_option("--bundle", options->bundle, "a bundle: ORG/NAME[@vN|@commit], fetched if needed")->excludes(build);
  verb->add_option("--backend", options->backend, "with --bundle: cpu, cu130, ... instead of this machine's");
  verb->add_option("--signatures", options->signatures, "with --bundle: require, warn or off")
      ->check(CLI::IsMember({"require", "warn", "off"}))
      ->capture_default_str();
  verb->add_option("--weights", options->weights, "a checkpoint: FILE.safetensors")->check(CLI::ExistingFile);
  verb->add_option("--host", options->host, "whose parameter names the checkpoint has: a host of the bundle, or FILE.json");
  verb->add_option("--class", options->host_class, "which class of the host; needed when the prefix does not tell");
  verb->add_option("--prefix", options->prefix, "where in the checkpoint the module's parameters stand");
  verb->add_option("--layer-index", options->layer_index, "which layer of a checkpoint that stacks its layers");
  verb->add_option("--input", options->inputs, "[ARGUMENT=]FILE.npy; the first argument when no name is given. Repeatable");
  verb->add_option("--output", options->outputs, "[ARGUMENT=]FILE.npy. Repeatable");
  verb->add_option("--attribute", options->attributes, "NAME=VALUE, over what the host fixes. Repeatable");
  verb->add_option("--op", options->op, "which op")->capture_default_str();
  verb->add_option("--device", options->device, "cpu, cuda:N or rocm:N")->capture_default_str();
  verb->add_option("--repeat", options->repeat, "time that many runs and print the best")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--compare", options->compare,
                   "another build, such as the reference: print the error, fail past the contract's tolerance")
      ->check(CLI::ExistingFile);
  verb->add_flag("--raw", options->raw, "hand the weights over unpacked");
  verb->callback([options] { run(*options); });
}

}  // namespace lamina::cli
