#include "packager/python_shim.h"

#include <set>
#include <vector>

#include "manifest/host_binding.h"
#include "packager/templates.h"

namespace lamina::packager {
namespace {

using manifest::ForwardParameter;
using manifest::HostBinding;

std::string camel(const std::string &words) {
  std::string name;
  bool up = true;
  for (const char c : words) {
    if (c == '_') up = true;
    else name += up ? static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c) : c, up = false;
  }
  return name;
}

// "x: Tensor, mask: Tensor | None = None", and the same names as a call.
void write_parameters(const HostBinding &binding, std::string &signature, std::string &call, std::string &values) {
  bool keyword = false;
  for (const ForwardParameter &parameter : binding.forward) {
    if (parameter.kind == "keyword_only" && !keyword) signature += ", *", keyword = true;
    signature += ", " + parameter.name;
    if (!parameter.annotation.empty()) signature += ": " + parameter.annotation;
    if (parameter.default_text) signature += (parameter.annotation.empty() ? "=" : " = ") + *parameter.default_text;
    if (parameter.kind == "positional_only") signature += ", /";
    call += ", " + (keyword ? parameter.name + "=" : "") + parameter.name;
    values += (values.empty() ? "\"" : ", \"") + parameter.name + "\": " + parameter.name;
  }
}

// `value` is Python source of the host's own signature; it must not name what this file does not have.
std::string layer_class(const std::string &name, const HostBinding &binding, const std::string &python_class) {
  std::string signature, call, values;
  write_parameters(binding, signature, call, values);
  std::string text = "\n\nclass " + name + "(nn.Module):\n    \"\"\"For " + binding.module + "." + python_class + " of " +
                     (binding.package.empty() ? binding.repository : binding.package + " " + binding.version) + ".\"\"\"\n\n";
  text += "    can_torch_compile = False\n    has_backward = False\n\n";
  text += "    def forward(self" + signature + ")" + (binding.returns.empty() ? "" : " -> " + binding.returns) + ":\n";
  text += "        try:\n            return _ops.forward(self, \"" + binding.host + "\", \"" + python_class + "\", {" + values + "})\n";
  text += "        except _ops.Unsupported:\n            if _ops.strict():\n                raise\n";
  // Only the instance's forward was replaced, so the class still has the host's own.
  text += "            return type(self).forward(self" + call + ")\n";
  return text;
}

}  // namespace

std::map<std::string, std::string> python_shim(const manifest::Contract &contract, const manifest::Manifest &manifest,
                                               const manifest::Bundle &bundle) {
  std::string layers = "\"\"\"Layer classes of " + bundle.repo +
                       ": one for each host class, with the host's own forward signature.\n\n`self` is the host's module.  "
                       "Generated from the host bindings.\n\"\"\"\nfrom __future__ import annotations\n\nfrom typing import *  # noqa: "
                       "F403: annotations are the hosts' own text\n\n"
                       "import torch\nfrom torch import Tensor, nn\n\nfrom . import _ops\n";
  std::vector<HostBinding> bindings;
  std::map<std::string, int> uses;  // of a hub name, over all hosts
  for (const auto &[host, text] : manifest.hosts) {
    bindings.push_back(manifest::parse_host_binding(text, contract, host));
    std::set<std::string> names;
    for (const manifest::HostClass &one : bindings.back().classes) names.insert(one.hub_layers.begin(), one.hub_layers.end());
    for (const std::string &name : names) ++uses[name];
  }
  std::set<std::string> written;
  for (const HostBinding &binding : bindings) {
    if (binding.kind != "torch_module") continue;
    for (const manifest::HostClass &one : binding.classes) {
      const std::string python_class = one.python_class.empty() ? one.name : one.python_class;
      std::vector<std::string> names = {camel(binding.host) + python_class};
      // A name that two hosts share would be the wrong class for one of them.
      for (const std::string &name : one.hub_layers)
        if (uses[name] == 1) names.push_back(name);
      for (const std::string &name : names)
        if (written.insert(name).second) layers += layer_class(name, binding, python_class);
    }
  }
  std::string all;
  for (const std::string &name : written) all += "    \"" + name + "\",\n";
  layers += "\n\n__all__ = [\n" + all + "]\n";
  const std::string init =
      "\"\"\"" + contract.title + " (" + bundle.repo + " " + bundle.version + ").\"\"\"\nfrom . import layers\n\n__all__ = [\"layers\"]\n";
  return {{"__init__.py", init}, {"_ops.py", std::string(ops_template)}, {"layers.py", layers}};
}

}  // namespace lamina::packager
