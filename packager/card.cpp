#include "packager/card.h"

#include "manifest/host_binding.h"

namespace lamina::packager {

std::string hub_card(const manifest::Contract &contract, const std::string &repository, const std::map<std::string, std::string> &hosts,
                     const std::vector<std::string> &variants) {
  const std::string major = std::to_string(contract.major());
  std::string text = "---\nlibrary_name: kernels\nlicense: apache-2.0\ntags:\n- kernel\n- lamina\n---\n\n# " + repository + "\n\n" +
                     contract.title + ", version " + contract.version +
                     ". A Lamina plug-in: one shared object per machine behind a small C header, no torch inside.\n";
  text += "\n## From Python\n\n```python\nfrom kernels import get_kernel\n\nkernel = get_kernel(\"" + repository + "\", version=" + major +
          ")\n```\n\n## Without Python\n\n```\nlamina fetch " + repository + "@v" + major +
          " --explain\n```\n\n## Hosts\n\n| host | version | classes |\n|---|---|---|\n";
  for (const auto &[host, json] : hosts) {
    const manifest::HostBinding binding = manifest::parse_host_binding(json, contract, host);
    std::string classes;
    for (const manifest::HostClass &one : binding.classes) classes += (classes.empty() ? "`" : ", `") + one.name + "`";
    text += "| " + binding.title + " | " +
            (binding.package.empty() ? binding.repository + " " + binding.commit.substr(0, 8) : binding.package + " " + binding.version) +
            " | " + classes + " |\n";
  }
  text += "\n## Variants\n\n";
  for (const std::string &variant : variants) text += "- `" + variant + "`\n";
  return text + "\nEvery variant is signed: `lamina verify` explains each step of the check.\n";
}

}  // namespace lamina::packager
