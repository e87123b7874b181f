#include "manifest/contract.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "manifest/error.h"
#include "manifest/json.h"
#include "manifest/schema.h"

namespace lamina::manifest {

namespace {

constexpr const char *role_names[] = {"input", "param", "packed", "saved", "output", "inout"};

struct Reader {
  const std::string &what;
  [[noreturn]] void refuse(const std::string &why) const { throw Error(ErrorKind::malformed, what + ": " + why); }

  ContractArgument argument(const Json &json) const {
    ContractArgument argument;
    argument.name = json.at("name");
    argument.shape = json.at("shape");
    for (size_t begin = 0; begin < argument.shape.size();) {
      const size_t end = std::min(argument.shape.find(' ', begin), argument.shape.size());
      argument.dims.push_back(argument.shape.substr(begin, end - begin));
      begin = end + 1;
    }
    const std::string role = json.value("role", "input");
    argument.role = static_cast<Role>(std::find(std::begin(role_names), std::end(role_names), role) - std::begin(role_names));
    argument.dtype = json.at("dtype");
    argument.strides = json.value("strides", "any");
    argument.optional = json.value("optional", false);
    argument.may_alias = json.value("may_alias", std::vector<std::string>());
    argument.align = json.value("align", int64_t{0});
    argument.doc = json.value("doc", "");
    return argument;
  }

  ContractAttribute attribute(const Json &json) const {
    ContractAttribute attribute;
    attribute.name = json.at("name");
    attribute.ops = json.value("ops", std::vector<std::string>());
    attribute.doc = json.at("doc");
    const std::string kind = json.at("kind");
    const Json &value = json.at("default");
    const std::string wrong = "attribute " + attribute.name + ": ";
    if (kind == "string") {
      if (!value.is_string() || !json.contains("values")) refuse(wrong + "a string needs a default in words and its values");
      attribute.default_value = value.get<std::string>();
      attribute.values = json.at("values").get<std::vector<std::string>>();
      if (std::find(attribute.values.begin(), attribute.values.end(), value.get<std::string>()) == attribute.values.end())
        refuse(wrong + "the default is none of its values");
      return attribute;
    }
    if (!value.is_number() || !json.contains("minimum") || !json.contains("maximum"))
      refuse(wrong + "a number needs a default, a minimum and a maximum");
    if (kind == "int" && !value.is_number_integer()) refuse(wrong + "the default is no whole number");
    if (kind == "int") attribute.default_value = value.get<int64_t>();
    else attribute.default_value = value.get<double>();
    attribute.minimum = json.at("minimum");
    attribute.maximum = json.at("maximum");
    if (!(value.get<double>() >= attribute.minimum && value.get<double>() <= attribute.maximum))
      refuse(wrong + "the default is out of range");
    return attribute;
  }

  ContractOp op(const Json &json, const Contract &contract) const {
    ContractOp op{json.at("name"), json.at("kind"), {}, json.at("doc")};
    for (const std::string name : json.at("arguments")) {
      if (name == "@params")
        for (const ContractArgument *param : contract.params()) op.arguments.push_back(param->name);
      else if (contract.argument(name)) op.arguments.push_back(name);
      else refuse("op " + op.name + " names the unknown argument " + name);
    }
    if (std::set<std::string>(op.arguments.begin(), op.arguments.end()).size() != op.arguments.size())
      refuse("op " + op.name + " names an argument twice");
    return op;
  }

  Tolerances tolerances(const Json &json) const {
    using Limits = std::map<std::string, double>;
    Tolerances tolerances;
    tolerances.frobenius = json.at("frobenius").get<Limits>();
    tolerances.frobenius_shifted = json.value("frobenius_shifted", tolerances.frobenius);
    tolerances.worst_row = json.at("worst_row").get<Limits>();
    tolerances.worst_element = json.at("worst_element").get<Limits>();
    if (json.contains("gradient")) {
      tolerances.gradient_frobenius = json["gradient"].at("frobenius").get<Limits>();
      tolerances.gradient_row = json["gradient"].at("worst_row").get<Limits>();
      tolerances.gradient_element = json["gradient"].at("worst_element").get<Limits>();
    }
    if (json.contains("compute"))
      for (const auto &[mode, limits] : json["compute"].items())
        tolerances.compute[mode] = {limits.at("frobenius"), limits.at("worst_row"), limits.at("worst_element")};
    return tolerances;
  }

  template <class List>
  void unique(const List &list, const char *kind) const {
    std::set<std::string> names;
    for (const auto &entry : list)
      if (!names.insert(entry.name).second) refuse(std::string("two ") + kind + "s are called " + entry.name);
  }

  // What ties one member to another, which a schema cannot see.
  void check_references(const Contract &contract) const {
    unique(contract.arguments, "argument");
    unique(contract.attributes, "attribute");
    unique(contract.ops, "op");
    for (const ContractArgument &argument : contract.arguments) {
      if (const size_t colon = argument.dtype.find(':'); colon != std::string::npos && !contract.argument(argument.dtype.substr(colon + 1)))
        refuse("argument " + argument.name + ": dtype names the unknown argument " + argument.dtype.substr(colon + 1));
      for (const std::string &other : argument.may_alias)
        if (!contract.argument(other)) refuse("argument " + argument.name + ": may_alias names the unknown argument " + other);
      for (const std::string &dim : argument.dims)
        if (argument.role != Role::packed && argument.role != Role::saved && !contract.dims.contains(dim))
          refuse("argument " + argument.name + ": dims does not explain " + dim);
    }
    for (const ContractAttribute &attribute : contract.attributes)
      for (const std::string &op : attribute.ops)
        if (!contract.op(op)) refuse("attribute " + attribute.name + " names the unknown op " + op);
    for (const auto &[op, terms] : contract.flop_terms) {
      if (!contract.op(op)) refuse("flops names the unknown op " + op);
      for (const auto &[product, factor] : terms)
        for (const char dim : product)
          if (!contract.dims.contains(std::string(1, dim))) refuse("flops of " + op + ": dims does not explain " + dim);
    }
    for (const ContractOp &op : contract.ops)
      if (op.kind == "backward" && contract.tolerances.gradient_frobenius.empty())
        refuse("op " + op.name + " needs the limits tolerances.gradient");
    if (contract.tolerances.compute.empty()) return;
    const ContractAttribute *compute = contract.attribute("compute");
    for (const auto &[mode, limits] : contract.tolerances.compute)
      if (!compute || std::find(compute->values.begin(), compute->values.end(), mode) == compute->values.end())
        refuse("tolerances.compute names " + mode + ", which attribute compute does not take");
  }
};

template <class List>
auto *named(const List &list, std::string_view name) {
  const auto found = std::find_if(list.begin(), list.end(), [&](const auto &entry) { return entry.name == name; });
  return found == list.end() ? nullptr : &*found;
}

}  // namespace

const char *name_of(Role role) { return role_names[static_cast<int>(role)]; }

std::string text_of(const AttributeValue &value) {
  if (const auto *text = std::get_if<std::string>(&value)) return *text;
  if (const auto *whole = std::get_if<int64_t>(&value)) return std::to_string(*whole);
  char digits[32];
  const auto result = std::to_chars(digits, digits + sizeof digits, std::get<double>(value));
  return {digits, result.ptr};
}

bool ContractAttribute::applies_to(std::string_view op) const { return ops.empty() || std::find(ops.begin(), ops.end(), op) != ops.end(); }

int64_t Contract::major() const { return std::stoll(version); }
const ContractArgument *Contract::argument(std::string_view name) const { return named(arguments, name); }
const ContractAttribute *Contract::attribute(std::string_view name) const { return named(attributes, name); }
const ContractOp *Contract::op(std::string_view name) const { return named(ops, name); }

std::vector<const ContractArgument *> Contract::params() const {
  std::vector<const ContractArgument *> found;
  for (const ContractArgument &argument : arguments)
    if (argument.role == Role::param) found.push_back(&argument);
  return found;
}

double Contract::flops(std::string_view op, const std::map<std::string, int64_t> &dim_values) const {
  const auto terms = flop_terms.find(std::string(op));
  if (terms == flop_terms.end()) return 0;
  double total = 0;
  for (const auto &[product, factor] : terms->second) {
    double term = factor;
    for (const char dim : product) {
      const auto value = dim_values.find(std::string(1, dim));
      if (value == dim_values.end()) throw Error(ErrorKind::invalid_argument, "the arithmetic of " + layer + " needs dim " + dim);
      term *= static_cast<double>(value->second);
    }
    total += term;
  }
  return total;
}

AttributeValue Contract::checked_attribute(std::string_view name, const AttributeValue &value) const {
  const ContractAttribute *known = attribute(name);
  const auto refuse = [&](const std::string &why) {
    return Error(ErrorKind::invalid_argument, "attribute " + std::string(name) + " of " + layer + ": " + why);
  };
  if (!known) {
    std::string names;
    for (const ContractAttribute &one : attributes) names += " " + one.name;
    throw refuse("there is none of that name; it takes" + (names.empty() ? " none" : ":" + names));
  }
  if (known->is_string()) {
    std::string accepted;
    for (const std::string &one : known->values) accepted += " " + one;
    const auto *text = std::get_if<std::string>(&value);
    if (!text || std::find(known->values.begin(), known->values.end(), *text) == known->values.end())
      throw refuse("'" + text_of(value) + "' is none of" + accepted);
    return value;
  }
  if (std::holds_alternative<std::string>(value)) throw refuse("expected a number, got '" + std::get<std::string>(value) + "'");
  const double number = std::holds_alternative<double>(value) ? std::get<double>(value) : static_cast<double>(std::get<int64_t>(value));
  if (!(number >= known->minimum && number <= known->maximum))
    throw refuse(text_of(value) + " is not within " + text_of(known->minimum) + " and " + text_of(known->maximum));
  if (std::holds_alternative<double>(known->default_value)) return number;
  if (!std::holds_alternative<int64_t>(value)) throw refuse("expected a whole number, got " + text_of(value));
  return value;
}

AttributeValue Contract::checked_attribute_text(std::string_view name, std::string_view text) const {
  const ContractAttribute *known = attribute(name);
  if (!known || known->is_string()) return checked_attribute(name, AttributeValue(std::string(text)));
  const auto parsed = [&](auto number) -> AttributeValue {
    const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
    if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::string(text);
    return number;
  };
  return checked_attribute(name, std::holds_alternative<int64_t>(known->default_value) ? parsed(int64_t{}) : parsed(double{}));
}

Contract contract_of(const Json &json, const std::string &what) {
  validate(json, "contract", what);
  const Reader reader{what};
  Contract contract;
  contract.layer = json.at("layer");
  contract.version = json.at("version");
  contract.title = json.at("title");
  contract.dims = json.at("dims").get<std::map<std::string, std::string>>();
  for (const Json &argument : json.at("arguments")) contract.arguments.push_back(reader.argument(argument));
  for (const Json &attribute : json.at("attributes")) contract.attributes.push_back(reader.attribute(attribute));
  for (const Json &op : json.at("ops")) contract.ops.push_back(reader.op(op, contract));
  contract.tolerances = reader.tolerances(json.at("tolerances"));
  if (json.contains("flops")) contract.flop_terms = json["flops"].get<decltype(contract.flop_terms)>();
  reader.check_references(contract);
  return contract;
}

Contract parse_contract(std::string_view text, const std::string &what) { return contract_of(parse_json(text, what), what); }

}  // namespace lamina::manifest
