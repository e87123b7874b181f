// A check: every JSON file of layers/ that a schema covers follows it, and fits its contract.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <regex>

#include "manifest/contract.h"
#include "manifest/host_binding.h"
#include "manifest/json.h"
#include "manifest/schema.h"
#include "manifest/tests/support.h"

using namespace lamina;
using namespace lamina::manifest;

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
