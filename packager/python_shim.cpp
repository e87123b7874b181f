#include "packager/python_shim.h"

#include <algorithm>
#include <set>
#include <vector>

#include "manifest/error.h"
#include "manifest/host_binding.h"
#include "manifest/json.h"
#include "packager/templates.h"

namespace lamina::packager {
namespace {

using manifest::ForwardParameter;
using manifest::HostBinding;

struct Host {
  HostBinding binding;
  std::string tuple;  // a function that takes all its parameters in one tuple: that tuple's name
};

// A class or function of a host, as Python sees it: several entries of a binding may share it.
struct Callable {
  const Host *host;
  std::string name;
  std::vector<std::string> hub_layers;
  std::string key() const { return host->binding.host + "/" + name; }
};

std::string camel(const std::string &words) {
  std::string name;
  bool up = true;
  for (const char c : words) {
    if (c == '_') up = true;
    else name += up ? static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c) : c, up = false;
  }
  return name;
}

std::string source_of(const HostBinding &binding) {
  return binding.package + " " + (binding.version.empty() ? binding.commit.substr(0, 8) : binding.version);
}

// The host's parameters as source: in a signature, in a call, and as a tuple in the binding's order.
struct Parameters {
  std::string signature, call, values;
};

std::string joined(const std::vector<std::string> &words, size_t indent) {
  size_t length = indent;
  for (const std::string &word : words) length += word.size() + 2;
  const std::string between = length > 110 ? ",\n" + std::string(indent, ' ') : ", ";
  std::string text = length > 110 ? between.substr(1) : "";
  for (const std::string &word : words) text += (&word == &words.front() ? "" : between) + word;
  return text;
}

// `self`: what a method's signature begins with; "" for a function.
Parameters parameters_of(const HostBinding &binding, const std::string &self) {
  std::vector<std::string> signature, call, values;
  if (!self.empty()) signature.push_back(self), call.push_back(self);
  bool keyword = false;
  for (const ForwardParameter &parameter : binding.forward) {
    if (parameter.kind == "keyword_only" && !keyword) signature.push_back("*"), keyword = true;
    std::string one = parameter.name;
    if (!parameter.annotation.empty()) one += ": " + parameter.annotation;
    if (parameter.default_text) one += (parameter.annotation.empty() ? "=" : " = ") + *parameter.default_text;
    signature.push_back(one);
    if (parameter.kind == "positional_only") signature.push_back("/");
    call.push_back((keyword ? parameter.name + "=" : "") + parameter.name);
    values.push_back(parameter.name);
  }
  values.back() += ",";
  return {joined(signature, self.empty() ? 4 : 8), joined(call, 12), joined(values, self.empty() ? 8 : 12)};
}

std::string arrow(const HostBinding &binding) { return binding.returns.empty() ? "" : " -> " + binding.returns; }

std::string layer_class(const std::string &name, const Callable &one) {
  const HostBinding &binding = one.host->binding;
  const Parameters text = parameters_of(binding, "self");
  return "\n\nclass " + name + "(nn.Module):\n    \"\"\"For " + binding.module + "." + one.name + " of " + source_of(binding) +
         ".\"\"\"\n\n    can_torch_compile = True\n    has_backward = TRAINS\n\n    def forward(" + text.signature + ")" + arrow(binding) +
         ":\n        out = _ops.call(BINDINGS[\"" + one.key() + "\"], self, (" + text.values +
         "))\n"
         // Only the instance's forward was replaced, so the class still has the host's own.
         "        return type(self).forward(" +
         text.call + ") if out is None else out\n";
}

std::string function(const std::string &name, const Callable &one) {
  const HostBinding &binding = one.host->binding;
  const Parameters text = parameters_of(binding, "");
  const std::string &tuple = one.host->tuple;
  std::string source = "\n\ndef " + name + "(" + (tuple.empty() ? text.signature : tuple) + ")" + arrow(binding) +
                       ":\n    \"\"\"In the place of " + binding.module + "." + one.name + " of " + source_of(binding) + ".\"\"\"\n";
  if (!tuple.empty()) source += "    " + text.values.substr(0, text.values.size() - 1) + " = " + tuple + "\n";
  return source + "    return _ops.call_function(BINDINGS[\"" + one.key() + "\"], (" + text.values + "))\n";
}

std::vector<Callable> callables(const std::vector<Host> &hosts, bool functions) {
  std::vector<Callable> found;
  for (const Host &host : hosts) {
    if (host.binding.kind != (functions ? "function" : "torch_module")) continue;
    for (const manifest::HostClass &one : host.binding.classes) {
      const std::string name = one.python_class.empty() ? one.name : one.python_class;
      auto at = std::find_if(found.begin(), found.end(), [&](const Callable &other) { return other.host == &host && other.name == name; });
      if (at == found.end()) at = found.insert(found.end(), {&host, name, {}});
      for (const std::string &layer : one.hub_layers)
        if (std::find(at->hub_layers.begin(), at->hub_layers.end(), layer) == at->hub_layers.end()) at->hub_layers.push_back(layer);
    }
  }
  return found;
}

std::string all_of(const std::vector<std::string> &names) {
  std::string text = "\n\n__all__ = [\n";
  for (const std::string &name : names) text += "    \"" + name + "\",\n";
  return text + "]\n";
}

constexpr const char *preamble =
    "from __future__ import annotations\n\nfrom typing import *  # noqa: F403: annotations are the hosts' own text\n\nimport torch\nfrom "
    "torch import Tensor, nn\n\nfrom . import _ops\nfrom ._hosts import BINDINGS\n";

std::string layers_file(const std::vector<Host> &hosts, const manifest::Bundle &bundle) {
  std::string text =
      "\"\"\"Layer classes of " + bundle.repo +
      ": one for each host class, with the host's own forward signature.\n\n`self` is the host's module.  Generated from the "
      "host bindings.\n\"\"\"\n" +
      preamble + "from ._training import TRAINS\n";
  const std::vector<Callable> classes = callables(hosts, false);
  std::map<std::string, int> uses;  // of a hub name, over all hosts
  for (const Callable &one : classes)
    for (const std::string &name : one.hub_layers) ++uses[name];
  std::vector<std::string> written;
  std::string by_binding;
  for (const Callable &one : classes) {
    std::vector<std::string> names = {camel(one.host->binding.host) + one.name};
    // A name that two hosts share would be the wrong class for one of them.
    for (const std::string &name : one.hub_layers)
      if (uses[name] == 1) names.push_back(name);
    by_binding += "    \"" + one.key() + "\": " + names.front() + ",\n";
    for (const std::string &name : names) {
      if (std::find(written.begin(), written.end(), name) != written.end()) continue;
      text += layer_class(name, one);
      written.push_back(name);
    }
  }
  return text + "\n\nBY_BINDING = {\n" + by_binding + "}" + all_of(written);
}

std::string functions_file(const std::vector<Host> &hosts, const manifest::Bundle &bundle, std::vector<std::string> &written) {
  std::string text = "\"\"\"Functions of " + bundle.repo +
                     " with other libraries' signatures: their users change one name.\n\nWeights are arguments; they are packed once for "
                     "the same tensors, so keep the tensors.  Generated from the host bindings.\n\"\"\"\n" +
                     preamble;
  const std::vector<Callable> functions = callables(hosts, true);
  std::map<std::string, int> uses;
  for (const Callable &one : functions) ++uses[one.name];
  for (const Callable &one : functions) {
    written.push_back(uses[one.name] == 1 ? one.name : one.host->binding.host + "_" + one.name);
    text += function(written.back(), one);
  }
  return text + all_of(written);
}

void check_contract(const manifest::Contract &contract) {
  const manifest::ContractOp *forward = contract.op("forward");
  if (!forward || forward->kind != "forward")
    throw Error(ErrorKind::malformed, "contract of " + contract.layer + ": the Python shim calls op forward, which is not there");
  const auto outputs = std::count_if(forward->arguments.begin(), forward->arguments.end(), [&](const std::string &name) {
    const manifest::ContractArgument *argument = contract.argument(name);
    return argument && argument->role == manifest::Role::output;
  });
  if (outputs != 1)
    throw Error(ErrorKind::malformed,
                "contract of " + contract.layer + ": op forward has " + std::to_string(outputs) + " outputs; the Python shim returns one");
}

}  // namespace

std::map<std::string, std::string> python_shim(const manifest::Contract &contract, const manifest::Manifest &manifest,
                                               const manifest::Bundle &bundle) {
  check_contract(contract);
  std::vector<Host> hosts;
  for (const auto &[name, text] : manifest.hosts)
    hosts.push_back({manifest::parse_host_binding(text, contract, name), manifest::parse_json(text, name)["forward"].value("tuple", "")});
  std::map<std::string, std::string> files;
  for (const auto &[name, text] : python_templates) files[std::string(name)] = text;
  std::vector<std::string> names;
  files["layers.py"] = layers_file(hosts, bundle);
  files["functions.py"] = functions_file(hosts, bundle, names);
  std::string all = "\"functions\", \"info\", \"layers\", \"patch\", \"refresh\", \"saving\", \"unpatch\"", imported;
  for (const std::string &name : names) all += ", \"" + name + "\"";
  files["__init__.py"] = "\"\"\"" + contract.title + " (" + bundle.repo + " " + bundle.version +
                         ").\"\"\"\nfrom . import functions, layers\nfrom ._ops import info\nfrom ._patch import patch, unpatch\nfrom "
                         "._training import saving\nfrom ._weights import refresh\nfrom .functions import *  # noqa: F403\n\n__all__ = [" +
                         all + "]\n";
  return files;
}

}  // namespace lamina::packager
