// A check: every JSON file of layers/ that a schema covers follows it, and fits its contract.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <regex>
#include <set>

#include "manifest/contract.h"
#include "manifest/host_binding.h"
#include "manifest/json.h"
#include "manifest/host_source.h"
#include "manifest/schema.h"
#include "manifest/tests/support.h"

using namespace lamina;
using namespace lamina::manifest;

namespace {

// A checkpoint in the host's own names, below `prefix`, with a small made-up extent for each dim.
std::map<std::string, std::vector<float>> made_up(const HostBinding &binding, const std::string &prefix,
                                                  std::map<std::string, TensorView> &tensors) {
  std::map<std::string, int64_t> dims;
  int64_t next = 8;
  for (const auto &[letter, rule] : binding.dims)
    if (!rule.parameter.empty()) dims[letter] = next, next += 8;
  complete_dims(binding.dims, dims);
  std::map<std::string, std::vector<float>> values;
  for (const HostParameter &parameter : binding.parameters) {
    const std::vector<int64_t> shape = extents(parameter.shape, dims);
    TensorView view{nullptr, *dtype_named("float32"), shape, row_major_strides(shape)};
    std::vector<float> &own = values[binding.full_name(prefix, parameter.name)];
    own.resize(static_cast<size_t>(view.elements()));
    view.data = reinterpret_cast<const unsigned char *>(own.data());
    tensors[binding.full_name(prefix, parameter.name)] = view;
  }
  return values;
}

// Every element of every parameter must feed exactly one element of one argument: a slice taken twice leaves another untaken.
void check_each_element_is_used_once(const BoundCheckpoint &bound) {
  std::map<const unsigned char *, int> uses;
  for (const BoundArgument &argument : bound.arguments) {
    if (!argument.present) continue;
    REQUIRE(argument.owned == nullptr);
    std::vector<const unsigned char *> elements{argument.view.data};
    for (size_t axis = 0; axis < argument.view.shape.size(); ++axis) {
      std::vector<const unsigned char *> more;
      for (const unsigned char *element : elements)
        for (int64_t i = 0; i < argument.view.shape[axis]; ++i) more.push_back(element + 4 * i * argument.view.strides[axis]);
      elements = std::move(more);
    }
    for (const unsigned char *element : elements) ++uses[element];
  }
  for (const auto &[name, view] : bound.file->tensors())
    for (int64_t i = 0; i < view.elements(); ++i)
      if (uses[view.data + 4 * i] != 1) {
        FAIL_CHECK("element " << i << " of " << name << " is used " << uses[view.data + 4 * i] << " times");
        break;
      }
}

}  // namespace

TEST_CASE("every class of every host binds a checkpoint in its own names") {
  int classes = 0;
  for (const auto &folder : std::filesystem::directory_iterator("layers")) {
    if (!std::filesystem::exists(folder.path() / "hosts")) continue;
    const Contract contract = parse_contract(test::read(folder.path() / "contract.json"), "contract.json");
    for (const auto &file : std::filesystem::directory_iterator(folder.path() / "hosts")) {
      const HostBinding binding = parse_host_binding(test::read(file.path()), contract, file.path().string());
      for (const HostClass &host_class : binding.classes) {
        INFO(binding.host << " " << host_class.name);
        const std::string prefix = binding.full_name("blocks", host_class.members.empty() ? "module" : host_class.members[0]);
        test::Folder scratch;
        std::map<std::string, TensorView> tensors;
        const auto values = made_up(binding, prefix, tensors);
        write_safetensors(scratch / "w", tensors);
        const auto checkpoint = SafetensorsFile::open(scratch / "w");
        // Where a member's name tells the class, it must tell this one.
        const std::string told = host_class.members.empty() ? host_class.name : "";
        const BoundCheckpoint bound = bind_checkpoint(binding, contract, checkpoint, {.class_name = told, .prefix = prefix});
        if (told.empty()) CHECK(binding.class_of_prefix(prefix) == &host_class);
        check_each_element_is_used_once(bound);
        std::set<std::string> fixed;
        for (const BoundAttribute &attribute : bound.attributes) fixed.insert(attribute.name);
        CHECK(fixed.size() == bound.attributes.size());
        ++classes;
      }
    }
  }
  CHECK(classes > 0);
}

TEST_CASE("contracts, host bindings and cases of every layer") {
  int layers = 0;
  for (const auto &folder : std::filesystem::directory_iterator("layers")) {
    const std::filesystem::path contract_path = folder.path() / "contract.json";
    if (!std::filesystem::exists(contract_path)) continue;
    ++layers;
    const std::string layer = folder.path().filename();
    INFO(layer);
    Contract contract;
    REQUIRE_NOTHROW(contract = parse_contract(test::read(contract_path), contract_path.string()));
    CHECK(contract.layer == layer);
    if (std::filesystem::exists(folder.path() / "hosts"))
      for (const auto &file : std::filesystem::directory_iterator(folder.path() / "hosts")) {
        INFO(file.path().string());
        REQUIRE(file.path().extension() == ".json");
        HostBinding binding;
        CHECK_NOTHROW(binding = parse_host_binding(test::read(file.path()), contract, file.path().string()));
        CHECK(binding.host == file.path().stem());
      }
    if (!std::filesystem::exists(folder.path() / "cases.json")) continue;
    Json cases;
    CHECK_NOTHROW(validate(cases = read_json(folder.path() / "cases.json"), "cases", (folder.path() / "cases.json").string()));
    CHECK(cases.value("layer", "") == layer);
  }
  CHECK(layers > 0);
}

TEST_CASE("the template of new layers is a contract") {
  const std::string text = std::regex_replace(test::read("layers/template/contract.json.in"), std::regex("@NAME@"), "new_layer");
  CHECK(parse_contract(text, "template").layer == "new_layer");
}
