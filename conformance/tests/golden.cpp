// Outside witnesses of the truth: for each layers/<layer>/golden/*.safetensors and witness/*.safetensors the reference build must give the
// output that the file holds.  Two kinds, by the file's metadata:
//   kind "host"       what a real host module answered: module/<parameter>, forward/<forward parameter>, output.  Fed through the host's
//                     binding, so that the binding is proven too.  With gradients: out_gradient, gradient/module/<parameter> and
//                     gradient/forward/<forward parameter>, which op backward must give.
//   kind "arguments"  a second truth: case_000/<argument> and case_000/out in the contract's words; metadata case_000 is its attributes.
//                     With gradients: case_000/out_gradient and case_000/<argument>_gradient.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "conformance/plugin.h"
#include "manifest/error.h"
#include "manifest/files.h"
#include "manifest/host_binding.h"
#include "manifest/json.h"
#include "manifest/safetensors.h"

namespace {
using namespace lamina::manifest;
using lamina::Error;
using lamina::ErrorKind;
using lamina::conformance::Plugin;

constexpr double kTolerance = 1e-12;  // relative Frobenius error of float64 against float64: the contract's
constexpr lamina_device kCpu = {LAMINA_CPU, 0};

using Attributes = std::map<std::string, AttributeValue>;
using Arguments = std::map<std::string, TensorView>;

void require(lamina_status status, const lamina_error &error, const std::string &what) {
  if (status != LAMINA_OK) throw Error(ErrorKind::failed, what + ": status " + std::to_string(status) + ": " + error.message);
}

struct Output {
  TensorView expected;  // also the shape
  std::vector<double> found = {};
};
using Outputs = std::map<std::string, Output>;

std::vector<lamina_attr> attributes_for(const Attributes &attributes) {
  std::vector<lamina_attr> list;
  for (const auto &[name, value] : attributes) {
    lamina_attr attr{};
    attr.name = name.c_str();
    if (const auto *number = std::get_if<int64_t>(&value)) attr.kind = LAMINA_ATTR_INT, attr.value.i = *number;
    if (const auto *real = std::get_if<double>(&value)) attr.kind = LAMINA_ATTR_FLOAT, attr.value.f = *real;
    if (const auto *word = std::get_if<std::string>(&value)) attr.kind = LAMINA_ATTR_STRING, attr.value.s = word->c_str();
    list.push_back(attr);
  }
  return list;
}

// Runs an op of the plug-in and fills the outputs' float64 elements.
void run_op(const Plugin &plugin, const std::string &name, const Attributes &attributes, const Arguments &arguments, Outputs &outputs,
            const std::string &what) {
  const lamina_op *op = plugin.op(name);
  if (!op) throw Error(ErrorKind::failed, plugin.path() + ": no op " + name);
  const std::vector<lamina_attr> attrs = attributes_for(attributes);
  lamina_error error{};
  error.struct_size = sizeof error;
  lamina_plan_desc desc{};
  desc.struct_size = sizeof desc;
  desc.device = kCpu;
  desc.attrs = attrs.data();
  desc.attr_count = static_cast<uint32_t>(attrs.size());
  lamina_plan *made = nullptr;
  require(op->plan_create(op, &desc, &made, &error), error, what + ": plan_create");
  const std::unique_ptr<lamina_plan, void (*)(lamina_plan *)> plan(made, op->plan_destroy);

  std::vector<lamina_tensor> tensors(op->arg_count);
  std::vector<const lamina_tensor *> pointers(op->arg_count);
  std::vector<TensorView> views(op->arg_count);
  size_t used = 0;
  for (uint32_t i = 0; i < op->arg_count; ++i) {
    const auto given = arguments.find(op->args[i].name);
    const auto wanted = outputs.find(op->args[i].name);
    if (wanted != outputs.end()) {
      Output &output = wanted->second;
      output.found.assign(static_cast<size_t>(output.expected.elements()), std::nan(""));
      views[i] = output.expected;
      views[i].data = reinterpret_cast<const unsigned char *>(output.found.data());
      views[i].strides = row_major_strides(views[i].shape);
    } else if (given != arguments.end()) {
      views[i] = given->second;
    } else {
      continue;
    }
    tensors[i] = views[i].abi(kCpu);
    pointers[i] = &tensors[i];
    ++used;
  }
  if (used != arguments.size() + outputs.size())
    throw Error(ErrorKind::malformed, what + ": the file has tensors that op " + name + " does not take");
  lamina_call call{};
  call.struct_size = sizeof call;
  call.tensor_count = op->arg_count;
  call.tensors = pointers.data();
  lamina_need need{};
  need.struct_size = sizeof need;
  require(op->plan_need(plan.get(), &call, &need, &error), error, what + ": plan_need");
  std::vector<unsigned char> room(need.workspace_size + need.workspace_align);
  void *workspace = room.data();
  size_t space = room.size();
  call.workspace = need.workspace_size ? std::align(need.workspace_align, need.workspace_size, workspace, space) : nullptr;
  call.workspace_size = need.workspace_size;
  require(op->run(plan.get(), &call, &error), error, what + ": run");
}

const TensorView &tensor_of(const SafetensorsFile &file, const std::string &name) {
  const TensorView *found = file.find(name);
  if (!found) throw Error(ErrorKind::malformed, file.path().string() + ": tensor " + name + " is missing");
  return *found;
}

std::string metadata_of(const SafetensorsFile &file, const std::string &name) {
  const auto found = file.metadata().find(name);
  if (found == file.metadata().end()) throw Error(ErrorKind::malformed, file.path().string() + ": metadata " + name + " is missing");
  return found->second;
}

double element(const TensorView &view, size_t flat) {
  int64_t offset = 0, rest = static_cast<int64_t>(flat);
  for (size_t dim = view.shape.size(); dim-- > 0; rest /= view.shape[dim]) offset += rest % view.shape[dim] * view.strides[dim];
  double value;
  std::memcpy(&value, view.data + offset * static_cast<int64_t>(sizeof value), sizeof value);
  return value;
}

bool compare(const Output &output, const std::string &what) {
  if (dtype_name(output.expected.dtype) != "float64") throw Error(ErrorKind::malformed, what + ": the expected output is not float64");
  double difference = 0, size = 0;
  for (size_t i = 0; i < output.found.size(); ++i) {
    const double truth = element(output.expected, i);
    difference += (output.found[i] - truth) * (output.found[i] - truth);
    size += truth * truth;
  }
  const double error = std::sqrt(difference / size);
  const bool right = error <= kTolerance;  // false for NaN
  std::printf("%s %s: relative error %.2g\n", right ? "ok   " : "WRONG", what.c_str(), error);
  return right;
}

// A dense tensor with the rank of the layer's argument: more leading axes than it has are one, fewer are a batch of one.
TensorView folded(TensorView view, size_t rank) {
  while (view.shape.size() > rank) {
    view.shape[1] *= view.shape[0];
    view.shape.erase(view.shape.begin());
  }
  if (view.shape.size() < rank) view.shape.insert(view.shape.begin(), 1);
  view.strides = row_major_strides(view.shape);
  return view;
}

size_t rank_of(const Plugin &plugin, const std::string &op, const std::string &argument) {
  const int row = plugin.op(op) ? lamina::conformance::argument_named(*plugin.op(op), argument) : -1;
  if (row < 0) throw Error(ErrorKind::failed, plugin.path() + ": op " + op + " has no argument " + argument);
  return lamina::conformance::shape_words(plugin.op(op)->args[row]).size();
}

bool has_argument(const Plugin &plugin, const std::string &op, const std::string &argument) {
  return plugin.op(op) && lamina::conformance::argument_named(*plugin.op(op), argument) >= 0;
}

// What the host's own backward gave, against op backward.  A host that adds its input inside has both gradients in its input's.
bool check_gradients(const Plugin &plugin, const Contract &contract, const HostBinding &binding, BindOptions options,
                     const Attributes &attributes, Arguments arguments, const std::shared_ptr<const SafetensorsFile> &file) {
  const std::string what = file->path().filename(), main = binding.forward.front().argument;
  bool feeds_residual = false;
  for (const ForwardParameter &parameter : binding.forward)
    feeds_residual = feeds_residual || (parameter.use == ForwardUse::feeds && parameter.argument == "residual");
  const bool adds_input = arguments.contains("residual") && !feeds_residual;
  if (adds_input || !has_argument(plugin, "backward", "residual")) arguments.erase("residual");
  arguments["out_gradient"] = folded(tensor_of(*file, "out_gradient"), rank_of(plugin, "backward", "out_gradient"));
  options.prefix = "gradient/module";
  const BoundCheckpoint bound = bind_checkpoint(binding, contract, file, options);
  Outputs outputs;
  for (const BoundArgument &argument : bound.arguments)
    if (argument.present) outputs[argument.name + "_gradient"] = {argument.view};
  const std::string own = main + "_gradient";
  for (const ForwardParameter &parameter : binding.forward) {
    const TensorView *view = parameter.use == ForwardUse::feeds ? file->find("gradient/forward/" + parameter.name) : nullptr;
    if (view) outputs[parameter.argument + "_gradient"] = {folded(*view, rank_of(plugin, "backward", parameter.argument + "_gradient"))};
  }
  if (!outputs.contains(own))
    throw Error(ErrorKind::malformed, what + ": gradient/forward/" + binding.forward.front().name + " is missing");
  run_op(plugin, "backward", attributes, arguments, outputs, what);
  if (adds_input)
    for (size_t i = 0; i < outputs[own].found.size(); ++i) outputs[own].found[i] += element(arguments["out_gradient"], i);
  bool right = true;
  for (const auto &[name, output] : outputs) right = compare(output, what + " " + name) && right;
  return right;
}

bool check_host(const Plugin &plugin, const Contract &contract, const std::filesystem::path &layer,
                std::shared_ptr<const SafetensorsFile> file) {
  const auto path = layer / "hosts" / (metadata_of(*file, "host") + ".json");
  const HostBinding binding = parse_host_binding(read_file(path, 1 << 20), contract, path.string());
  // A golden of another release than the binding names would prove nothing about it.
  if (!binding.version.empty() && metadata_of(*file, "version") != binding.version)
    throw Error(ErrorKind::failed,
                file->path().string() + ": made from version " + metadata_of(*file, "version") + ", not " + binding.version);
  if (!binding.commit.empty() && metadata_of(*file, "commit") != binding.commit)
    throw Error(ErrorKind::failed,
                file->path().string() + ": made from commit " + metadata_of(*file, "commit") + ", not " + binding.commit);
  BindOptions options;
  options.class_name = metadata_of(*file, "class");
  options.prefix = "module";
  const BoundCheckpoint bound = bind_checkpoint(binding, contract, file, options);
  Attributes attributes;
  for (const BoundAttribute &attribute : bound.attributes) attributes[attribute.name] = attribute.value;
  Arguments arguments;
  for (const BoundArgument &argument : bound.arguments)
    if (argument.present) arguments[argument.name] = argument.view;
  const std::string main = binding.forward.front().argument;
  for (const ForwardParameter &parameter : binding.forward)
    if (parameter.use == ForwardUse::feeds && file->find("forward/" + parameter.name))
      arguments[parameter.argument] = folded(tensor_of(*file, "forward/" + parameter.name), rank_of(plugin, "forward", parameter.argument));
  if (binding.residual == "inside" && has_argument(plugin, "forward", "residual") && !arguments.contains("residual"))
    arguments["residual"] = arguments.at(main);  // the host adds its own input
  Outputs outputs{{"out", {folded(tensor_of(*file, "output"), rank_of(plugin, "forward", "out"))}}};
  const std::string what = file->path().filename();
  run_op(plugin, "forward", attributes, arguments, outputs, what);
  bool right = compare(outputs["out"], what);
  if (file->find("out_gradient")) right = check_gradients(plugin, contract, binding, options, attributes, arguments, file) && right;
  return right;
}

bool check_cases(const Plugin &plugin, const Contract &contract, const SafetensorsFile &file, int &cases) {
  std::map<std::string, Arguments> all;
  for (const auto &[name, view] : file.tensors()) {
    const size_t slash = name.find('/');
    if (slash == std::string::npos) throw Error(ErrorKind::malformed, file.path().string() + ": tensor " + name + " is of no case");
    all[name.substr(0, slash)][name.substr(slash + 1)] = view;
  }
  bool right = true;
  for (auto &[name, arguments] : all) {
    const std::string what = file.path().filename().string() + " " + name;
    Attributes attributes;
    const Json json = parse_json(metadata_of(file, name), what);
    for (const auto &[attribute, value] : json.items())
      attributes[attribute] = contract.checked_attribute_text(attribute, value.is_string() ? value.get<std::string>() : value.dump());
    Outputs outputs{{"out", {tensor_of(file, name + "/out")}}}, gradients;
    arguments.erase("out");
    Arguments backward = arguments;
    for (auto argument = arguments.begin(); argument != arguments.end();) {
      if (argument->first.ends_with("_gradient")) {
        if (argument->first != "out_gradient") gradients[argument->first] = {argument->second}, backward.erase(argument->first);
        argument = arguments.erase(argument);
      } else if (!has_argument(plugin, "backward", (argument++)->first)) {
        backward.erase(std::prev(argument)->first);
      }
    }
    run_op(plugin, "forward", attributes, arguments, outputs, what);
    right = compare(outputs["out"], what) && right;
    ++cases;
    if (gradients.empty()) continue;
    run_op(plugin, "backward", attributes, backward, gradients, what);
    for (const auto &[wanted, gradient] : gradients) right = compare(gradient, what + " " + wanted) && right;
  }
  return right;
}
}  // namespace

int main(int argc, char **argv) try {
  const std::filesystem::path root = argc > 1 ? argv[1] : ".";
  int cases = 0, wrong = 0;
  for (const auto &layer : std::filesystem::directory_iterator(root / "layers")) {
    if (!std::filesystem::exists(layer.path() / "contract.json")) continue;
    std::vector<std::filesystem::path> files;
    for (const char *folder : {"golden", "witness"})
      if (std::filesystem::exists(layer.path() / folder))
        for (const auto &entry : std::filesystem::directory_iterator(layer.path() / folder))
          if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
    if (files.empty()) continue;
    std::sort(files.begin(), files.end());
    const Contract contract = parse_contract(read_file(layer.path() / "contract.json", 1 << 20), "contract.json");
    const Plugin plugin((root / "build/plugins" / (contract.layer + "-" + contract.version + "-reference.so")).string());
    for (const auto &path : files) {
      const auto file = SafetensorsFile::open(path);
      const std::string kind = metadata_of(*file, "kind");
      if (kind == "host") {
        ++cases;
        wrong += !check_host(plugin, contract, layer.path(), file);
      } else if (kind == "arguments") {
        wrong += !check_cases(plugin, contract, *file, cases);
      } else {
        throw Error(ErrorKind::malformed, path.string() + ": unknown kind " + kind);
      }
    }
  }
  std::printf("%d outside truths, %d contradicted\n", cases, wrong);
  return wrong == 0 && cases > 0 ? 0 : 1;
} catch (const Error &error) {
  std::fprintf(stderr, "golden: %s\n", error.what());
  return lamina::exit_code(error.kind);
}
