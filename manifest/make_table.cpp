// make_table CONTRACT.json: writes the C++ argument and attribute tables of a layer to standard output.
// Nobody writes these by hand; layer.cpp includes the result as build/gen/<layer>/contract.h.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace {

using Json = nlohmann::json;

[[noreturn]] void refuse(const std::string &what) { throw std::runtime_error(what); }

const char *role_of(const Json &argument) {
  const std::string role = argument.value("role", "input");
  if (role == "input") return "LAMINA_INPUT";
  if (role == "param") return "LAMINA_PARAM";
  if (role == "packed") return "LAMINA_PACKED";
  if (role == "saved") return "LAMINA_SAVED";
  if (role == "output") return "LAMINA_OUTPUT";
  if (role == "inout") return "LAMINA_INOUT";
  refuse("unknown role " + role);
}

std::string flags_of(const Json &argument) {
  std::string flags = argument.value("optional", false) ? "LAMINA_OPTIONAL" : "0";
  const std::string strides = argument.value("strides", "any"), dtype = argument.at("dtype");
  if (strides == "last_contiguous") flags += " | LAMINA_LAST_CONTIGUOUS";
  else if (strides == "broadcast") flags += " | LAMINA_BROADCAST";
  else if (strides != "any") refuse("unknown strides " + strides);
  if (dtype.starts_with("same_or_float32:")) flags += " | LAMINA_OR_FLOAT32";
  return flags;
}

// Which dtypes the table accepts; `activation` is the build's own set, a template parameter of the table.
std::string dtypes_of(const std::string &dtype) {
  if (dtype == "activation" || dtype.starts_with("same:")) return "activation";
  if (dtype.starts_with("same_or_float32:")) return "activation | LAMINA_BIT_FLOAT32";
  if (dtype == "uint8") return "LAMINA_BIT_UINT8";
  if (dtype == "mask")
    return "LAMINA_BIT_FLOAT64 | LAMINA_BIT_FLOAT32 | LAMINA_BIT_FLOAT16 | LAMINA_BIT_BFLOAT16 | LAMINA_BIT_BOOL | LAMINA_BIT_INT8 | "
           "LAMINA_BIT_UINT8 | LAMINA_BIT_INT32 | LAMINA_BIT_INT64";
  refuse("unknown dtype " + dtype);
}

void check_shape(const std::string &name, const std::string &shape) {
  for (size_t i = 0; i < shape.size(); ++i) {
    const bool word = i % 2 == 0;
    if (word ? !(shape[i] >= 'A' && shape[i] <= 'Z') : shape[i] != ' ')
      refuse("shape of " + name + " is '" + shape + "'; expected single capital letters separated by single spaces");
  }
}

struct Contract {
  Json json;
  size_t size;  // of the file
  const Json &argument(const std::string &name) const {
    for (const Json &argument : json.at("arguments"))
      if (argument.at("name") == name) return argument;
    refuse("op names the unknown argument " + name);
  }
  std::vector<std::string> arguments_of(const Json &op) const {
    std::vector<std::string> names;
    for (const std::string name : op.at("arguments")) {
      if (name != "@params") {
        names.push_back(name);
        continue;
      }
      for (const Json &argument : json.at("arguments"))
        if (argument.value("role", "input") == "param") names.push_back(argument.at("name"));
    }
    return names;
  }
  std::vector<Json> attributes_of(const std::string &op) const {
    std::vector<Json> found;
    for (const Json &attribute : json.at("attributes"))
      if (!attribute.contains("ops") || std::find(attribute["ops"].begin(), attribute["ops"].end(), op) != attribute["ops"].end())
        found.push_back(attribute);
    return found;
  }
};

int index_of(const std::vector<std::string> &names, const std::string &name) {
  for (size_t i = 0; i < names.size(); ++i)
    if (names[i] == name) return static_cast<int>(i);
  return -1;
}

void write_attributes(const std::vector<Json> &attributes) {
  printf("enum Attribute : int {");
  for (const Json &attribute : attributes) printf(" %s,", attribute.at("name").get<std::string>().c_str());
  printf(" };\n");
  std::string defaults, rules;
  for (const Json &attribute : attributes) {
    const std::string name = attribute.at("name"), kind = attribute.at("kind");
    if (kind == "string") {
      std::string texts, words;
      for (const std::string value : attribute.at("values")) texts += " \"" + value + "\",", words += " " + value + ",";
      printf("inline constexpr const char *%s_values[] = {%s };\n", name.c_str(), texts.c_str());
      printf("namespace %s_is { enum Value : int {%s }; }\n", name.c_str(), words.c_str());
      defaults += "    {\"" + name + "\", LAMINA_ATTR_STRING, 0, {.s = \"" + attribute.at("default").get<std::string>() + "\"}},\n";
      rules += "    {" + name + "_values, " + std::to_string(attribute["values"].size()) + ", 0, 0},\n";
    } else if (kind == "int" || kind == "float") {
      const bool real = kind == "float";
      defaults += "    {\"" + name + "\", LAMINA_ATTR_" + (real ? "FLOAT" : "INT") + ", 0, {." + (real ? "f" : "i") + " = " +
                  attribute.at("default").dump() + "}},\n";
      rules += "    {nullptr, 0, " + attribute.at("minimum").dump() + ", " + attribute.at("maximum").dump() + "},\n";
    } else {
      refuse("attribute " + name + " has unknown kind " + kind);
    }
  }
  // One row at least: C++ has no empty arrays.  The count says how many are real.
  printf("inline constexpr int attribute_count = %zu;\n", attributes.size());
  printf("inline constexpr lamina_attr attributes[] = {\n%s};\n", attributes.empty() ? "    {}\n" : defaults.c_str());
  printf("inline constexpr plugin::AttributeRule rules[] = {\n%s};\n", attributes.empty() ? "    {}\n" : rules.c_str());
}

void write_op(const Contract &contract, const Json &op) {
  const std::string name = op.at("name");
  const std::vector<std::string> names = contract.arguments_of(op);
  printf("\nnamespace %s {\nenum Argument : int {", name.c_str());
  for (const std::string &argument : names) printf(" %s,", argument.c_str());
  printf(" };\n");
  write_attributes(contract.attributes_of(name));
  printf("// `activation`: dtypes of the activation tensors that the build computes, LAMINA_BIT_*.\n");
  printf("template <uint64_t activation>\ninline constexpr lamina_arg arguments[] = {\n");
  for (const std::string &argument_name : names) {
    const Json &argument = contract.argument(argument_name);
    const std::string shape = argument.at("shape"), dtype = argument.at("dtype");
    check_shape(argument_name, shape);
    const size_t colon = dtype.find(':');
    const int dtype_of = colon == std::string::npos ? -1 : index_of(names, dtype.substr(colon + 1));
    std::string alias = "0";
    if (argument.contains("may_alias"))
      for (const std::string other : argument["may_alias"])
        if (const int i = index_of(names, other); i >= 0) alias += " | UINT64_C(1) << " + std::to_string(i);
    printf("    {\"%s\", \"%s\", %s, %s, %s, %s, %d, %d},\n", argument_name.c_str(), shape.c_str(), role_of(argument),
           flags_of(argument).c_str(), alias.c_str(), dtypes_of(dtype).c_str(), dtype_of, argument.value("align", 0));
  }
  printf("};\n}  // namespace %s\n", name.c_str());
}

void write_table(const Contract &contract) {
  const std::string layer = contract.json.at("layer"), version = contract.json.at("version");
  printf("// Generated from layers/%s/contract.json; do not edit.\n#pragma once\n#include \"plugin/op.h\"\n\n", layer.c_str());
  printf("namespace lamina::%s::contract {\n", layer.c_str());
  printf("inline constexpr const char *layer = \"%s\", *version = \"%s\";\n", layer.c_str(), version.c_str());
  printf("inline constexpr uint64_t size = %zu;\n", contract.size);
  for (const Json &op : contract.json.at("ops")) write_op(contract, op);
  printf("\n}  // namespace lamina::%s::contract\n", layer.c_str());
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 2) {
    std::cerr << "usage: make_table CONTRACT.json > contract.h\n";
    return 2;
  }
  try {
    std::ifstream file(argv[1]);
    if (!file) refuse("cannot open it");
    std::stringstream text;
    text << file.rdbuf();
    write_table({Json::parse(text.str()), text.str().size()});
    return 0;
  } catch (const std::exception &error) {
    std::cerr << argv[1] << ": " << error.what() << '\n';
    return 1;
  }
}
