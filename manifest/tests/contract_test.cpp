#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "manifest/contract.h"

#include "manifest/json.h"
#include "manifest/schema.h"
#include "manifest/tests/support.h"

using namespace lamina;
using namespace lamina::manifest;
using test::error_of;
using test::has;

namespace {

Json triangle() { return read_json("layers/triangle_multiplication/contract.json"); }

std::string refused(const Json &json) {
  return error_of(ErrorKind::malformed, [&] { contract_of(json, "contract.json"); });
}

Json &argument(Json &json, const std::string &name) {
  for (Json &one : json["arguments"])
    if (one["name"] == name) return one;
  FAIL("no argument " << name);
  return json;
}

}  // namespace

TEST_CASE("the contract of triangle multiplication") {
  const Contract contract = contract_of(triangle(), "contract.json");
  CHECK(contract.layer == "triangle_multiplication");
  CHECK(contract.major() == 1);
  REQUIRE(contract.argument("pair") != nullptr);
  CHECK(contract.argument("pair")->dims == std::vector<std::string>{"B", "N", "N", "C"});
  CHECK(contract.argument("pair")->role == Role::input);
  CHECK(contract.argument("packed")->align == 64);
  CHECK(contract.argument("out")->may_alias == std::vector<std::string>{"pair", "residual"});
  CHECK(contract.argument("none") == nullptr);
  const std::vector<const ContractArgument *> params = contract.params();
  CHECK(params.front()->name == "norm_in_weight");
  // "@params" stands for all of them, in place.
  const ContractOp &forward = *contract.op("forward");
  CHECK(forward.arguments.size() == 5 + params.size() + 2);
  CHECK(forward.arguments[5] == "norm_in_weight");
  CHECK(forward.arguments.back() == "out");
  CHECK(!contract.attribute("dtype")->applies_to("forward"));
  CHECK(contract.attribute("dtype")->applies_to("pack"));
  CHECK(contract.attribute("eps")->applies_to("forward"));
  CHECK(contract.tolerances.frobenius.at("bfloat16") == 5.0e-3);
  CHECK(contract.tolerances.compute.at("tf32").worst_row == 1.5e-3);
}

TEST_CASE("arithmetic of a call") {
  const Contract contract = contract_of(triangle(), "contract.json");
  // 10 B N N C H + 2 B N N C G + 2 B N N N H with B=1, N=3, C=8, H=16, G=8.
  CHECK(contract.flops("forward", {{"B", 1}, {"N", 3}, {"C", 8}, {"H", 16}, {"G", 8}}) == 10 * 9 * 8 * 16 + 2 * 9 * 8 * 8 + 2 * 27 * 16);
  CHECK(contract.flops("pack", {}) == 0);
  CHECK(has(error_of(ErrorKind::invalid_argument, [&] { contract.flops("forward", {{"B", 1}}); }), "needs dim"));
}

TEST_CASE("attribute values are checked against the contract") {
  const Contract contract = contract_of(triangle(), "contract.json");
  const auto refused_value = [&](const char *name, const AttributeValue &value) {
    return error_of(ErrorKind::invalid_argument, [&] { contract.checked_attribute(name, value); });
  };
  CHECK(contract.checked_attribute("direction", AttributeValue("incoming")) == AttributeValue("incoming"));
  CHECK(has(refused_value("direction", "sideways"), "outgoing incoming"));
  CHECK(has(refused_value("dierction", "incoming"), "it takes: direction"));
  CHECK(contract.checked_attribute("eps", int64_t{1}) == AttributeValue(1.0));
  refused_value("eps", 1.5);
  refused_value("eps", "1e-5");
  refused_value("direction", 1.0);
  CHECK(contract.checked_attribute_text("eps", "1e-6") == AttributeValue(1e-6));
  CHECK(contract.checked_attribute_text("direction", "outgoing") == AttributeValue("outgoing"));
  error_of(ErrorKind::invalid_argument, [&] { contract.checked_attribute_text("eps", "1e-6x"); });
  error_of(ErrorKind::invalid_argument, [&] { contract.checked_attribute_text("eps", "nan"); });
  CHECK(text_of(AttributeValue(1e-5)) == "1e-05");
}

TEST_CASE("what a schema sees") {
  Json json = triangle();
  json["colour"] = "red";
  CHECK(has(refused(json), "colour"));
  json = triangle();
  json.erase("tolerances");
  CHECK(has(refused(json), "tolerances"));
  json = triangle();
  argument(json, "pair")["shape"] = "B N n";
  CHECK(has(refused(json), "shape"));
  json = triangle();
  json["version"] = "1.0";
  CHECK(has(refused(json), "version"));
  json = triangle();
  json["tolerances"]["frobenius"].erase("float16");
  refused(json);
  refused(Json::array());
  refused(Json("text"));
}

TEST_CASE("what a schema cannot see") {
  const auto with = [](auto change) {
    Json json = triangle();
    change(json);
    return refused(json);
  };
  CHECK(has(with([](Json &json) { json["ops"][0]["arguments"].push_back("ghost"); }), "unknown argument ghost"));
  CHECK(has(with([](Json &json) { json["ops"][0]["arguments"].push_back("pair"); }), "twice"));
  CHECK(has(with([](Json &json) { argument(json, "out")["dtype"] = "same:ghost"; }), "ghost"));
  CHECK(has(with([](Json &json) { argument(json, "out")["may_alias"].push_back("ghost"); }), "ghost"));
  CHECK(has(with([](Json &json) { json["arguments"].push_back(json["arguments"][0]); }), "two arguments are called pair"));
  CHECK(has(with([](Json &json) { argument(json, "pair")["shape"] = "B N N Z"; }), "explain Z"));
  CHECK(has(with([](Json &json) { json["attributes"][0]["default"] = "ghost"; }), "none of its values"));
  CHECK(has(with([](Json &json) { json["attributes"][0].erase("values"); }), "direction"));
  CHECK(has(with([](Json &json) { json["attributes"][0]["ops"] = {"ghost"}; }), "unknown op ghost"));
  CHECK(has(with([](Json &json) { json["flops"]["ghost"] = {{"B", 1}}; }), "unknown op ghost"));
  CHECK(has(with([](Json &json) { json["flops"]["forward"]["BZ"] = 1; }), "explain Z"));
  CHECK(has(with([](Json &json) { json["tolerances"].erase("gradient"); }), "op backward needs the limits tolerances.gradient"));
  CHECK(has(with([](Json &json) { json["tolerances"]["gradient"].erase("worst_row"); }), "schema"));
  CHECK(has(with([](Json &json) { json["tolerances"]["compute"]["int8"] = json["tolerances"]["compute"]["tf32"]; }), "int8"));
}

TEST_CASE("schemas are embedded") {
  for (const char *name : {"bundle", "cases", "contract", "host", "manifest", "metadata", "trust"})
    CHECK(schema_text(name) == test::read(std::string("manifest/schemas/") + name + ".schema.json"));
  CHECK(schema_names().size() == 7);
  error_of(ErrorKind::not_found, [] { validate(Json::object(), "ghost", "x"); });
}

TEST_CASE("trust and foreign metadata") {
  const std::string key = "RW" + std::string(54, 'A');
  const Json good = {{"schema", "lamina/trust/1"}, {"organizations", {{"org", {{"keys", {key}}}}}}};
  validate(good, "trust", "trust.json");
  Json bad = good;
  bad["organizations"]["org"]["keys"] = {"RWshort"};
  error_of(ErrorKind::malformed, [&] { validate(bad, "trust", "trust.json"); });
  bad = good;
  bad["organizations"]["../x"] = bad["organizations"]["org"];
  error_of(ErrorKind::malformed, [&] { validate(bad, "trust", "trust.json"); });
  // What others write may hold more than we know.
  const Json metadata = {{"name", "toy"},
                         {"id", "_toy_cpu_1"},
                         {"version", 1},
                         {"license", "MIT"},
                         {"python-depends", Json::array()},
                         {"backend", {{"type", "cpu"}, {"new", 1}}},
                         {"new", 2}};
  validate(metadata, "metadata", "metadata.json");
}
