#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <cstring>

#include "manifest/formula.h"
#include "manifest/host_binding.h"
#include "manifest/json.h"
#include "manifest/tests/support.h"

using namespace lamina;
using namespace lamina::manifest;
using test::error_of;
using test::has;

namespace {

// A small layer: y = x W' + bias, with W and bias in whatever arrangement a host has.
const char *contract_text = R"({
  "schema": "lamina/contract/1", "layer": "toy", "version": "1.0.0", "title": "t", "maths": ["m"], "sources": ["s"],
  "dims": {"B": "batch", "C": "in", "H": "out"},
  "attributes": [{"name": "mode", "kind": "string", "default": "plain", "values": ["plain", "swapped"], "doc": "d"},
                 {"name": "eps", "kind": "float", "default": 1e-5, "minimum": 0, "maximum": 1, "doc": "d"}],
  "arguments": [{"name": "x", "shape": "B C", "dtype": "activation"},
                {"name": "a", "shape": "H C", "dtype": "same:x", "role": "param"},
                {"name": "b", "shape": "H C", "dtype": "same:x", "role": "param"},
                {"name": "bias", "shape": "H", "dtype": "same:x", "role": "param", "optional": true},
                {"name": "out", "shape": "B H", "dtype": "same:x", "role": "output"}],
  "ops": [{"name": "forward", "kind": "forward", "arguments": ["x", "@params", "out"], "doc": "d"}],
  "tolerances": {"derivation": "d", "frobenius": {"float64": 0, "float32": 0, "float16": 0, "bfloat16": 0},
    "worst_row": {"float64": 0, "float32": 0, "float16": 0, "bfloat16": 0}, "worst_element": {"float64": 0, "float32": 0, "float16": 0, "bfloat16": 0}}
})";

// [a; b] stacked, bias optional.
const char *host_text = R"({
  "schema": "lamina/host/1", "host": "toyhost", "layer": "toy", "title": "t", "source": {"package": "toyhost", "version": "1.2.3"},
  "module": "toyhost.layers", "kind": "torch_module",
  "classes": [{"name": "Plain", "members": ["plain_out"], "attributes": {"mode": "plain"}}, {"name": "Swapped", "members": ["swapped_out"], "attributes": {"mode": "swapped"}}],
  "attributes": {"eps": {"value": 1e-6, "module": "norm.eps"}},
  "dims": {"C": {"parameter": "w", "axis": 1}, "H": {"parameter": "w", "axis": 0, "divide": 2}},
  "parameters": {"w": {"shape": ["2*H", "C"]}, "bias": {"shape": ["H"], "optional": true}},
  "arguments": {"a": {"parameter": "w", "slice": {"axis": 0, "start": "0", "stop": "H"}}, "b": {"parameter": "w", "slice": {"axis": 0, "start": "H", "stop": "2*H"}},
                "bias": {"parameter": "bias"}},
  "forward": {"parameters": [{"name": "x", "feeds": "x", "layout": "* C"}], "returns": "Tensor", "residual": "outside", "dropout": "none"}
})";

const Contract &contract() {
  static const Contract parsed = parse_contract(contract_text, "toy contract");
  return parsed;
}
Json host() { return parse_json(host_text, "toyhost.json"); }
HostBinding binding(const Json &json) { return host_binding_of(json, contract(), "toyhost.json"); }

// Float tensors with the values 0, 1, 2 ... each.
struct Checkpoint {
  test::Folder folder;
  std::map<std::string, std::vector<float>> values;
  std::map<std::string, TensorView> tensors;
  void add(const std::string &name, std::vector<int64_t> shape, float first = 0) {
    TensorView view{nullptr, *dtype_named("float32"), shape, row_major_strides(shape)};
    std::vector<float> &own = values[name];
    for (int64_t i = 0; i < view.elements(); ++i) own.push_back(first + static_cast<float>(i));
    view.data = reinterpret_cast<const unsigned char *>(own.data());
    tensors[name] = view;
  }
  std::shared_ptr<const SafetensorsFile> open() {
    write_safetensors(folder / "w.safetensors", tensors);
    return SafetensorsFile::open(folder / "w.safetensors");
  }
};

std::vector<float> floats(const BoundCheckpoint &bound, const char *name) {
  const std::vector<unsigned char> bytes = copy_contiguous(bound.argument(name)->view);
  std::vector<float> values(bytes.size() / 4);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

BoundCheckpoint bound(const Json &json, Checkpoint &checkpoint, const BindOptions &options) {
  return bind_checkpoint(binding(json), contract(), checkpoint.open(), options);
}

std::string refused(Json json) {
  return error_of(ErrorKind::malformed, [&] { binding(json); });
}

}  // namespace

TEST_CASE("formulas") {
  const std::map<std::string, int64_t> dims = {{"C", 12}, {"H", 8}};
  for (const auto &[text, value] : std::map<std::string, int64_t>{{"0", 0},
                                                                  {"C", 12},
                                                                  {"2*H", 16},
                                                                  {"C+H*2", 28},
                                                                  {"(C + H) / 4", 5},
                                                                  {"C-H-1", 3},
                                                                  {" 3 * ( 1+1 ) ", 6},
                                                                  {"C/2/3", 2},
                                                                  {"H-C", -4}})
    CHECK_MESSAGE(evaluate(text, dims) == value, text);
  for (const char *bad : {"", "c", "2C", "C H", "(C", "C)", "+", "C+", "C**2", "1.5", "-C", "C%2", "99999999999999999999"})
    CHECK_MESSAGE(has(error_of(ErrorKind::malformed, [&] { evaluate(bad, dims); }), "no formula"), bad);
  for (const char *bad : {"C/5", "C/0", "Z", "1000000000000*1000000000000", "C/(H-8)"})
    error_of(ErrorKind::invalid_argument, [&] { evaluate(bad, dims); });
  error_of(ErrorKind::malformed, [&] { evaluate(std::string(50, '(') + "C" + std::string(50, ')'), dims); });
  CHECK(dims_of("2*(H+C)/H") == std::vector<std::string>{"H", "C"});
}

TEST_CASE("slices are views into the file; optional parameters may be absent") {
  Checkpoint checkpoint;
  checkpoint.add("blocks.0.plain_out.w", {4, 3});
  const auto file = checkpoint.open();
  const HostBinding parsed = binding(host());
  const BoundCheckpoint bound = bind_checkpoint(parsed, contract(), file, {.prefix = "blocks.0.plain_out"});
  CHECK(floats(bound, "a") == std::vector<float>{0, 1, 2, 3, 4, 5});
  CHECK(floats(bound, "b") == std::vector<float>{6, 7, 8, 9, 10, 11});
  CHECK(bound.argument("a")->view.data == file->find("blocks.0.plain_out.w")->data);
  CHECK(bound.argument("b")->owned == nullptr);
  CHECK(!bound.argument("bias")->present);
  CHECK(bound.dims == std::map<std::string, int64_t>{{"C", 3}, {"H", 2}});
  REQUIRE(bound.attributes.size() == 2);
  CHECK(bound.attributes[0].value == AttributeValue(1e-6));
  CHECK(bound.attributes[1].value == AttributeValue("plain"));
  CHECK(bound.arguments.size() == contract().params().size());
}

TEST_CASE("the class comes from the prefix, or by name") {
  Checkpoint checkpoint;
  for (const char *prefix : {"m.plain_out", "m.swapped_out", "m.other"}) checkpoint.add(std::string(prefix) + ".w", {4, 3});
  const auto mode = [&](const BindOptions &options) {
    return std::get<std::string>(bound(host(), checkpoint, options).attributes[1].value);
  };
  CHECK(mode({.prefix = "m.plain_out"}) == "plain");
  CHECK(mode({.prefix = "m.swapped_out."}) == "swapped");
  CHECK(mode({.class_name = "Swapped", .prefix = "m.plain_out"}) == "swapped");
  CHECK(has(error_of(ErrorKind::not_found, [&] { mode({.prefix = "m.other"}); }), "choose one of Plain Swapped"));
  CHECK(has(error_of(ErrorKind::not_found, [&] { mode({.class_name = "Ghost", .prefix = "m.other"}); }),
            "no class Ghost; it has Plain Swapped"));
}

TEST_CASE("interleaved, transposed, selected") {
  Checkpoint checkpoint;
  Json json = host();
  // [C, 2H] with columns a0 b0 a1 b1: [in, out], interleaved.
  json["dims"] = {{"C", {{"parameter", "w"}, {"axis", 0}}}, {"H", {{"parameter", "w"}, {"axis", 1}, {"divide", 2}}}};
  json["parameters"]["w"]["shape"] = {"C", "2*H"};
  for (const auto &[name, offset] : std::map<std::string, std::string>{{"a", "0"}, {"b", "1"}})
    json["arguments"][name] = {{"parameter", "w"}, {"interleave", {{"axis", 1}, {"offset", offset}, {"step", "2"}}}, {"transpose", true}};
  checkpoint.add("plain_out.w", {3, 4});  // 0 1 2 3 / 4 5 6 7 / 8 9 10 11
  BoundCheckpoint result = bound(json, checkpoint, {.prefix = "plain_out"});
  CHECK(floats(result, "a") == std::vector<float>{0, 4, 8, 2, 6, 10});
  CHECK(floats(result, "b") == std::vector<float>{1, 5, 9, 3, 7, 11});
  CHECK(result.argument("a")->view.strides == std::vector<int64_t>{2, 4});
  // [C, 2, H]
  json["dims"]["H"] = {{"parameter", "w"}, {"axis", 2}};
  json["parameters"]["w"]["shape"] = {"C", "2", "H"};
  for (const auto &[name, at] : std::map<std::string, std::string>{{"a", "0"}, {"b", "1"}})
    json["arguments"][name] = {{"parameter", "w"}, {"select", {{"axis", 1}, {"at", at}}}, {"transpose", true}};
  checkpoint.tensors.clear(), checkpoint.values.clear();
  checkpoint.add("plain_out.w", {3, 2, 2});
  result = bound(json, checkpoint, {.prefix = "plain_out"});
  CHECK(floats(result, "a") == std::vector<float>{0, 4, 8, 1, 5, 9});
  CHECK(floats(result, "b") == std::vector<float>{2, 6, 10, 3, 7, 11});
}

TEST_CASE("concatenation copies, along any axis") {
  Checkpoint checkpoint;
  Json json = host();
  json["dims"] = {{"C", {{"parameter", "left"}, {"axis", 1}, {"divide", 1}}}, {"H", {{"parameter", "left"}, {"axis", 0}}}};
  json["dims"]["C"] = "2*D";
  json["dims"]["D"] = {{"parameter", "left"}, {"axis", 1}};
  json["parameters"] = {{"left", {{"shape", {"H", "D"}}}}, {"right", {{"shape", {"H", "D"}}}}, {"bias", {{"shape", {"H"}}}}};
  const Json sides = {{{"parameter", "left"}}, {{"parameter", "right"}}};
  json["arguments"]["a"] = {{"concatenate", sides}, {"axis", 1}};
  json["arguments"]["b"] = {{"concatenate", {sides[1], sides[0]}}, {"axis", 1}};
  checkpoint.add("plain_out.left", {2, 2}), checkpoint.add("plain_out.right", {2, 2}, 10), checkpoint.add("plain_out.bias", {2});
  const BoundCheckpoint result = bound(json, checkpoint, {.prefix = "plain_out"});
  CHECK(floats(result, "a") == std::vector<float>{0, 1, 10, 11, 2, 3, 12, 13});
  CHECK(floats(result, "b") == std::vector<float>{10, 11, 0, 1, 12, 13, 2, 3});
  CHECK(result.argument("a")->owned != nullptr);
  CHECK(result.dims.at("C") == 4);
}

TEST_CASE("a leading layer axis") {
  Checkpoint checkpoint;
  Json json = host();
  json["separator"] = "/";
  json["stacked_layers"] = true;
  checkpoint.add("stack/plain_out/w", {3, 4, 3});
  checkpoint.add("stack/plain_out/bias", {3, 2});
  BoundCheckpoint result = bound(json, checkpoint, {.prefix = "stack/plain_out", .layer_index = 2});
  CHECK(floats(result, "a") == std::vector<float>{24, 25, 26, 27, 28, 29});
  CHECK(floats(result, "bias") == std::vector<float>{4, 5});
  CHECK(has(error_of(ErrorKind::invalid_argument, [&] { bound(json, checkpoint, {.prefix = "stack/plain_out"}); }),
            "stacks 3 layers; give a layer index"));
  for (const int64_t index : {-1, 3})
    CHECK(has(error_of(ErrorKind::invalid_argument, [&] { bound(json, checkpoint, {.prefix = "stack/plain_out", .layer_index = index}); }),
              "stacks 3 layers"));
  // Not stacked: works without an index, refuses one.
  Checkpoint flat;
  flat.add("plain_out/w", {4, 3});
  CHECK(floats(bound(json, flat, {.prefix = "plain_out"}), "a").size() == 6);
  CHECK(has(error_of(ErrorKind::invalid_argument, [&] { bound(json, flat, {.prefix = "plain_out", .layer_index = 0}); }), "not stacked"));
  Checkpoint dotted;
  dotted.add("plain_out.w", {4, 3});
  CHECK(has(error_of(ErrorKind::invalid_argument, [&] { bound(host(), dotted, {.prefix = "plain_out", .layer_index = 0}); }),
            "does not stack"));
}

TEST_CASE("missing parameters: which, what was found, where they are") {
  Checkpoint checkpoint;
  checkpoint.add("blocks.0.plain_out.w", {4, 3});
  checkpoint.add("blocks.1.plain_out.bias", {2});
  const auto missing = [&](const std::string &prefix) {
    return error_of(ErrorKind::not_found, [&] { bound(host(), checkpoint, {.class_name = "Plain", .prefix = prefix}); });
  };
  const std::string sentence = missing("blocks.1.plain_out");
  CHECK(has(sentence, "missing below 'blocks.1.plain_out' in"));
  CHECK(has(sentence, ": w; found there: bias; prefixes that hold all of them: 'blocks.0.plain_out'"));
  CHECK(has(missing("nowhere"), "found there: nothing"));
  CHECK(has(missing(""), "the root of"));
  CHECK(has(missing("blocks.0.plain_ou"), "nothing"));
}

TEST_CASE("tensors this host does not have are no silence") {
  Checkpoint checkpoint;
  checkpoint.add("plain_out.w", {4, 3});
  checkpoint.add("plain_out.gate", {2});
  CHECK(has(error_of(ErrorKind::malformed, [&] { bound(host(), checkpoint, {.prefix = "plain_out"}); }),
            "does not have: gate; is it another host"));
  Checkpoint root;  // the root may hold anything else
  root.add("w", {4, 3});
  root.add("other.weight", {1});
  CHECK(bound(host(), root, {.class_name = "Plain"}).argument("a")->present);
}

TEST_CASE("wrong shapes and dtypes name tensor, found and expected") {
  Checkpoint checkpoint;
  checkpoint.add("plain_out.w", {4, 3});
  checkpoint.add("plain_out.bias", {3});
  const std::string sentence = error_of(ErrorKind::malformed, [&] { bound(host(), checkpoint, {.prefix = "plain_out"}); });
  CHECK(has(sentence, "tensor 'plain_out.bias'"));
  CHECK(has(sentence, "has shape [3]; expected [H] = [2] with C = 3, H = 2"));
  Checkpoint odd;
  odd.add("plain_out.w", {5, 3});
  CHECK(has(error_of(ErrorKind::malformed, [&] { bound(host(), odd, {.prefix = "plain_out"}); }), "axis 0 must divide by 2"));
  Checkpoint rank;
  rank.add("plain_out.w", {4, 3, 1});
  CHECK(has(error_of(ErrorKind::malformed, [&] { bound(host(), rank, {.prefix = "plain_out"}); }), "[4, 3, 1]; expected [2*H, C]"));
  Checkpoint whole;
  whole.add("plain_out.w", {4, 3});
  whole.tensors["plain_out.w"].dtype = *dtype_named("int32");
  CHECK(has(error_of(ErrorKind::malformed, [&] { bound(host(), whole, {.prefix = "plain_out"}); }), "dtype int32"));
}

TEST_CASE("bindings that do not fit the contract are refused without a checkpoint") {
  const auto with = [](auto change) {
    Json json = host();
    change(json);
    return refused(json);
  };
  CHECK(has(with([](Json &json) { json["arguments"].erase("b"); }), "nothing feeds b"));
  CHECK(has(with([](Json &json) { json["arguments"].erase("bias"); }), "bias feeds no argument"));
  CHECK(has(with([](Json &json) { json["arguments"]["ghost"] = json["arguments"]["a"]; }), "ghost"));
  CHECK(has(with([](Json &json) { json["arguments"]["x"] = json["arguments"]["a"]; }), "no parameter of the layer"));
  CHECK(has(with([](Json &json) { json["arguments"]["a"]["parameter"] = "ghost"; }), "does not declare"));
  CHECK(has(with([](Json &json) { json["arguments"]["a"]["slice"]["stop"] = "2*H"; }), "comes out as"));
  CHECK(has(with([](Json &json) { json["arguments"]["a"]["transpose"] = true; }), "comes out as"));
  CHECK(has(with([](Json &json) { json["arguments"]["a"]["slice"]["stop"] = "3*H"; }), "outside"));
  CHECK(has(with([](Json &json) { json["arguments"]["a"]["slice"]["axis"] = 2; }), "axis 2"));
  CHECK(has(with([](Json &json) { json["parameters"]["w"]["shape"] = {"H", "C"}; }), "contradicts"));
  CHECK(has(with([](Json &json) { json["parameters"]["w"]["optional"] = true; }), "optional"));
  CHECK(has(with([](Json &json) { json["parameters"]["w"]["shape"] = {"2*Z", "C"}; }), "Z"));
  CHECK(has(with([](Json &json) {
              json["dims"]["Z"] = "Y";
              json["dims"]["Y"] = "Z";
            }),
            "depends on dims"));
  CHECK(has(with([](Json &json) { json["layer"] = "other"; }), "layer is other"));
  CHECK(has(with([](Json &json) { json["classes"][0]["attributes"]["mode"] = "ghost"; }), "plain swapped"));
  CHECK(has(with([](Json &json) { json["attributes"]["ghost"] = 1; }), "ghost"));
  CHECK(has(with([](Json &json) { json["classes"][1]["name"] = "Plain"; }), "two classes"));
  CHECK(has(with([](Json &json) { json["classes"][1]["class"] = "Plain"; }), "tell them apart"));
  CHECK(has(with([](Json &json) { json["forward"]["parameters"][0]["layout"] = "N C"; }), "does not fit"));
  CHECK(has(with([](Json &json) { json["forward"]["parameters"][0]["feeds"] = "out"; }), "no input out"));
  CHECK(has(with([](Json &json) { json["forward"]["parameters"] = Json::array(); }), "no forward parameter feeds x"));
  CHECK(has(with([](Json &json) { json["forward"]["parameters"][0]["ignored"] = "and fed"; }), "schema"));
  CHECK(has(with([](Json &json) { json["attributes"]["eps"]["forward"] = "epsilon"; }), "epsilon"));
  CHECK(has(with([](Json &json) { json["source"].erase("version"); }), "schema"));
  CHECK(has(with([](Json &json) { json["colour"] = 1; }), "colour"));
  CHECK(has(with([](Json &json) { json["arguments"]["a"]["sliced"] = 1; }), "schema"));
}

TEST_CASE("boltz names give the views its modules mean") {
  const Contract triangle = contract_of(read_json("layers/triangle_multiplication/contract.json"), "contract.json");
  const HostBinding boltz = host_binding_of(read_json("layers/triangle_multiplication/hosts/boltz.json"), triangle, "boltz.json");
  Checkpoint checkpoint;
  const std::string prefix = "trunk.blocks.0.tri_mul_in";
  float first = 0;
  for (const auto &[name, shape] : std::map<std::string, std::vector<int64_t>>{{"norm_in.weight", {8}},
                                                                               {"norm_in.bias", {8}},
                                                                               {"p_in.weight", {16, 8}},
                                                                               {"g_in.weight", {16, 8}},
                                                                               {"norm_out.weight", {8}},
                                                                               {"norm_out.bias", {8}},
                                                                               {"p_out.weight", {8, 8}},
                                                                               {"g_out.weight", {8, 8}}})
    checkpoint.add(prefix + "." + name, shape, first += 1000);
  const auto file = checkpoint.open();
  const BoundCheckpoint bound = bind_checkpoint(boltz, triangle, file, {.prefix = prefix});
  CHECK(bound.dims == std::map<std::string, int64_t>{{"C", 8}, {"G", 8}, {"H", 8}});
  CHECK(floats(bound, "b_gate_weight").front() == checkpoint.values[prefix + ".g_in.weight"][64]);
  CHECK(floats(bound, "a_projection_weight").back() == checkpoint.values[prefix + ".p_in.weight"][63]);
  CHECK(!bound.argument("out_gate_bias")->present);
  bool incoming = false;
  for (const BoundAttribute &attribute : bound.attributes)
    incoming = incoming || (attribute.name == "direction" && attribute.value == AttributeValue("incoming"));
  CHECK(incoming);
}
