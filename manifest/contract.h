// A layer's contract.json, parsed.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "manifest/json_forward.h"

namespace lamina::manifest {

enum class Role { input, param, packed, saved, output, inout };
const char *name_of(Role role);

using AttributeValue = std::variant<int64_t, double, std::string>;
std::string text_of(const AttributeValue &value);  // "outgoing", "1e-05"

struct ContractArgument {
  std::string name;
  std::string shape;              // "B N N C"
  std::vector<std::string> dims;  // its words: a capital letter, or digits for an exact extent
  Role role = Role::input;
  std::string dtype;            // "activation", "mask", "uint8", "same:pair", "same_or_float32:pair"
  std::string strides = "any";  // "any", "last_contiguous", "broadcast"
  bool optional = false;
  std::vector<std::string> may_alias;
  int64_t align = 0;
  std::string doc;
};

struct ContractAttribute {
  std::string name;
  AttributeValue default_value;     // its alternative is the attribute's kind
  std::vector<std::string> values;  // of a string attribute: the accepted ones
  double minimum = 0, maximum = 0;  // of a number: the accepted range, both included
  std::vector<std::string> ops;     // the only ops that take it; empty: all
  std::string doc;
  bool is_string() const { return std::holds_alternative<std::string>(default_value); }
  bool applies_to(std::string_view op) const;
};

struct ContractOp {
  std::string name, kind;
  std::vector<std::string> arguments;  // in the order of the ABI's table; "@params" expanded
  std::string doc;
};

struct ComputeTolerance {
  double frobenius = 0, worst_row = 0, worst_element = 0;
};
struct Tolerances {  // by dtype: "bfloat16" -> limit
  std::map<std::string, double> frobenius, frobenius_shifted, worst_row, worst_element;
  std::map<std::string, double> gradient_frobenius, gradient_row, gradient_element;  // of what backward writes; empty: no such op
  std::map<std::string, ComputeTolerance> compute;                                   // by value of the attribute `compute`
};

struct Contract {
  std::string layer, version, title;
  std::map<std::string, std::string> dims;  // letter -> what it means
  std::vector<ContractAttribute> attributes;
  std::vector<ContractArgument> arguments;  // all, in the order of the file
  std::vector<ContractOp> ops;
  Tolerances tolerances;
  // op -> product of dims ("BNNCH") -> factor
  std::map<std::string, std::map<std::string, double>> flop_terms;

  int64_t major() const;                                          // of `version`
  const ContractArgument *argument(std::string_view name) const;  // NULL if there is none
  const ContractAttribute *attribute(std::string_view name) const;
  const ContractOp *op(std::string_view name) const;
  std::vector<const ContractArgument *> params() const;  // role param, in order
  // Arithmetic operations of one call; 0 when the contract states none.  Errors: invalid_argument when a dim is missing.
  double flops(std::string_view op, const std::map<std::string, int64_t> &dim_values) const;
  // The value as this attribute's kind, checked against its values or range.  Errors: invalid_argument (unknown attribute, wrong
  // kind, out of range; the message lists what is accepted).
  AttributeValue checked_attribute(std::string_view name, const AttributeValue &value) const;
  AttributeValue checked_attribute_text(std::string_view name, std::string_view text) const;  // from a command line
};

// Validates against the schema, then what a schema cannot say: names unique, every reference names something, dims explained.
// Errors: malformed.  [thread-safe]
Contract parse_contract(std::string_view text, const std::string &what);
Contract contract_of(const Json &json, const std::string &what);

}  // namespace lamina::manifest
