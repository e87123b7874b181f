#include "packager/card.h"

#include <algorithm>
#include <sstream>

#include "manifest/error.h"
#include "manifest/host_binding.h"
#include "manifest/json.h"

namespace lamina::packager {
namespace {

using manifest::HostBinding;
using manifest::Json;

std::string joined(const Json &list) {
  std::string text;
  for (const auto &one : list) text += (text.empty() ? "" : ", ") + one.get<std::string>();
  return text;
}

std::string needs(const manifest::Build &build) {
  const Json requires_ = Json::parse(build.requires_json);
  std::string text = requires_.value("cpu", "");
  if (requires_.contains("cpu_features")) text += ": " + joined(requires_["cpu_features"]);
  if (requires_.contains("cuda"))
    text += ", NVIDIA GPU of compute capability " + joined(requires_["cuda"].value("capabilities", Json::array())) + ", driver " +
            std::to_string(requires_["cuda"].value("driver", 0)) + " or newer";
  if (requires_.contains("rocm")) text += ", AMD GPU " + joined(requires_["rocm"].value("archs", Json::array()));
  return text;
}

// "[text](../elsewhere)" becomes "text", since a hub repository does not hold the source tree; a line that is nothing else goes.  A picture
// of the tree comes to lie beside the card.
class Measured {
 public:
  // What lies between the marks of a layer's README.md; fills card.pictures.
  Measured(std::string_view readme, Card &card) : card_(card) {
    std::istringstream lines{std::string(readme)};
    bool inside = false;
    for (std::string line; std::getline(lines, line);) {
      const bool mark = line.starts_with("<!-- bench:");
      if (mark) inside = line.ends_with("begin -->");
      else if (inside) add(line);
    }
    while (text_.ends_with("\n\n")) text_.pop_back();
  }
  const std::string &text() const { return text_; }

 private:
  void add(const std::string &line) {
    std::string rest;  // of the line without its links
    for (size_t at = 0; at < line.size();) {
      const bool is_picture = line[at] == '!' && at + 1 < line.size() && line[at + 1] == '[';
      const size_t open = at + (is_picture ? 1 : 0), close = line.find("](", open);
      const size_t end = close == line.npos ? line.npos : line.find(')', close);
      if (line[open] != '[' || end == line.npos || line.find('[', open + 1) < close) {
        rest += line[at], text_ += line[at++];
        continue;
      }
      const std::string target = line.substr(close + 2, end - close - 2);
      if (target.starts_with("https://")) rest += target, text_ += line.substr(at, end + 1 - at);
      else if (is_picture) text_ += line.substr(at, close + 2 - at) + picture(target) + ")", rest += target;
      else text_ += line.substr(open + 1, close - open - 1);
      at = end + 1;
    }
    if (rest.empty() && !line.empty()) text_.resize(text_.rfind('\n') + 1);
    else text_ += "\n";
  }

  std::string picture(const std::string &path) {
    const std::string name = path.substr(path.rfind('/') + 1);
    if (!name.ends_with(".svg"))  // text, which a hub takes in a commit
      throw Error(ErrorKind::malformed, "the layer's README.md shows '" + path + "' among its measurements; a card's pictures are .svg");
    if (const auto [known, is_new] = card_.pictures.emplace(name, path); !is_new && known->second != path)
      throw Error(ErrorKind::malformed,
                  "the layer's README.md shows both '" + known->second + "' and '" + path + "'; a card needs two names");
    return name;
  }

  Card &card_;
  std::string text_;
};

// The host by which the card shows the way: one of transformers if there is one, since its models ask the hub by themselves.
const HostBinding *shown(const std::vector<HostBinding> &hosts) {
  const HostBinding *best = nullptr;
  for (const HostBinding &host : hosts)
    if (host.kind == "torch_module" && !host.classes.front().hub_layers.empty() && (!best || host.package == "transformers")) best = &host;
  return best;
}

std::string python_usage(const std::vector<HostBinding> &hosts, const std::string &repository, const std::string &major, bool trains) {
  std::string text =
      "\n## From Python\n\nAny model whose layers are in the table below, in place, and back:\n\n```python\nfrom kernels import "
      "get_kernel\n\nkernel = get_kernel(\"" +
      repository + "\", version=" + major +
      ", trust_remote_code=True)\nprint(kernel.patch(model))  # what was swapped, what was skipped and why\nwith torch.inference_mode():\n "
      "   out = model(...)\nkernel.unpatch(model)  # or: with kernel.patch(model): ...\n```\n";
  if (const HostBinding *host = shown(hosts)) {
    const std::string layer = host->classes.front().hub_layers.front();
    text += "\nBy the mapping of `kernels` (a layer that " + host->title +
            " asks for):\n\n```python\nfrom kernels import LayerRepository, Mode, register_kernel_mapping\n\n" +
            "repository = LayerRepository(\"" + repository + "\", layer_name=\"" + layer + "\", version=" + major +
            ", trust_remote_code=True)\nregister_kernel_mapping({\"" + layer +
            "\": {device: {Mode.INFERENCE: repository} for device in (\"cpu\", \"cuda\")}}, "
            "inherit_mapping=False)\nmodel.set_use_kernels(True)\n```\n";
  }
  std::string functions;
  for (const HostBinding &host : hosts)
    if (host.kind == "function")
      for (const manifest::HostClass &one : host.classes) {
        const std::string name = "`" + (one.python_class.empty() ? one.name : one.python_class) + "`";
        if (functions.find(name) == functions.npos) functions += (functions.empty() ? "" : ", ") + name;
      }
  if (!functions.empty()) text += "\nFunctions with other libraries' signatures, so that their users change one name: " + functions + ".\n";
  return text +
         (trains ? "\nTraining goes through the layer's own backward where a build of the variant has one (`has_backward` of its layer "
                   "classes "
                   "says so); elsewhere"
                 : "\nInference only: with gradients") +
         " the host's own forward runs. What cannot be served goes to the host's own forward too, with one warning that says why; "
         "`LAMINA_STRICT=1` makes it an error. `torch.compile(fullgraph=True)` sees one operator; a CUDA graph is captured after one "
         "call.\n";
}

}  // namespace

Card hub_card(const manifest::Contract &contract, const std::string &repository, const std::map<std::string, std::string> &hosts,
              const std::vector<CardVariant> &variants, std::string_view layer_readme) {
  const std::string major = std::to_string(contract.major());
  std::vector<HostBinding> bindings;
  for (const auto &[host, json] : hosts) bindings.push_back(manifest::parse_host_binding(json, contract, host));
  std::string text = "---\nlibrary_name: kernels\nlicense: apache-2.0\ntags:\n- kernel\n- lamina\n---\n\n# " + repository + "\n\n" +
                     contract.title + ", version " + contract.version +
                     ". A Lamina plug-in: one shared object per machine behind a small C header, no torch inside.\n";
  const bool trains = std::any_of(contract.ops.begin(), contract.ops.end(), [](const auto &op) { return op.kind == "backward"; });
  text += python_usage(bindings, repository, major, trains);
  text += "\n## Without Python\n\n```\nlamina fetch " + repository + "@v" + major + " --explain\n```\n";
  text += "\n## Shapes\n\n| dim | |\n|---|---|\n";
  for (const auto &[letter, meaning] : contract.dims) text += "| " + letter + " | " + meaning + " |\n";
  text += "\n| input | shape | |\n|---|---|---|\n";
  for (const manifest::ContractArgument &argument : contract.arguments)
    if (argument.role == manifest::Role::input)
      text +=
          "| `" + argument.name + "`" + (argument.optional ? " (optional)" : "") + " | " + argument.shape + " | " + argument.doc + " |\n";
  text += "\n## Machines\n\n| variant | build | needs |\n|---|---|---|\n";
  for (const CardVariant &variant : variants)
    for (const manifest::Build &build : variant.builds)
      text += "| `" + variant.name + "` | `" + build.arch + "` | " + needs(build) + " |\n";
  if (std::any_of(variants.begin(), variants.end(), [](const CardVariant &one) { return one.name.find("-rocm") != std::string::npos; }))
    text += std::string("\nBuilds for AMD GPUs are ") + how_amd_builds_are_tested + ".\n";
  text += "\n## Hosts\n\n| host | version | classes |\n|---|---|---|\n";
  for (const HostBinding &binding : bindings) {
    std::string classes;
    for (const manifest::HostClass &one : binding.classes) classes += (classes.empty() ? "`" : ", `") + one.name + "`";
    text += "| " + binding.title + " | " + binding.package + " " +
            (binding.version.empty() ? binding.commit.substr(0, 8) : binding.version) + " | " + classes + " |\n";
  }
  Card card;
  if (const Measured measured(layer_readme, card); !measured.text().empty()) text += "\n## Measured\n\n" + measured.text();
  card.text = text + "\nEvery variant is signed: `lamina verify` explains each step of the check.\n";
  return card;
}

}  // namespace lamina::packager
